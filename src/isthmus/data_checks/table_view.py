"""The data as the checks read them, and what is said of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from isthmus.data import first_duplicate, split_numeric_columns
from isthmus.examples import Examples
from isthmus.finding import Finding

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class View:
    """One part of the data as the checks read it: x (n, *X), names of columns, and lengths (n,) of sequences."""

    x: np.ndarray
    names: tuple[str, ...] = ()
    lengths: np.ndarray | None = None
    part: str = "X"

    @property
    def image(self) -> bool:
        return self.x.ndim in (3, 4) and self.lengths is None

    @property
    def columns(self) -> np.ndarray:
        """(rows, columns), of images (rows, pixels), of sequences (steps, d) without the padding."""
        import numpy as np

        if self.lengths is None or self.x.ndim != 3:
            return self.x.reshape(len(self.x), math.prod(self.x.shape[1:]))
        return self.x[np.arange(self.x.shape[1]) < np.asarray(self.lengths)[:, None]]

    def where(self, bad: np.ndarray) -> tuple[str, dict[str, Any]]:
        """Which columns of (rows, columns) hold True and how often, in words and as numbers."""
        import numpy as np

        counts = bad.sum(0)
        found = np.flatnonzero(counts).tolist()
        evidence: dict[str, Any] = {"values": int(counts.sum()), "columns": len(found)}
        if self.image:
            return f"{plural(counts.sum(), 'value')} in {plural(len(found), 'pixel')} of {self.part}", evidence
        evidence["per_column"] = {self.name(j): int(counts[j]) for j in found}
        return f"column {listed([f'{self.name(j)} ({counts[j]:,})' for j in found])} of {self.part}", evidence

    def name(self, j: int) -> str:
        """The name of a column, or its number."""
        return self.names[j] if self.names else str(j)


def look(part: Examples, name: str) -> tuple[View | None, list[Finding]]:
    """The numbers of a part, or None where there are none, and the columns that are not numbers."""
    import numpy as np

    x: Any = part.x
    if hasattr(x, "detach"):
        from isthmus.estimators.validation import from_torch

        x = from_torch(x)
    if np.ma.is_masked(x):
        return None, [not_numbers(name, "it has masked values", "drop those rows or fill them in: X.filled(0)")]
    try:
        if not hasattr(x, "columns"):
            x = x if hasattr(x, "toarray") else np.asarray(x)
            if x.dtype.kind in "OUS" and x.ndim == 2:
                import pandas as pd

                x = pd.DataFrame(x)
        if hasattr(x, "columns"):
            return look_at_table(x, part, name)
    except (AttributeError, TypeError, ValueError) as error:
        return None, [not_numbers(name, " ".join(str(error).split()))]
    if hasattr(x, "toarray"):
        return None, [not_numbers(name, "a sparse matrix came", "pass X.toarray()")]
    if isinstance(part.x, np.matrix):
        return None, [not_numbers(name, "a numpy.matrix came", "pass numpy.asarray(X)")]
    if x.dtype.kind not in "biuf" or not x.ndim:
        return None, [not_numbers(name, f"an array of {x.dtype} came" if x.ndim else f"{x.item()!r} came")]
    return View(x.astype(np.uint8) if x.dtype == bool else x, (), part.lengths, name), []  # as `fit` reads them


def look_at_table(frame: Any, part: Examples, name: str) -> tuple[View | None, list[Finding]]:
    """The columns of a table that are numbers, and an error for each that is not."""
    numbers, words = split_numeric_columns(frame)
    findings = [
        Finding("words", "error", w.message, w.remedy, {"column": w.column, "rows": w.n_bad, "of": w.n_rows})
        for w in words
    ]
    if not frame.columns.is_unique:
        what = f"{name} has {first_duplicate(frame.columns)}"
        findings.append(Finding("doubled-names", "error", what, "give every column a name of its own"))
    if not len(numbers.columns):
        return None, findings or [not_numbers(name, "a table without columns came")]
    return View(numbers.to_numpy(), tuple(numbers.columns), part.lengths, name), findings


def not_numbers(
    name: str, what: str, remedy: str = "pass an array of numbers (n, d), (n, h, w) or (n, h, w, c)"
) -> Finding:
    """Data that no model can read."""
    return Finding("not-numbers", "error", f"{name} is not an array of numbers: {what}", remedy)


def outline(x: Any) -> tuple[int, tuple[int, ...], str]:
    """Rows, shape and type of what is not numbers, as far as it has any."""
    shape = tuple(int(side) for side in getattr(x, "shape", ())) or (len(x) if hasattr(x, "__len__") else 1,)
    return shape[0], shape[1:], str(getattr(x, "dtype", "mixed" if hasattr(x, "columns") else type(x).__name__))


def mended(view: View) -> View:
    """Padding set to 0, and NaN and infinity to their column's smallest number, so that the rest can be looked at."""
    import numpy as np

    from isthmus.estimators.validation import real_steps

    x = view.x
    if view.lengths is not None:
        x = np.where(real_steps(x, np.asarray(view.lengths))[..., None], x, np.zeros((), x.dtype))
    if x.dtype.kind == "f" and not bool((finite := np.isfinite(x)).all()):
        low = np.where(finite, x, np.inf).min(0)
        x = np.where(finite, x, np.where(np.isfinite(low), low, 0)).astype(x.dtype)
    return replace(view, x=x)


def plural(n: int, what: str) -> str:
    """A number of things.

    >>> plural(1, "row"), plural(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def listed(names: list[str]) -> str:
    """The first five of some names, and how many more there are.

    >>> listed(list("abcdefg"))
    'a, b, c, d, e and 2 more'
    """
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
