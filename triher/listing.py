"""Names in one line of text, cut short where they are many."""

from collections.abc import Sequence


def first_few(names: Sequence[str], most: int) -> str:
    """The first names, and how many more there are.

    >>> first_few(["a", "b", "c"], 2), first_few(["a"], 2)
    ('a, b and 1 more', 'a')
    """
    return ", ".join(names[:most]) + and_more(len(names) - most)


def quoted(names: Sequence[str], most: int) -> str:
    """The same with each name in quotes.

    >>> quoted(["a", "b", "c"], 2)
    "'a', 'b' and 1 more"
    """
    return first_few([f"'{name}'" for name in names], most)


def and_more(count: int) -> str:
    """How many more there are; nothing where there are none."""
    return f" and {count} more" if count > 0 else ""
