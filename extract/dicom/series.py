"""Choose the series of a folder that make up one dynamic exam, and leave out strays such as localizers."""

import re
from collections.abc import Iterable, Mapping, Sequence

from extract.dicom.frames import SAME_DIRECTION, Frame, Notes, Series
from triher.errors import SkipPatient

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")  # PS3.5 section 9
_MOST_STRAYS = 0.5  # images of another kind, as a share of the series' own, that pass for localizers
_PLACES = 1  # decimals of mm at which positions of two series are compared
_LEAST_SHARED = 0.5  # of all positions, of series that are phases of one exam; some may lack a slice
_LISTED = 12


def choose_series(frames: Sequence[Frame], rule: str, where: str) -> tuple[dict[Series, list[Frame]], Notes]:
    """Find the series that are one exam.

    Args:
        frames: of the whole folder.
        rule: SeriesInstanceUIDs separated by spaces, in the order of time; or a regular expression that is looked for
            in the descriptions; where it is empty, the folder must hold one series, or one series a phase.
        where: the folder, for messages.

    Returns:
        Series -> its images without strays, in the order of the UIDs, else by number; and what was noticed.

    Raises:
        SkipPatient: ``series_missing`` when the rule fits none, ``series_ambiguous`` when several fit that are not
            one exam, ``series_mixed`` when a series holds several kinds of images.
    """
    found: dict[Series, list[Frame]] = {}
    for frame in frames:
        found.setdefault(frame.series, []).append(frame)
    ordered = dict(sorted(found.items(), key=lambda item: (item[0].number or 0, item[0].uid)))
    chosen = _fitting(ordered, rule, where)
    notes: Notes = []
    main = {}
    for series, members in chosen.items():
        main[series], remarks = _without_strays(members, where)
        notes += remarks
    if len(main) > 1 and not (rule or _are_one_exam(main.values())):
        raise _ambiguous(ordered, where)
    if len({series.study_uid for series in main}) > 1:
        raise _ambiguous(main, where)
    if len(main) > 1:
        numbers = ", ".join(series.shown for series in main)
        notes.append(("series_joined", f"{len(main)} series are taken together: {numbers}"))
    return main, notes


def _fitting(found: Mapping[Series, list[Frame]], rule: str, where: str) -> dict[Series, list[Frame]]:
    """The series that the rule names."""
    uids = rule.split()
    if not uids:
        return dict(found)
    if all(map(_UID.fullmatch, uids)):
        by_uid = {series.uid: series for series in found}
        chosen = [by_uid[uid] for uid in dict.fromkeys(uids) if uid in by_uid]
        is_complete = len(chosen) == len(set(uids))
    else:
        chosen = [series for series in found if re.search(rule, series.description, re.IGNORECASE)]
        is_complete = bool(chosen)
    if not is_complete:
        raise SkipPatient("series_missing", f"{where}: no series fits '{rule}'; there are {_listed(found)}")
    return {series: found[series] for series in chosen}


def _without_strays(members: list[Frame], where: str) -> tuple[list[Frame], Notes]:
    """The images of the most frequent kind and orientation, if the others are few."""
    groups: list[list[Frame]] = []
    for frame in members:
        for group in groups:
            if frame.kind == group[0].kind and _same_direction(frame, group[0]):
                group.append(frame)
                break
        else:
            groups.append([frame])
    main = max(groups, key=len)
    n_others = len(members) - len(main)
    series = members[0].series
    if not n_others:
        return main, []
    if n_others > _MOST_STRAYS * len(main):
        sizes = ", ".join(str(len(group)) for group in groups[:_LISTED])
        message = f"{where}: series {series.shown} holds images of several kinds or orientations: {sizes}"
        raise SkipPatient("series_mixed", message)
    text = f"{n_others} of {len(members)} images of series {series.shown} are of another kind or orientation"
    return main, [("series_strays", f"{text}; left out")]


def _same_direction(one: Frame, other: Frame) -> bool:
    """Whether two images lie in parallel; one that does not say how it lies is no stray, but a fault."""
    if one.orientation is None or other.orientation is None:
        return True
    return all(abs(a - b) < SAME_DIRECTION for a, b in zip(one.orientation, other.orientation, strict=True))


def _are_one_exam(groups: Iterable[list[Frame]]) -> bool:
    """Whether series of one study are the phases of one scan: alike in all but the time."""
    kinds, times, places = set(), [], []
    for members in groups:
        first = members[0]
        kinds.add((first.series.study_uid, first.kind, first.storage.rows, first.storage.cols, first.pixel_spacing))
        places.append({tuple(round(x, _PLACES) for x in frame.position or ()) for frame in members})
        times.append(min((f.acquisition_s for f in members if f.acquisition_s is not None), default=None))
    shared = len(set.intersection(*places)) / len(set.union(*places))
    return len(kinds) == 1 and shared >= _LEAST_SHARED and None not in times and len(set(times)) == len(times)


def _ambiguous(found: Mapping[Series, list[Frame]], where: str) -> SkipPatient:
    """Say which series there are."""
    n_studies = len({series.study_uid for series in found})
    what = f"{len(found)} series" + (f" of {n_studies} studies" if n_studies > 1 else "")
    return SkipPatient("series_ambiguous", f"{where} holds {what}: {_listed(found)}")


def _listed(found: Mapping[Series, list[Frame]]) -> str:
    """Number and size of the series, and what tells a dynamic scan from others; the description may name somebody."""
    names = [f"{series.shown} ({len(members)} images, {_protocol(members[0])})" for series, members in found.items()]
    return "; ".join(names[:_LISTED]) + (f"; and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def _protocol(frame: Frame) -> str:
    """Matrix and repetition time of an image."""
    return f"{frame.storage.cols} x {frame.storage.rows}, repetition time {frame.kind[1]} ms"
