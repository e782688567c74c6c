"""Tables beside the figures: columns and rows of tabular data, the numbers of each dimension of the code."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from isthmus.plot.code_dimensions import Dimensions
from isthmus.plot.context import PlotContext
from isthmus.plot.display import choose_rows
from isthmus.plot.prior_samples import Samples
from isthmus.plot.reconstruction import Reconstructions
from isthmus.plot.score_histogram import Extremes, select_extremes
from isthmus.plot.text import number, range_of
from isthmus.wording import pluralize

TABLE_MAX_COLUMNS = 12
"""Columns of a table that are shown."""
MAX_EXAMPLES = 5
"""Example rows that a table shows, of a kind."""
ROUNDING_ERROR = 1e-24
"""Share of a column's mean square below which its squared error is rounding."""
OUTLIER_STD = 2.5
"""Standard deviations from the mean from which a value is marked."""


class Table(NamedTuple):
    """Words and numbers in rows; the first cell of each is its head."""

    caption: str
    head: list[str]
    rows: list[list[str]]
    folded: bool = False
    """Whether only the caption shows until it is opened."""
    look: str = "narrow"
    """"narrow" for numbers, which do not break, or "wordy"."""


def no_tables(context: PlotContext, data: object) -> list[Table]:
    """For figures that need none beside them."""
    return []


def reconstruction_tables(context: PlotContext, data: Reconstructions | None) -> list[Table]:
    """Of tabular data: the reconstruction error of each column, and a few rows beside their reconstructions."""
    if data is None or context.kind != "table":
        return []
    flat = {name: view.reshape(len(view), -1) for name, view in data.views.items()}
    original = flat.pop("original")
    variance, names = original.var(0), names_of(context)
    rows = []
    for j in shown_columns(context):
        row = [names[j], number(original[:, j].mean()), number(np.sqrt(variance[j]))]
        for values in flat.values():
            error = np.square(values[:, j] - original[:, j]).mean()
            error *= error > ROUNDING_ERROR * np.square(original[:, j]).mean()  # an exact answer shows as such
            explained = f"{1 - error / variance[j]:.0%}".replace("-", "−") if variance[j] else "–"
            row += [number(np.sqrt(error), 3), explained]
        rows.append(row)
    head = ["column", "mean", "standard deviation"]
    head += [f"{name}: {what}" for name in flat for what in ("RMSE", "R²")]
    caption = (
        f"Columns of {pluralize(len(original), 'row')}{columns_left_out(context)}. RMSE is the root mean squared "
        "error, R² the share of variance explained (100% is exact, 0% no better than the mean)."
    )
    some = choose_rows(len(original), MAX_EXAMPLES, [], context.seed)
    pairs = []
    for i in some:
        pairs.append([f"row {data.index[i]}", *cells(context, original[i])])
        pairs += [[name, *cells(context, values[i])] for name, values in flat.items()]
    title = f"{pluralize(len(some), 'row')} and their reconstructions{columns_left_out(context)}"
    return [Table(caption, head, rows), Table(title, heads(context), pairs, folded=True)]


def sample_tables(context: PlotContext, data: Samples | None) -> list[Table]:
    """Of tabular data: means and standard deviations of the columns, and samples beside the nearest rows."""
    if data is None or context.kind != "table":
        return []
    drawn, rows = (values.reshape(len(values), -1) for values in (data.samples, context.values))
    near, distances, name = context.nearest(data.samples[:MAX_EXAMPLES])
    pairs = []
    for i in range(len(near)):
        pairs.append([f"sample {i + 1}", *cells(context, drawn[i])])
        pairs.append(["nearest", *cells(context, near[i])])
    names = names_of(context)
    stats = [
        [names[j], *(number(stat(values[:, j])) for stat in (np.mean, np.std) for values in (rows, drawn))]
        for j in shown_columns(context)
    ]
    caption = f"Columns of {context.counted} and of {len(drawn):,} samples{columns_left_out(context)}."
    head = ["column", "mean: data", "mean: samples", "standard deviation: data", "standard deviation: samples"]
    title = (
        f"{pluralize(len(near), 'sample')}, each above the nearest {name} (squared distance {range_of(distances)})"
        f"{columns_left_out(context)}"
    )
    return [Table(caption, head, stats), Table(title, heads(context), pairs, folded=True)]


def extreme_tables(context: PlotContext, data: Extremes | None) -> list[Table]:
    """Of tabular data, which the figure does not show: the least and the most typical rows, outliers marked."""
    if context.kind != "table" or len(context.shown) < 2:
        return []
    data = select_extremes(context)
    flat = context.values.reshape(len(context.values), -1)
    std = np.where(flat.std(0) > 0, flat.std(0), np.inf)
    tables = []
    for which, index in (("least", data.least), ("most", data.most)):
        rows = []
        for row in index:
            distance = (flat[row] - flat.mean(0)) / std
            marks = [" ▲" if z > OUTLIER_STD else " ▼" if z < -OUTLIER_STD else "" for z in distance]
            marked = [text + mark for text, mark in zip(cells(context, flat[row]), marks)]
            rows.append([f"row {row}", number(data.scores[row]), *marked])
        caption = f"The {pluralize(len(index), 'row')} that are {which} typical{columns_left_out(context)}."
        if which == "least":
            caption += f" ▲ and ▼: more than {OUTLIER_STD} standard deviations from the column's mean."
        tables.append(Table(caption, ["", data.quantity, *heads(context)[1:]], rows))
    return tables


def dimension_table(context: PlotContext, data: Dimensions | None) -> list[Table]:
    """The codes of the rows, dimension by dimension."""
    if data is None:
        return []
    kl, ratio, std = context.kl, context.between_variance_ratio, context.codes.std(0)
    head = ["dimension", "mean", "standard deviation"]
    head += ["KL (nats)"] * (kl is not None) + ["variance between rows"] * (ratio is not None)
    rows = []
    for j in context.order:
        row = [f"z{j + 1}", number(context.codes[:, j].mean(), 3), number(std[j], 3)]
        row += [number(kl[j], 3)] if kl is not None else []
        row += [f"{ratio[j]:.0%}"] if ratio is not None else []
        rows.append(row)
    return [Table(f"Codes of {context.counted}, dimension by dimension", head, rows, folded=True)]


def names_of(context: PlotContext) -> list[str]:
    """The name of every column."""
    return list(context.schema.names or (f"column {j}" for j in range(context.schema.size)))


def shown_columns(context: PlotContext) -> range:
    """Positions of the columns that are shown."""
    return range(min(TABLE_MAX_COLUMNS, context.schema.size))


def columns_left_out(context: PlotContext) -> str:
    """Which columns are shown, if not all."""
    size = context.schema.size
    return f", the first {TABLE_MAX_COLUMNS} of {size:,} columns" if size > TABLE_MAX_COLUMNS else ""


def heads(context: PlotContext) -> list[str]:
    """A head for a row's name, then the columns'."""
    return ["", *(names_of(context)[j] for j in shown_columns(context))]


def cells(context: PlotContext, row: np.ndarray) -> list[str]:
    """One row (d,) as text."""
    return [number(row.reshape(-1)[j], 3) for j in shown_columns(context)]
