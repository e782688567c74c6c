"""Words in messages: counted nouns, lists of names."""

from __future__ import annotations

from collections.abc import Iterable


def pluralize(n: int, noun: str) -> str:
    """A count and its noun.

    >>> pluralize(1, "row"), pluralize(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def join_names(names: Iterable[str], limit: int = 5) -> str:
    """The first `limit` names separated by commas, and how many more there are.

    >>> join_names("abcdefg")
    'a, b, c, d, e and 2 more'
    """
    names = list(names)
    return ", ".join(names[:limit]) + (f" and {len(names) - limit:,} more" if len(names) > limit else "")
