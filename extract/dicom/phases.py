"""Tell the phases of a dynamic scan apart, and when each of them began."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from extract.dicom.frames import Frame, Notes, Series
from triher.errors import SkipPatient
from triher.phases import times_after_injection

# What may tell the images of one position apart, the most trustworthy first: (by the order of series, then by).
_WITHIN_A_SERIES = (
    (False, "temporal_position"),
    (False, "trigger_s"),
    (False, "acquisition_s"),
    (False, "content_s"),
    (False, "acquisition_number"),
)
_ACROSS_SERIES = (
    (False, "acquisition_s"),
    (True, "temporal_position"),
    (True, "trigger_s"),
    (True, ""),
    (True, "content_s"),
)
_DAY_S = 86_400.0
_LONGEST_BEFORE_S = 600.0  # from injection to the first volume; what lies further back is another injection

Moment = tuple[float, ...]


def on_one_clock(frames: Sequence[Frame]) -> list[Frame]:
    """Count times after midnight on from the day before, where a scan runs across it."""
    found = list(frames)
    for name in ("acquisition_s", "content_s"):
        known = [value for value in (getattr(frame, name) for frame in found) if value is not None]
        if known and max(known) - min(known) > _DAY_S / 2:
            found = [_next_day(frame, name) for frame in found]
    return found


def _next_day(frame: Frame, name: str) -> Frame:
    """The image with a time of the morning put behind those of the evening."""
    value = getattr(frame, name)
    return replace(frame, **{name: value + _DAY_S}) if value is not None and value < _DAY_S / 2 else frame


def split_phases(by_position: Sequence[Sequence[Frame]], where: str) -> list[list[Frame]]:
    """Sort the images of every position into phases.

    The first attribute that makes a full grid counts: within a series temporal position, trigger time, acquisition
    time, time of the content, acquisition number; across series the acquisition time, or the order of the series
    with what tells the phases within each.

    Args:
        by_position: images of each position, positions along the normal, series in the order of time.
        where: the folder, for messages.

    Returns:
        For every phase, one image a position.

    Raises:
        SkipPatient: ``slice_missing`` when one of several series lacks an image, ``series_not_a_grid`` when positions
            and phases make no full grid.
    """
    n_images = [len(frames) for frames in by_position]
    if max(n_images) == 1:
        return [[frames[0] for frames in by_position]]
    if min(n_images) != max(n_images):
        raise _incomplete(by_position, where)
    series = list(dict.fromkeys(frame.series for frames in by_position for frame in frames))
    ranks = _ranks(series, by_position)
    for by_series, attribute in _WITHIN_A_SERIES if len(series) == 1 else _ACROSS_SERIES:
        phases = _sorted_by(by_position, ranks if by_series else {}, attribute)
        if phases is not None:
            return phases
    n, text = n_images[0], "nothing in the headers tells"
    message = f"{where}: {text} the {n} images at each of {len(by_position)} positions apart"
    raise SkipPatient("series_not_a_grid", message)


def _ranks(series: Sequence[Series], by_position: Sequence[Sequence[Frame]]) -> Mapping[Series, float]:
    """The order of the series: by the clock where it tells them apart, else as given."""
    starts: dict[Series, float] = {}
    for frame in (frame for frames in by_position for frame in frames):
        if frame.acquisition_s is not None:
            starts[frame.series] = min(frame.acquisition_s, starts.get(frame.series, frame.acquisition_s))
    if len(set(starts.values())) == len(series):
        return starts
    return {one: float(place) for place, one in enumerate(series)}


def _sorted_by(
    by_position: Sequence[Sequence[Frame]], ranks: Mapping[Series, float], attribute: str
) -> list[list[Frame]] | None:
    """The phases in order; none where that is not known for all images, or phases would overlap in time."""
    columns = []
    for frames in by_position:
        moments = [_moment(frame, ranks, attribute) for frame in frames]
        known = [moment for moment in moments if moment is not None]
        if len(known) < len(moments):
            return None
        columns.append(sorted(zip(known, frames, strict=True), key=lambda pair: pair[0]))
    phases = list(zip(*columns, strict=True))
    ends = [(min(moment for moment, _ in phase), max(moment for moment, _ in phase)) for phase in phases]
    if any(last >= first for (_, last), (first, _) in pairwise(ends)):
        return None
    return [[frame for _, frame in phase] for phase in phases]


def _moment(frame: Frame, ranks: Mapping[Series, float], attribute: str) -> Moment | None:
    """Rank of the series, where asked for, and value of the attribute; none where that is not known."""
    value = getattr(frame, attribute) if attribute else 0.0
    return None if value is None else (ranks.get(frame.series, 0.0), float(value))


def _incomplete(by_position: Sequence[Sequence[Frame]], where: str) -> SkipPatient:
    """Say which position lacks images."""
    most = max(map(len, by_position))
    lacking = [(place, frames) for place, frames in enumerate(by_position, 1) if len(frames) < most]
    place, frames = lacking[0]
    position = ", ".join(f"{x:g}" for x in frames[0].position or ())
    text = f"{where}: {len(lacking)} of {len(by_position)} positions lack images; position {place} ({position} mm)"
    there = [frame.series for frame in frames]
    absent = [one for one in dict.fromkeys(f.series for column in by_position for f in column) if one not in there]
    n_series = len(absent) + len(set(there))
    if n_series < most:
        return SkipPatient("series_not_a_grid", f"{text} has {len(frames)} of {most} images")
    return SkipPatient("slice_missing", f"{text} is not there in series {absent[0].shown}")


def phase_times(phases: Sequence[Sequence[Frame]]) -> tuple[tuple[float, ...], Notes]:
    """Seconds from injection to the start of every phase, ascending; empty where the headers do not say.

    The clock of the acquisition counts; where it stands still within a series, the trigger times do.
    """
    clock = _starts([[frame.acquisition_s for frame in phase] for phase in phases])
    triggers = _starts([[frame.trigger_s for frame in phase] for phase in phases])
    starts: tuple[float, ...] = ()
    if _ascend(clock):
        starts = clock
    elif len({frame.series for phase in phases for frame in phase}) == 1 and _ascend(triggers):
        starts = tuple((clock[0] if clock else 0.0) + trigger - triggers[0] for trigger in triggers)
    elif len(set(clock)) > 1:
        return (), [("phase_times", "the clock of the acquisition does not follow the order of the phases; not used")]
    if not starts:
        return (), []
    injection, notes = _injection(phases, starts) if clock else (None, [])
    return times_after_injection(starts, injection), notes


def _starts(values: Sequence[Sequence[float | None]]) -> tuple[float, ...]:
    """The earliest of each phase; empty where any is not known."""
    if any(value is None for phase in values for value in phase):
        return ()
    return tuple(min(value for value in phase if value is not None) for phase in values)


def _ascend(starts: Sequence[float]) -> bool:
    """Whether every phase begins after the one before."""
    return bool(starts) and all(a < b for a, b in pairwise(starts))


def _injection(phases: Sequence[Sequence[Frame]], starts: Sequence[float]) -> tuple[float | None, Notes]:
    """Start of the injection, where the headers state one that fits the phases."""
    stated = {frame.injection_s for phase in phases for frame in phase if frame.injection_s is not None}
    if len(stated) != 1:
        return None, []
    injection = stated.pop()
    injection += _DAY_S if starts[0] - injection > _DAY_S / 2 else 0.0
    if starts[0] - _LONGEST_BEFORE_S <= injection <= starts[-1]:
        return injection, []
    text = f"the injection is stated at {injection - starts[0]:+.0f} s from the start of the first volume; not used"
    return None, [("phase_times", text)]
