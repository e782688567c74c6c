"""Words in messages: counted nouns, lists of names, capital letters."""

from __future__ import annotations

import re
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


def capitalize(text: str) -> str:
    """The text with a capital letter, unless it begins with a symbol such as p(x).

    >>> capitalize("probabilistic PCA"), capitalize("q(z|x) is narrow"), capitalize("a bound")
    ('Probabilistic PCA', 'q(z|x) is narrow', 'A bound')
    """
    return text if re.match(r"\w\(", text) else text[:1].upper() + text[1:]
