"""Words in messages: counted nouns, lists of names, capital letters."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

TEXT_WIDTH = 80
"""Characters in a line of text for a terminal."""
MAX_LABEL_SHARE = 0.5
"""Share of a line that the left one of two columns takes, at most."""
MAX_REASON_CHARACTERS = 160
"""Characters of another library's message that an error quotes, at most."""
MAX_VALUE_CHARACTERS = 80
"""Characters of a value that an error quotes, at most."""


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


def split_names(text: str) -> list[str]:
    """Split at commas, except within brackets.

    >>> split_names("pca, vae(beta=4,hidden=(8,8))")
    ['pca', 'vae(beta=4,hidden=(8,8))']
    """
    depth, pieces = 0, [""]
    for letter in text:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += letter
    return [piece.strip() for piece in pieces if piece.strip()]


def capitalize(text: str) -> str:
    """The text with a capital letter, unless it begins with a symbol such as p(x).

    >>> capitalize("probabilistic PCA"), capitalize("q(z|x) is narrow"), capitalize("a bound")
    ('Probabilistic PCA', 'q(z|x) is narrow', 'A bound')
    """
    return text if re.match(r"\w\(", text) else text[:1].upper() + text[1:]


def shell_line(words: Iterable[str]) -> str:
    """A command in one line, quoted for the shell; control characters are written as bash reads them.

    >>> print(shell_line(["isthmus", "check", "my data.csv"]))
    isthmus check 'my data.csv'
    >>> print(shell_line(["cat", "two\\nlines"]))
    cat $'two\\nlines'
    """
    return " ".join(shlex.quote(word) if word.isprintable() else escaped(word) for word in words)


def escaped(word: str) -> str:
    """A word with control characters, quoted for bash."""
    marks = (f"\\{c}" if c in "\\'" else c if c.isprintable() else c.encode("unicode_escape").decode() for c in word)
    return f"$'{''.join(marks)}'"


def two_columns(lines: Iterable[tuple[str, str]], width: int = TEXT_WIDTH) -> str:
    """Labels and texts in two columns; what is too long goes on in the next line of its column.

    Args:
        lines: label, which may be indented, and text of each line.
        width: characters in a line.

    >>> print(two_columns([("ELBO", "-1.50 nats (of one draw)"), ("  and a long name", "2")], 20))
    ELBO      -1.50 nats
              (of one
              draw)
      and a   2
        long
        name
    """
    lines = list(lines)
    left = min(max(len(label) for label, _ in lines), int(MAX_LABEL_SHARE * width) - 2) + 2
    out = []
    for label, text in lines:
        depth = len(label) - len(label.lstrip())
        head = textwrap.wrap(label, left - 2, subsequent_indent=" " * (depth + 2))
        body = textwrap.wrap(text, width - left, break_on_hyphens=False)
        out += [f"{one:<{left}}{other}".rstrip() for one, other in zip_longest(head, body, fillvalue="")]
    return "\n".join(out)


def one_line(text: str, most: int = MAX_REASON_CHARACTERS) -> str:
    """The text on one line of at most `most` characters, unprintable ones replaced.

    >>> one_line("a\\n\\x1b[31mb"), one_line("abcdef", 5)
    ('a ?[31mb', 'ab...')
    """
    words = " ".join(text[: 10 * most].split())  # no more: it may be megabytes
    words = "".join(c if c.isprintable() else "?" for c in words)
    return words if len(words) <= most and len(text) <= 10 * most else words[: most - 3] + "..."


def quoted(value: Any) -> str:
    """A value as Python writes it, in a message.

    >>> quoted("vae"), quoted(0.5), len(quoted("-" * 100_000))
    ("'vae'", '0.5', 80)
    """
    start = value[:MAX_VALUE_CHARACTERS] if isinstance(value, str | bytes) else value  # it may be megabytes
    return one_line(repr(start), MAX_VALUE_CHARACTERS)
