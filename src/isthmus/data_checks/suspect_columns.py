"""Checks of what columns mean: a label left in, zeros that stand for missing values, columns far from 0."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from isthmus.data_checks.defaults import Defaults
from isthmus.data_checks.table_view import TableView, are_integers_as_floats
from isthmus.finding import Finding
from isthmus.wording import join_names

if TYPE_CHECKING:
    import numpy as np

MAX_CLASSES = 20
"""Values of a column from which it is no label."""
MIN_PREDICTED_SHARE = 0.6
"""Share of what guessing gets wrong that the other columns must predict of a label."""
MAX_PREDICTED_ROWS = 500
"""Rows on which this is tried."""
MIN_ROWS = 20
"""Rows below which nothing is said."""
MIN_ZERO_SHARE = 0.02
"""Share of zeros in a column that is worth a finding."""
ISOLATION = 0.2
"""Least size of the other numbers of a column, in units of their median, from which 0 is apart from them."""
LOWEST, MIN_GAP_SPACINGS = 10, 5.0
"""Numbers next to 0 whose spacing is measured, and such spacings between 0 and the first of them."""
MAX_OFFSET = 3.0
"""Means of the columns, in their standard deviations, from which they should be centred."""
MIN_REPEATS = 4
"""Times that each value occurs on average in a column that takes few values."""
MAX_REPEATED_BITS = 0.1
"""Share of rows of bits that may be equal because bits depend on one another."""
MIN_COINCIDENCE = 1e-6
"""Expected equals of a row, were columns independent, from which equal rows are no surprise."""


def label_column(view: TableView, defaults: Defaults) -> Iterator[Finding]:
    """A column that is the label: the same classes as y, or classes that the other columns predict."""
    import numpy as np

    x, y = view.columns, view.examples.y
    if view.image or view.lengths is not None or len(x) < MIN_ROWS or x.shape[1] < 2 or not mostly_continuous(x):
        return
    classes = (
        None if y is None or np.ndim(y) != 1 or len(y) != len(x) else np.unique(np.asarray(y), return_inverse=True)[1]
    )
    for j in range(x.shape[1]):
        values = np.unique(x[:, j])
        if not 2 <= len(values) <= MAX_CLASSES or len(values) > len(x) / 4:
            continue
        codes = np.searchsorted(values, x[:, j])
        same = classes is not None and same_classes(codes, classes)
        if not same and is_indicator(x, j):
            continue
        if same or (
            classes is None and is_class_number(values) and j in (0, x.shape[1] - 1) and predicted(x, j, codes)
        ):
            why = "has the classes of y" if same else "holds class numbers that the other columns predict"
            yield Finding(
                "leak",
                "warning",
                f"column {view.column_name(j)} of {view.label} seems to be the label: it {why}",
                f"drop it: numpy.delete(X, {j}, 1)",
                {"column": view.column_name(j), "classes": len(values), "rows": len(x)},
                "a label among the columns is learned like any other column, and codes then reveal it",
            )
            return


def mostly_continuous(x: np.ndarray) -> bool:
    """Whether most columns have more values than a label."""
    import numpy as np

    return bool(np.mean([len(np.unique(column)) > MAX_CLASSES for column in x.T]) > 0.5)


def same_classes(codes: np.ndarray, classes: np.ndarray) -> bool:
    """Whether two columns (n,) of class numbers are the same but for the classes' names."""
    pairs = len(set(zip(codes.tolist(), classes.tolist(), strict=True)))
    return pairs == len(set(codes.tolist())) == len(set(classes.tolist()))


def is_class_number(values: np.ndarray) -> bool:
    """Whether the values of a column are 0, 1, 2, ... or 1, 2, 3, ..."""
    return bool(values[0] in (0, 1) and (values == values[0] + range(len(values))).all())


def is_indicator(x: np.ndarray, j: int) -> bool:
    """Whether column j and the columns next to it are 1 for one class each, so that they sum to 1."""
    total = x[:, j]
    neighbours = range(j - 1, -1, -1) if j else range(1, x.shape[1])  # the column is the first or the last
    for k in neighbours:
        if not ((x[:, k] == 0) | (x[:, k] == 1)).all():
            return False
        total = total + x[:, k]
        if (total == 1).all():
            return True
    return False


def predicted(x: np.ndarray, j: int, codes: np.ndarray) -> bool:
    """Whether the nearest other row, by the other columns, mostly has the same class as a row."""
    import numpy as np

    from isthmus.schema import safe_std

    rows = np.random.default_rng(0).permutation(len(x))[:MAX_PREDICTED_ROWS]
    others = np.delete(x[rows], j, 1).astype(np.float64)
    others = (others - others.mean(0)) / safe_std(others)
    square = np.square(others).sum(1)
    distance = square[:, None] + square - 2 * others @ others.T
    np.fill_diagonal(distance, np.inf)
    accuracy = float((codes[rows][distance.argmin(1)] == codes[rows]).mean())
    guessed = float(np.bincount(codes[rows]).max() / len(rows))
    return accuracy - guessed > MIN_PREDICTED_SHARE * (1 - guessed)


def isolated_zeros(view: TableView, defaults: Defaults) -> Iterator[Finding]:
    """Columns of which many numbers are exactly 0 and no other comes near: missing values written as 0."""

    x = view.columns
    if view.image or len(x) < MIN_ROWS or defaults.schema.kind in ("binary", "levels"):
        return
    columns = [j for j in range(x.shape[1]) if zeros_are_apart(x[:, j])]
    counts = int((x[:, columns] == 0).sum())
    if columns:
        yield Finding(
            "zeros",
            "warning",
            f"column {join_names(view.column_name(j) for j in columns)} of {view.label} holds {counts:,} zeros, far "
            "from all other numbers",
            "if they stand for missing values, pass observed=(X != 0) in these columns",
            {"columns": len(columns), "zeros": counts},
            "a spike at 0 beside other numbers is no distribution that a likelihood has",
        )


def zeros_are_apart(column: np.ndarray) -> bool:
    """Whether zeros of a column (n,) lie apart from its other numbers, which are all positive or all negative."""
    import numpy as np

    rest = column[column != 0].astype(np.float64)
    values = np.unique(np.abs(rest))
    if len(column) - len(rest) < MIN_ZERO_SHARE * len(column) or len(values) <= MAX_CLASSES:
        return False
    spacing = float(np.median(np.diff(values[:LOWEST])))
    one_sign = bool((rest > 0).all() or (rest < 0).all())
    return one_sign and bool(values[0] >= max(ISOLATION * np.median(values), MIN_GAP_SPACINGS * spacing))


def repeated_values(view: TableView, defaults: Defaults) -> Iterator[Finding]:
    """Columns of a table of floats that take a few values, each of them many times, beside others that do not."""
    import numpy as np

    from isthmus.likelihoods import integers_remedy

    x, given = view.columns, view.examples.observed
    if view.image or view.lengths is not None or x.dtype.kind != "f" or defaults.schema.discrete:
        return
    observed = np.ones(x.shape, bool) if given is None else np.asarray(given).reshape(x.shape)
    counts = {j: few_values(x[observed[:, j], j]) for j in range(x.shape[1])}
    discrete = defaults.schema.per_element("discrete")
    few = {j: count for j, count in counts.items() if count and count > 1 and not discrete[j]}
    if few and None in counts.values():
        remedy = (
            f"unless they are measurements, pass {integers_remedy(x)}, whose probabilities are at most 1"
            if are_integers_as_floats(x)
            else "give each column its likelihood, as in likelihood=('normal', 'bernoulli') (--likelihood "
            "normal,bernoulli), spread each value evenly over the gap to its neighbours, or leave such columns out"
        )
        columns = "column" if len(few) == 1 else "columns"
        yield Finding(
            "repeated-values",
            "info",
            f"{columns} {join_names(f'{view.column_name(j)} ({count})' for j, count in few.items())} of {view.label} "
            f"{'takes' if len(few) == 1 else 'take'} few values: a density of them has no upper bound, and log p(x) "
            "rises the longer a model is trained",
            remedy,
            {"columns": [view.column_name(j) for j in few], "values": list(few.values())},
        )


def few_values(column: np.ndarray) -> int | None:
    """How many values a column (n,) takes; None if these are not few."""
    import numpy as np

    if len(column) < MIN_ROWS or len(np.unique(column[:MAX_PREDICTED_ROWS])) > MAX_CLASSES:
        return None
    count = len(np.unique(column))
    return count if count <= min(MAX_CLASSES, len(column) // MIN_REPEATS) else None


def large_offset(view: TableView, defaults: Defaults) -> Iterator[Finding]:
    """Columns far from 0 that are not centred."""
    import numpy as np

    if defaults.schema.discrete or defaults.scaling != "none":
        return
    x = view.columns
    spread = math.sqrt(float(x.var(0, dtype=np.float64).mean()))
    offset = math.sqrt(float(np.square(x.mean(0, dtype=np.float64)).mean()))
    if spread and MAX_OFFSET < offset / spread < math.inf:
        yield Finding(
            "large-offset",
            "warning",
            f"the columns' means are {offset / spread:,.3g} times their standard deviations, and are not centred",
            "pass scaling='standard' or scaling='global', which centre the columns",
            {"offset": offset / spread},
        )


def coincidences(x: np.ndarray) -> float:
    """How many of the rows x (n, d) would equal a further one by chance, were columns independent."""
    import numpy as np

    logs = 0.0
    for column in x.T:
        _, counts = np.unique(column, return_counts=True)
        logs += math.log(float(np.square(counts / len(x)).sum()))
    return len(x) * math.exp(logs)
