"""Findings about data: each function looks for one problem."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from isthmus.data_checks.column_meanings import column_meanings
from isthmus.data_checks.defaults import Defaults, choose_defaults, outside_support
from isthmus.data_checks.suspect_columns import (
    MAX_REPEATED_BITS,
    MIN_COINCIDENCE,
    coincidences,
    isolated_zeros,
    label_column,
    large_offset,
    repeated_values,
)
from isthmus.data_checks.table_view import TableView, all_rows_equal, are_integers_as_floats, impute, inspect
from isthmus.examples import Examples
from isthmus.finding import Finding
from isthmus.wording import join_names, pluralize

if TYPE_CHECKING:
    from isthmus.estimators.hyperparameters import Hyperparameters

MIN_TABLE_ROWS = 50
"""Rows of a table below which a tenth of them is too few to validate on."""
MIN_IMAGES = 200
"""The same for images."""
DUPLICATE_SHARE_WARN = 0.01
"""Share of duplicate rows above which held-out rows are likely to be training rows as well."""
MIN_WIDE_COLUMNS, MIN_WIDE_RATIO = 200, 20
"""Columns, and columns for each row, from which the columns of a table may be the examples."""
STD_RATIO_WARN = 100.0
"""Ratio of the columns' standard deviations above which the largest columns dominate the loss."""


def unusable(view: TableView) -> Iterator[Finding]:
    """A shape that no model accepts, or too few rows to train on."""
    shape = tuple(view.x.shape)
    expected = "(n, d), (n, h, w), (n, h, w, c) or, with lengths, (n, t, d)"
    if not 2 <= len(shape) <= 4 or (view.lengths is not None and len(shape) != 3):
        remedy = "pass X.reshape(-1, 1), or X.reshape(1, -1) for one row" if len(shape) == 1 else "reshape it"
        yield Finding("wrong-shape", "error", f"{view.label} must have shape {expected}, got {shape}", remedy)
    elif view.lengths is not None and not valid_lengths(view):
        yield Finding(
            "wrong-shape",
            "error",
            f"the lengths do not match {view.label} of shape {shape}",
            f"pass one integer from 1 to {shape[1]} for each of the {shape[0]} rows",
        )
    elif view.examples.observed is not None and not valid_observed(view):
        yield Finding(
            "wrong-shape",
            "error",
            f"observed does not match {view.label} of shape {shape}",
            f"pass booleans of shape {shape}, False where a value is missing",
        )
    elif not view.x.size:
        yield Finding("empty", "error", f"{view.label} of shape {shape} is empty", "pass at least two rows")
    elif len(view.x) == 1:
        yield Finding("one-row", "error", f"{view.label} has only one row", "pass at least two rows", {"rows": 1})


def valid_lengths(view: TableView) -> bool:
    """Whether lengths are integers from 1 to the padded length, one for each row."""
    import numpy as np

    lengths = np.asarray(view.lengths)
    if lengths.shape != (len(view.x),) or lengths.dtype.kind not in "iu":
        return False
    return not len(lengths) or bool(lengths.min() >= 1 and lengths.max() <= view.x.shape[1])


def valid_observed(view: TableView) -> bool:
    """Whether `observed` are booleans of the shape of the data."""
    import numpy as np

    observed = np.asarray(view.examples.observed)
    return observed.shape == view.x.shape and observed.dtype == bool


def not_finite(view: TableView) -> Iterator[Finding]:
    """NaN or infinity."""
    import numpy as np

    from isthmus.schema import DROP_COLUMNS, IMPUTE, OBSERVED

    values = view.columns
    if values.dtype.kind != "f" or bool((finite := np.isfinite(values)).all()):
        return
    where, evidence = view.locate(~finite)
    yield Finding(
        "not-finite",
        "error",
        f"NaN or infinity in {where}",
        DROP_COLUMNS if len(values) > 1 and bool((~finite).all(0).any()) else f"{IMPUTE} {OBSERVED}",
        evidence | {"rows": int((~finite).any(1).sum())},
    )


def too_large(view: TableView, defaults: Defaults) -> Iterator[Finding]:
    """Numbers whose squares overflow."""
    from isthmus.schema import MAX_ABSOLUTE_VALUE

    values = view.columns
    if values.dtype.kind != "f" or (values.min() >= -MAX_ABSOLUTE_VALUE and values.max() <= MAX_ABSOLUTE_VALUE):
        return
    where, evidence = view.locate(abs(values) > MAX_ABSOLUTE_VALUE)
    yield Finding("too-large", "error", f"numbers beyond {MAX_ABSOLUTE_VALUE:g} in {where}", "rescale them", evidence)


def too_small(view: TableView, defaults: Defaults) -> Iterator[Finding]:
    """Columns that vary so little that squared differences underflow."""
    import numpy as np

    from isthmus.schema import MIN_DIFFERENCE, has_underflow

    if defaults.scaling == "none" or view.columns.dtype.kind != "f":
        return
    columns = np.flatnonzero(has_underflow(view.columns.astype(np.float64))).tolist()
    if columns:
        names = join_names(view.column_name(j) for j in columns)
        message = f"numbers differ by less than {MIN_DIFFERENCE:g} in column {names}"
        yield Finding("too-small", "error", message, "rescale or drop it", {"columns": len(columns)})


def check_held_out(examples: Examples, label: str, defaults: Defaults) -> Iterator[Finding]:
    """Problems of validation or test rows: their shape, NaN, values outside the support of the likelihood."""
    view, findings = inspect(examples, label)
    yield from findings
    if view is None:
        return
    problems = [finding for finding in unusable(view) if finding.code != "one-row"]
    if problems:
        yield from problems
    elif view.x.shape[1:] != defaults.schema.event_shape:
        message = (
            f"rows of {label} must have shape {defaults.schema.event_shape} like those of X, got {view.x.shape[1:]}"
        )
        yield Finding("wrong-shape", "error", message, "give both the same columns, or the same height and width")
    else:
        yield from not_finite(view)
        yield from too_large(impute(view), defaults)
        yield from outside_support(impute(view), defaults)


def constant_columns(view: TableView, defaults: Defaults) -> Iterator[Finding]:
    """Constant columns, or data that are constant altogether."""
    import numpy as np

    values = view.columns
    if len(view.x) > 1 and all_rows_equal(view.x):
        message = f"all {pluralize(len(view.x), 'row')} are the same; there is nothing to learn from constant data"
        yield Finding("constant-data", "error", message, "pass rows that differ", {"rows": len(view.x)})
        return
    constant = np.flatnonzero(values.min(0) == values.max(0))
    if not len(constant) or len(view.x) == 1:
        return
    evidence = {"columns": len(constant), "of": values.shape[1]}
    count = f"{len(constant):,} of {pluralize(values.shape[1], 'pixel' if view.image else 'column')}"
    verb = "is" if len(constant) == 1 else "are"
    if view.image or defaults.schema.kind == "levels":
        message, remedy = f"{count} {verb} constant", "no action needed: margins of images are often blank"
        yield Finding("constant-columns", "info", message, remedy, evidence)
    else:
        message = f"{count} {verb} constant: {join_names(view.column_name(j) for j in constant.tolist())}"
        yield Finding("constant-columns", "warning", message, "drop them: they carry no information", evidence)


def few_rows(view: TableView, defaults: Defaults) -> Iterator[Finding]:
    """So few rows that a model would overfit."""
    n, width = view.total or len(view.x), view.columns.shape[1]
    expected = max(MIN_IMAGES, width // 10) if view.image else max(MIN_TABLE_ROWS, width if view.lengths is None else 0)
    if 1 < n < expected:
        remedy = "collect more rows, or use a small linear model: hidden=(), latent_dim=2"
        yield Finding(
            "few-rows",
            "warning",
            f"{pluralize(n, 'row')} of {pluralize(width, 'pixel' if view.image else 'column')}; "
            f"with fewer than {expected:,} rows a model is likely to overfit",
            f"if columns are the examples, transpose the table (X.T); else {remedy}"
            if columns_may_be_examples(view, defaults, n)
            else remedy,
            {"rows": n, "columns": width, "expected": expected},
        )


def columns_may_be_examples(view: TableView, defaults: Defaults, n: int) -> bool:
    """Whether a table of n rows is so wide that it may have to be transposed; flattened images are as wide.

    These are bytes, or have margins that are constant, or as many grey levels from 0 to 1 as a square has pixels.
    """
    x, width = view.x, view.x.shape[-1]
    if view.oriented or x.ndim != 2 or width < MIN_WIDE_COLUMNS or width <= MIN_WIDE_RATIO * n:
        return False
    square = any(math.isqrt(width // k) ** 2 * k == width for k in (1, 3))
    if defaults.schema.kind in ("levels", "category") or (defaults.schema.kind in ("unit", "binary") and square):
        return False
    return bool((x.min(0) != x.max(0)).all())


def duplicate_rows(view: TableView, defaults: Defaults) -> Iterator[Finding]:
    """Rows that occur more than once: after a split, one copy is trained on and the other tested on."""
    import numpy as np

    rows = np.ascontiguousarray(view.x).reshape(len(view.x), -1)
    duplicates = len(rows) - len({hash(row.tobytes()) for row in rows})
    if duplicates and not all_rows_equal(view.x):
        share = duplicates / len(rows)
        of_bits = defaults.schema.kind == "binary" and share < MAX_REPEATED_BITS
        surprising = coincidences(rows) < MIN_COINCIDENCE and not of_bits
        yield Finding(
            "duplicate-rows",
            "warning" if share > DUPLICATE_SHARE_WARN and surprising else "info",
            f"{duplicates:,} of {pluralize(len(rows), 'row')} are duplicates of earlier ones ({share:.1%})",
            "drop them before splitting (numpy.unique(X, axis=0)): otherwise held-out rows are training rows as well"
            if surprising
            else "no action needed: rows of few values coincide",
            {"rows": duplicates, "of": len(rows), "share": share},
        )


def different_scales(view: TableView, defaults: Defaults) -> Iterator[Finding]:
    """Columns of a table with very different standard deviations."""
    import numpy as np

    if view.image or defaults.schema.discrete:
        return
    std = view.columns.std(0, dtype=np.float64)
    of_density = ~defaults.schema.per_element("discrete").astype(bool)
    varying = np.flatnonzero((view.columns.min(0) != view.columns.max(0)) & (of_density if defaults.columns else True))
    if len(varying) < 2:
        return
    small, large = varying[std[varying].argmin()], varying[std[varying].argmax()]
    ratio = float(std[large] / std[small])
    if not STD_RATIO_WARN < ratio < math.inf:  # standard deviations may overflow
        return
    standardized = defaults.scaling == "standard"
    times = f"{ratio:,.0f}" if ratio < 1e9 else f"{ratio:.3g}"
    yield Finding(
        "different-scales",
        "info" if standardized else "warning",
        f"the standard deviation of column {view.column_name(large)} ({std[large]:.3g}) is {times} times that of "
        f"{view.column_name(small)} ({std[small]:.3g})",
        "no action needed: scaling='standard' handles it"
        if standardized
        else "pass scaling='standard': otherwise the large columns dominate the loss",
        {"ratio": ratio, "largest": float(std[large]), "smallest": float(std[small])},
    )


def channels_first(view: TableView, defaults: Defaults) -> Iterator[Finding]:
    """Images whose channels seem to come before height and width."""
    from isthmus.array_checks import looks_channels_first

    shape = view.x.shape
    if view.image and looks_channels_first(shape):
        yield Finding(
            "channels-first",
            "warning",
            f"images must be (h, w, c), but rows of shape {shape[1:]} look like (c, h, w)",
            "pass X[:, 0]" if shape[1] == 1 else "pass X.transpose(0, 2, 3, 1)",
            {"channels": shape[1], "height": shape[2], "width": shape[3]},
        )


def integer_valued_floats(view: TableView, defaults: Defaults) -> Iterator[Finding]:
    """Floats that are all integers: perhaps counts or grey levels."""
    from isthmus.likelihoods import integers_remedy

    x = view.x
    chosen = defaults.schema.discrete or bool(defaults.columns)  # by the user, where each column has its own
    if not chosen and are_integers_as_floats(x) and not all_rows_equal(x):
        low, high = int(x.min()), int(x.max())
        yield Finding(
            "integer-valued-floats",
            "info",
            f"all values are integers from {low} to {high}, stored as {x.dtype}",
            f"unless they are measurements, pass {integers_remedy(x)}",
            {"smallest": low, "largest": high},
        )


CHECKS: tuple[Callable[[TableView, Defaults], Iterator[Finding]], ...] = (
    too_large,
    too_small,
    constant_columns,
    few_rows,
    duplicate_rows,
    different_scales,
    channels_first,
    integer_valued_floats,
    label_column,
    column_meanings,
    isolated_zeros,
    large_offset,
    repeated_values,
)
"""Checks of numeric data, in the order in which equally severe findings are reported. A new check is one entry."""


def examine(view: TableView, model: Hyperparameters) -> tuple[TableView, Defaults, list[Finding]]:
    """All checks of numeric rows: the rows with gaps filled, what `model` would choose for them, and what is wrong."""
    import numpy as np

    if view.examples.observed is not None:
        view = impute(view, missing=~np.asarray(view.examples.observed))
    findings = list(not_finite(view))
    view = impute(view)
    defaults, mismatches = choose_defaults(model, view)
    findings += mismatches
    findings += [finding for run_check in CHECKS for finding in run_check(view, defaults)]
    return view, defaults, findings
