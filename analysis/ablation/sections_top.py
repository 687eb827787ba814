"""The top of a study's report: what a reader needs who stops there, and the key numbers."""

import math
from collections import Counter
from collections.abc import Sequence

from analysis.ablation.comparison import Compared
from analysis.ablation.figures_shares import percent
from analysis.ablation.findings import ArenaFindings, Findings
from analysis.ablation.variance import NOISE, Share
from analysis.figures.canvas import plain
from analysis.inference.corrected_p import SMALL_P
from analysis.page import Card, estimate_card
from analysis.wording import count, equals, interval, p_value, patients_of, places
from triher.estimate import Estimate
from triher.study import BASE

_NAMED = 3  # cells that a sentence names
_WORTH_NAMING = 0.01  # share of the variance


def summary(found: Findings) -> list[str]:
    """One paragraph on what was found, and one on what of it was planned."""
    first = [_state(found)]
    if not found.arenas:
        values = [_base(found, arena) for arena in found.alone[:1]]
        return [" ".join([*first, nothing_compared(found), *values]), status(found)]
    arena = found.arenas[0]
    sentences = [*first, _base(found, arena), *_differences(found, arena), *_winner(found, arena), *_variance(arena)]
    return [" ".join(filter(None, sentences)), status(found)]


def nothing_compared(found: Findings) -> str:
    """Why there is no comparison."""
    done = [result.cell.name for result in found.material.results if result.state == "done" and result.own]
    if not done:
        return "No cell has predictions that could be compared."
    if len(done) == 1:
        name = "the base" if done[0] == BASE else quoted(done[0])
        return f"Of all cells {name} alone can be compared, so there is nothing to compare it with."
    return (
        f"No labeled patient was predicted by all {len(done)} cells that could be compared, so nothing is compared."
    )


def _state(found: Findings) -> str:
    """How many cells there are, and what became of them."""
    n = len(found.material.results)
    if not found.left:
        return f"All {count(n, 'cell')} of the study were computed."
    states = Counter(result.state for result in found.left)
    gone = " and ".join(_became(state, times) for state, times in states.items())
    n_left = n - len(found.left)
    stand = {0: "nothing can be compared", 1: "the other stands"}.get(n_left, "the others stand")
    return f"Of {count(n, 'cell')} {gone}, and {stand}: each is named below with its reason."


def _became(state: str, times: int) -> str:
    """So many cells with what became of them."""
    return f"{times} {'' if state == 'failed' else 'is ' if times == 1 else 'are '}{state}"


def who(arena: ArenaFindings) -> str:
    """The patients of an arena in words."""
    kind = patients_of(arena.arena.split)
    sites = sorted(set(arena.arena.site.tolist()) - {""})
    where = f" of {places(sites)}" if sites else ""
    return f"{count(len(arena.arena.patient_id), f'{kind} patient')}{where}"


def _base(found: Findings, arena: ArenaFindings) -> str:
    """What the base reached, or why it is missing."""
    text = f"On {who(arena)}{', whom all compared cells predicted,' if found.arenas else ''}"
    unseen = " each by models that had not seen that patient," if arena.arena.split != "test" else ""
    unseen = f",{unseen}" if unseen and not found.arenas else unseen
    own = arena.values(found.metric.name).get(BASE)
    if own is None:
        return f"{text}{unseen} there is no base to compare with: {arena.no_base or 'it has no predictions'}."
    if not math.isfinite(own.value):
        return f"{text}{unseen} the base has no {found.metric.label}: {own.reason}."
    spread = f"95 % interval {interval(own)}" if math.isfinite(own.low) else f"no interval: {own.reason}"
    return f"{text}{unseen} the {found.metric.label} of the base is {own.value:z.2f} ({spread})."


def _differences(found: Findings, arena: ArenaFindings) -> list[str]:
    """Which cells differ from the base after correction, the planned ones first."""
    tested = [one for one in arena.by(found.metric.name) if math.isfinite(one.p_corrected)]
    planned, others = ([one for one in tested if one.is_primary is wanted] for wanted in (True, False))
    sentences = []
    if planned:
        told = [_told(one) for one in planned[:_NAMED]]
        more = f", and {len(planned) - _NAMED} more below" if len(planned) > _NAMED else ""
        sentences.append(f"Planned, after Holm's correction: {'; '.join(told)}{more}.")
    if not others:
        return sentences
    small = [one for one in others if one.p_corrected < SMALL_P]
    which = "other cell" if planned else "cell"
    if not small:
        text = f"No {which} differs from the base after Holm's correction for {count(len(others), 'comparison')}"
        return [*sentences, f"{text}, which is no proof that they are equal."]
    ordered = sorted(small, key=lambda one: -abs(one.difference.value) if one.difference else 0.0)
    text = f"After Holm's correction {len(small)} of {count(len(others), which)} differ{'s' * (len(small) == 1)}"
    if len(small) <= _NAMED:
        return [*sentences, f"{text} from the base: {'; '.join(map(_told, ordered))}."]
    n_better = sum(_is_better(found, one) for one in small)
    ways = f"{n_better} better than it and {len(small) - n_better} worse"
    return [*sentences, f"{text} from the base, {ways}; most of all {_told(ordered[0])}."]


def _told(one: Compared) -> str:
    """A cell with its difference and corrected p value."""
    return f"{quoted(one.cell)} {_by(one.difference)} (p {equals(p_value(one.p_corrected))})"


def _is_better(found: Findings, one: Compared) -> bool:
    """Whether a cell is better than the base."""
    return one.difference is not None and found.good(one.own.value) > found.good(one.own.value - one.difference.value)


def capital(text: str) -> str:
    """A label at the beginning of a line.

    >>> capital("macro AUC")
    'Macro AUC'
    """
    return text[:1].upper() + text[1:]


def quoted(cell: str) -> str:
    """A cell's name in a sentence, whole."""
    return f"“{''.join(map(plain, cell))}”"


def _by(difference: Estimate | None) -> str:
    """A signed difference."""
    return f"{difference.value:+z.2f}" if difference is not None else ""


def _winner(found: Findings, arena: ArenaFindings) -> list[str]:
    """The best cell, and what it can be expected to reach."""
    winner = arena.winner
    if winner is None:
        return []
    n = len(arena.arena.names)
    name = "the base" if winner.cell == BASE else quoted(winner.cell)
    text = f"The best value has {name}, {winner.naive.value:z.2f}"
    if not math.isfinite(winner.corrected.value):
        return [f"{text}; what choosing among {n} cells adds is not known: {winner.corrected.reason}."]
    known = f" ({interval(winner.corrected)})" if math.isfinite(winner.corrected.low) else ""
    return [
        f"{text}; corrected for its having been chosen among {n} cells, {winner.corrected.value:z.2f}{known} is to "
        "be expected of it on other patients."
    ]


def _variance(arena: ArenaFindings) -> list[str]:
    """What explains most."""
    if isinstance(arena.shares, str):
        return []
    known = [one for one in _largest(arena.shares) if one.share.value >= _WORTH_NAMING]
    if not known:
        reasons = dict.fromkeys(one.share.reason for one in arena.shares if one.share.reason)
        text = f"How much each axis explains cannot be told: {'; '.join(reasons)}."
        return [text, *levels_dropped(arena.shares)] if reasons else []
    told = "; ".join(f"{one.source} {percent(one.share)}" for one in known[:_NAMED])
    text = f"Of the variance between cells and sites beyond chance most goes with {told}."
    return [text, *levels_dropped(arena.shares)]


def levels_dropped(shares: Sequence[Share]) -> list[str]:
    """Which levels have no part in the shares; nothing where all have."""
    gone = dict.fromkeys(level for one in shares for level in one.without)
    if not gone:
        return []
    levels = "the level" if len(gone) == 1 else "the levels"
    return [f"That is without {levels} {', '.join(map(quoted, gone))}, cells of which are missing."]


def _largest(shares: Sequence[Share]) -> list[Share]:
    """Sources that can be estimated, the largest first."""
    known = [one for one in shares if one.source != NOISE and math.isfinite(one.share.value)]
    return sorted(known, key=lambda one: (-one.share.value, one.source))


def status(found: Findings) -> str:
    """What of it is confirmatory."""
    planned = [name for name in found.material.own.primary if found.is_confirmatory(name)]
    if planned and found.registration is not None:
        names = ", ".join(map(quoted, planned[:_NAMED])) + ("" if len(planned) <= _NAMED else ", …")
        return (
            f"Confirmatory: the comparison of {names} with the base, registered on {found.registration.date[:10]} "
            f"before the patients were predicted (seal {found.registration.seal[:12]}). All else is exploratory."
        )
    if found.registration is not None:
        return (
            "Exploratory, all of it: a study was registered, but no comparison is as it was registered; see the "
            "section on the registration."
        )
    return "Exploratory, all of it: nothing was registered before the patients were predicted."


def cards(found: Findings) -> list[Card]:
    """Key numbers."""
    if not found.arenas:
        return []
    shown = []
    arena = found.arenas[0]
    own = arena.values(found.metric.name).get(BASE)
    if own is not None:
        shown.append(estimate_card(capital(f"{found.metric.label} of the base"), own, f"n = {own.n}"))
    if arena.winner is not None:
        note = f"Before correction {arena.winner.naive.value:z.2f}"
        shown.append(
            estimate_card(capital(f"{found.metric.label} of the best cell, corrected"), arena.winner.corrected, note)
        )
    tested = [one for one in arena.by(found.metric.name) if math.isfinite(one.p_corrected)]
    if tested:
        n_small = sum(one.p_corrected < SMALL_P for one in tested)
        shown.append(Card("Cells that differ from the base", str(n_small), f"of {len(tested)}, after Holm", ""))
    if not isinstance(arena.shares, str) and (largest := _largest(arena.shares)[:1]):
        share = largest[0].share
        spread = (
            f"95 % interval {100 * share.low:.0f} to {100 * share.high:.0f}\u00a0%"
            if math.isfinite(share.low)
            else ""
        )
        shown.append(
            Card(f"Variance explained by {plain(largest[0].source)}", f"{100 * share.value:.0f} %", spread, "")
        )
    return shown
