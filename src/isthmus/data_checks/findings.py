"""What is wrong with the data: each function looks for one thing."""

from __future__ import annotations

import math
from collections.abc import Iterator

from isthmus.data_checks.defaults import Choice, constant, outside
from isthmus.data_checks.table_view import View, listed, look, mended, plural
from isthmus.examples import Examples
from isthmus.finding import Finding

FEWEST_ROWS = 50
"""Rows under which nothing that is measured on a tenth of them means anything."""
FEWEST_IMAGES = 200
MANY_DUPLICATES = 0.01
"""Share of doubled rows above which held-out rows have likely been seen in training."""
WILD = 100.0
"""Ratio of the columns' standard deviations above which the largest rule the loss."""


def unusable(view: View) -> Iterator[Finding]:
    """Data of a shape that no model takes, and too few rows to train at all."""
    shape = tuple(view.x.shape)
    wanted = "(n, d), (n, h, w), (n, h, w, c) or, with lengths, (n, t, d)"
    if not 2 <= len(shape) <= 4 or (view.lengths is not None and len(shape) != 3):
        remedy = "pass X.reshape(-1, 1), or X.reshape(1, -1) for one row" if len(shape) == 1 else "reshape it"
        yield Finding("wrong-shape", "error", f"{view.part} has shape {shape}; {wanted} is wanted", remedy)
    elif view.lengths is not None and not fits(view):
        yield Finding(
            "wrong-shape",
            "error",
            f"the lengths do not fit {view.part} of shape {shape}",
            f"pass one whole number from 1 to {shape[1]} for each of {shape[0]} rows",
        )
    elif not view.x.size:
        yield Finding("empty", "error", f"{view.part} of shape {shape} is empty", "pass at least two rows")
    elif len(view.x) == 1:
        yield Finding("one-row", "error", f"{view.part} has one row", "pass at least two rows", {"rows": 1})


def fits(view: View) -> bool:
    """Whether lengths are whole numbers from 1 to the padded length, one a row."""
    import numpy as np

    lengths = np.asarray(view.lengths)
    if lengths.shape != (len(view.x),) or lengths.dtype.kind not in "iu":
        return False
    return not len(lengths) or bool(lengths.min() >= 1 and lengths.max() <= view.x.shape[1])


def not_finite(view: View) -> Iterator[Finding]:
    """NaN and infinity: which columns, and how many."""
    import numpy as np

    from isthmus.schema import DROP_COLUMNS, IMPUTE

    values = view.columns
    if values.dtype.kind != "f" or bool((finite := np.isfinite(values)).all()):
        return
    where, evidence = view.where(~finite)
    yield Finding(
        "not-finite",
        "error",
        f"NaN or infinity: {where}",
        DROP_COLUMNS if len(values) > 1 and bool((~finite).all(0).any()) else IMPUTE,
        evidence | {"rows": int((~finite).any(1).sum())},
    )


def too_large(view: View, choice: Choice) -> Iterator[Finding]:
    """Numbers whose squares overflow."""
    from isthmus.schema import MAX_ABSOLUTE_VALUE

    values = view.columns
    if values.dtype.kind != "f" or (values.min() >= -MAX_ABSOLUTE_VALUE and values.max() <= MAX_ABSOLUTE_VALUE):
        return
    where, evidence = view.where(abs(values) > MAX_ABSOLUTE_VALUE)
    yield Finding("too-large", "error", f"numbers beyond {MAX_ABSOLUTE_VALUE:g}: {where}", "rescale them", evidence)


def too_small(view: View, choice: Choice) -> Iterator[Finding]:
    """Columns whose numbers differ by so little that the squares vanish."""
    import numpy as np

    from isthmus.schema import MIN_DIFFERENCE, has_underflow

    if choice.scaling == "none" or view.columns.dtype.kind != "f":
        return
    columns = np.flatnonzero(has_underflow(view.columns.astype(np.float64))).tolist()
    if columns:
        where = listed([view.name(j) for j in columns])
        message = f"numbers differ by less than {MIN_DIFFERENCE:g}: column {where}"
        yield Finding("too-small", "error", message, "rescale or drop it", {"columns": len(columns)})


def held_out(part: Examples, name: str, choice: Choice) -> Iterator[Finding]:
    """What keeps rows to validate or test on from being used: their shape, NaN, values outside the support."""
    view, findings = look(part, name)
    yield from findings
    if view is None:
        return
    wrong = [finding for finding in unusable(view) if finding.code != "one-row"]
    if wrong:
        yield from wrong
    elif view.x.shape[1:] != choice.schema.event_shape:
        message = f"{name} has rows of shape {view.x.shape[1:]} and X of {choice.schema.event_shape}"
        yield Finding("wrong-shape", "error", message, "give both the same columns, or the same height and width")
    else:
        yield from not_finite(view)
        yield from too_large(mended(view), choice)
        yield from outside(mended(view), choice, typed=False)


def constant_columns(view: View, choice: Choice) -> Iterator[Finding]:
    """Columns that never change, or nothing that does."""
    import numpy as np

    values = view.columns
    if len(view.x) > 1 and constant(view.x):
        message = f"all {plural(len(view.x), 'row')} are the same; there is nothing to learn from constant data"
        yield Finding("constant-data", "error", message, "pass rows that differ", {"rows": len(view.x)})
        return
    still = np.flatnonzero(values.min(0) == values.max(0))
    if not len(still) or len(view.x) == 1:
        return
    evidence = {"columns": len(still), "of": values.shape[1]}
    share = f"{len(still):,} of {plural(values.shape[1], 'pixel' if view.image else 'column')}"
    if view.image or choice.schema.kind == "levels":
        message, remedy = f"{share} never change", "nothing is to be done: margins of images are often blank"
        yield Finding("constant-columns", "info", message, remedy, evidence)
    else:
        message = f"{share} never change: {listed([view.name(j) for j in still.tolist()])}"
        yield Finding("constant-columns", "warning", message, "drop them: they say nothing", evidence)


def few_rows(view: View, choice: Choice) -> Iterator[Finding]:
    """So few rows that a model learns them by heart."""
    n, width = len(view.x), view.columns.shape[1]
    wanted = max(FEWEST_IMAGES, width // 10) if view.image else max(FEWEST_ROWS, width if view.lengths is None else 0)
    if 1 < n < wanted:
        yield Finding(
            "few-rows",
            "warning",
            f"{plural(n, 'row')} of {plural(width, 'pixel' if view.image else 'column')}; "
            f"a model would learn them by heart, {wanted:,} or more are wanted",
            "gather more rows, or take a small linear model: hidden=(), latent_dim=2",
            {"rows": n, "columns": width, "wanted": wanted},
        )


def duplicates(view: View, choice: Choice) -> Iterator[Finding]:
    """Rows that are there more than once: split, one is trained on and its double tested on."""
    import numpy as np

    rows = np.ascontiguousarray(view.x).reshape(len(view.x), -1)
    double = len(rows) - len({hash(row.tobytes()) for row in rows})
    if double and not constant(view.x):
        share = double / len(rows)
        yield Finding(
            "duplicated-rows",
            "warning" if share > MANY_DUPLICATES else "info",
            f"copies of earlier rows: {double:,} of {len(rows):,} ({share:.1%})",
            "drop them before splitting (numpy.unique(X, axis=0)), or held-out rows are rows that were trained on",
            {"rows": double, "of": len(rows), "share": share},
        )


def scales(view: View, choice: Choice) -> Iterator[Finding]:
    """Columns of a table whose spreads are far apart."""
    import numpy as np

    if view.image or choice.schema.discrete:
        return
    spread = view.columns.std(0, dtype=np.float64)
    moving = np.flatnonzero(view.columns.min(0) != view.columns.max(0))
    if len(moving) < 2:
        return
    small, large = moving[spread[moving].argmin()], moving[spread[moving].argmax()]
    ratio = float(spread[large] / spread[small])
    if not WILD < ratio < math.inf:  # spreads may overflow
        return
    served = choice.scaling == "standard"
    times = f"{ratio:,.0f}" if ratio < 1e9 else f"{ratio:.3g}"
    yield Finding(
        "different-scales",
        "info" if served else "warning",
        f"the standard deviation of column {view.name(large)} ({spread[large]:.3g}) is {times} times that of "
        f"{view.name(small)} ({spread[small]:.3g})",
        "nothing is to be done: scaling='standard' takes care of it"
        if served
        else "pass scaling='standard', or the loss hears the large columns alone",
        {"ratio": ratio, "largest": float(spread[large]), "smallest": float(spread[small])},
    )


def channels_first(view: View, choice: Choice) -> Iterator[Finding]:
    """Images whose channels seem to come before height and width."""
    shape = view.x.shape
    if view.image and len(shape) == 4 and shape[1] in (1, 3) and shape[3] > 4:
        yield Finding(
            "channels-first",
            "warning",
            f"rows of shape {shape[1:]} look like channels, height, width; height, width, channels are wanted",
            "pass X[:, 0]" if shape[1] == 1 else "pass X.transpose(0, 2, 3, 1)",
            {"channels": shape[1], "height": shape[2], "width": shape[3]},
        )


def whole_floats(view: View, choice: Choice) -> Iterator[Finding]:
    """Floats that are all whole numbers: perhaps counts or grey levels."""
    x = view.x
    if choice.schema.discrete or x.dtype.kind != "f" or constant(x) or x.min() < 0 or x.max() > 1e15:
        return
    if bool((x[:100] % 1 == 0).all()) and bool((x % 1 == 0).all()):
        high = int(x.max())
        levels = f" or X.astype('uint8') with levels={high + 1} for grey levels" if high < 256 else ""
        yield Finding(
            "whole-floats",
            "info",
            f"every value is a whole number from {int(x.min())} to {high}, stored as {x.dtype}",
            f"if they are not measurements pass X.astype('int64') for counts{levels}",
            {"smallest": int(x.min()), "largest": high},
        )


MEASURES = (too_large, too_small, constant_columns, few_rows, duplicates, scales, channels_first, whole_floats)
"""What is looked for once there are rows of numbers."""
