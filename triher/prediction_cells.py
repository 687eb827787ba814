"""What cells of the prediction table mean, for whoever writes them or reads them without pandas."""

from collections.abc import Iterable

SUM_TOLERANCE = 1e-6
"""By which the probabilities of a row may miss 1."""
_BETWEEN = "|"


def set_text(classes: Iterable[str]) -> str:
    """A prediction set for the column ``set``.

    >>> set_text(["low", "positive"])
    'low|positive'
    """
    return _BETWEEN.join(classes)


def classes_of_set(text: str) -> list[str]:
    """The classes of a prediction set as `set_text` writes it.

    >>> classes_of_set("low|positive"), classes_of_set("")
    (['low', 'positive'], [])
    """
    return [name for name in text.split(_BETWEEN) if name]
