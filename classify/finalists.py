"""The best trials of a search, scored as the final fit will be.

A finalist's path ends soon after the value of the dial that the screen found best for it. The first finalist, the
best by the screen, goes through all folds; the others are compared with it, and with it only, so that the number of
threads does not matter, and are given up when they are worse in the first folds, as trials are.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from classify.heads import Dial, Params
from classify.trials import FAILURES, NO_NUMBER, Path, Problem, Settled, least_losses, settle, walk, walk_folds


@dataclass(frozen=True)
class Candidate:
    """Parameters to be scored."""

    params: Params
    """All but the dial's."""
    last: int | None = None
    """Position in the dial that no path goes beyond; its end when None."""


def last_position(dial: Dial, value: int | float) -> int | None:
    """Where the path of a finalist ends at the latest: the dial's patience beyond the value that the screen chose.

    >>> last_position(Dial("rounds", (10, 20, 30, 40, 50), patience=2), 20)
    3
    """
    return dial.values.index(value) + dial.patience if dial.patience else None


def score(
    problem: Problem, candidates: Sequence[Candidate], pool: ThreadPoolExecutor, *, prune: bool
) -> tuple[Settled, list[Path]]:
    """The best of some parameter sets, with its paths.

    Args:
        problem: folds that are prepared as for the final fit, dial, objective and seed.
        candidates: at least one, the best by the screen first.
        pool: the threads that work.
        prune: give up candidates that are worse than the first.

    Raises:
        FloatingPointError: with the first error when no parameter set could be scored.
    """
    first, others = candidates[0], candidates[1:]
    ends = list(pool.map(partial(_walk, problem, first), range(len(problem.folds))))
    errors = [end for end in ends if isinstance(end, str)]
    paths = {i: end for i, end in enumerate(ends) if isinstance(end, Path)}
    best = least_losses(paths) if prune and not errors else {}
    walked = [(first, paths)]
    walk_other = partial(_walk_all, problem, best)
    for other, end in zip(others, pool.map(walk_other, others, range(1, len(candidates))), strict=True):
        if isinstance(end, str):
            errors.append(end)
        else:
            walked.append((other, end))
    return _best_of(problem, walked, errors)


def _walk(problem: Problem, candidate: Candidate, i: int) -> Path | str:
    """A fold's path, or why there is none."""
    try:
        return walk(problem, candidate.params, i, candidate.last)
    except FAILURES as error:
        return str(error) or type(error).__name__


def _walk_all(problem: Problem, best: dict[int, float], candidate: Candidate, turn: int) -> dict[int, Path] | str:
    """Paths by fold, fewer than folds when the candidate was given up, or why there are none."""
    n_folds = len(problem.folds)
    try:
        return dict(walk_folds(problem, candidate.params, turn=turn % n_folds, best=best, last=candidate.last))
    except FAILURES as error:
        return str(error) or type(error).__name__


def _best_of(
    problem: Problem, walked: Sequence[tuple[Candidate, dict[int, Path]]], errors: Sequence[str]
) -> tuple[Settled, list[Path]]:
    """The best of those whose paths are complete."""
    scored: list[tuple[Settled, list[Path]]] = []
    for candidate, by_fold in walked:
        if len(by_fold) == len(problem.folds):
            paths = [by_fold[i] for i in range(len(by_fold))]
            scored.append((settle(problem, candidate.params, paths), paths))
    good = [pair for pair in scored if np.isfinite(pair[0].loss)]
    if not good:
        raise FloatingPointError((*errors, NO_NUMBER)[0])
    return min(good, key=lambda pair: pair[0].loss)
