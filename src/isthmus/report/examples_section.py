"""Rows on a page: what the model makes of them, what it draws, which it finds strange; pictures, curves or tables."""

from __future__ import annotations

import numpy as np
from matplotlib import colors

from isthmus.report.context import ReportContext
from isthmus.report.display import as_images, shown_rows
from isthmus.report.html_blocks import (
    TILE,
    WIDE,
    Gallery,
    Picture,
    Section,
    Table,
    counted,
    from_to,
    number,
    panel,
    strip,
    svg,
)
from isthmus.report.plots import views_of
from isthmus.report.style import BLUE, MUTED, ORANGE

ACROSS = 10
"""Images in a strip."""
LINES = 6
"""Sequences drawn as lines, of a kind."""
COLUMNS = 12
"""Columns of a table that are shown."""
ROWS = 5
"""Rows of a table that are shown, of a kind."""
ROUNDING = 1e-24
"""Share of a column's mean square under which its error is rounding."""
ODD = 2.5
"""Standard deviations from the mean from which a number of a row is marked."""
BLEND = colors.LinearSegmentedColormap.from_list("blend", [BLUE, "#9a6fb0", ORANGE])
"""From one end of a path to the other, legible on light and on dark."""


def across(exhibit: ReportContext) -> int:
    """Images in a strip: fewer where one is wide."""
    return ACROSS if exhibit.form == "image" else 5


def names_of(exhibit: ReportContext) -> list[str]:
    """Every column's name."""
    return list(exhibit.schema.names or (f"column {j}" for j in range(exhibit.schema.size)))


def image_strip(exhibit: ReportContext, values: np.ndarray, alt: str, label: str = "") -> Picture:
    """Examples (m, *X) in the data's units as a strip of images."""
    tile = WIDE if exhibit.form == "heat" else TILE
    return strip(as_images(values, exhibit.schema, exhibit.span), alt, label, tile)


def line_panel(views: dict[str, np.ndarray], alt: str, label: str, span: tuple[float, float]) -> Picture:
    """Sequences (T, d) as lines over their steps in one panel; an original is broad and pale, damage dots."""
    looks: dict[str, dict] = {
        "original": {"color": MUTED, "linewidth": 2.4, "alpha": 0.6},
        "nearest": {"color": MUTED, "linewidth": 2.4, "alpha": 0.6},
        "damaged": {"color": ORANGE, "linestyle": "none", "marker": ".", "markersize": 2.5},
        "PCA": {"color": ORANGE, "linewidth": 1.0},
    }
    figure, axis = panel("step", width=290, height=150)
    for name, values in views.items():
        axis.plot(values.reshape(len(values), -1), **looks.get(name, {"color": BLUE, "linewidth": 1.2}))
    axis.set_ylim(*span)
    return svg(figure, alt, label)


def path_panel(path: np.ndarray, alt: str, label: str, span: tuple[float, float]) -> Picture:
    """Sequences (m, T, d) along a path of codes, from blue to orange."""
    figure, axis = panel("step", width=290, height=150)
    for values, share in zip(path, np.linspace(0, 1, len(path))):
        axis.plot(values.reshape(len(values), -1), color=BLEND(share), linewidth=1.1)
    axis.set_ylim(*span)
    return svg(figure, alt, label)


def roomy(values: np.ndarray) -> tuple[float, float]:
    """Limits a little outside the values."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    room = 0.06 * (high - low) or 0.5
    return low - room, high + room


# -------------------------------------------------------------- reconstructions


def reconstructions(exhibit: ReportContext) -> Section:
    """Originals beside what the model makes of them, and beside PCA of as many dimensions."""
    counts = {"table": len(exhibit.held), "lines": LINES}
    index = shown_rows(len(exhibit.held), counts.get(exhibit.form, across(exhibit)), exhibit.groups, exhibit.seed)
    views = views_of(exhibit.model, exhibit.held.take(index), exhibit.seed)
    if exhibit.train is not None and exhibit.model.model_.corruption is None:
        views["PCA"] = exhibit.by_pca(index)
    damaged = "damaged" in views
    words = [
        "What comes out of the decoder when a row goes in and only its code goes on."
        if not damaged
        else "Rows are damaged as in training, and the model is to find the clean ones behind them."
    ]
    if exhibit.form == "table":
        return Section("reconstructions", "Reconstructions", words, column_tables(exhibit, views))
    if "PCA" in views:
        k = exhibit.pca.components_[: exhibit.model.latent_dim].shape[0]
        words.append(f"PCA is the exact linear model with {counted(k, 'dimension')}, on the same rows.")
    errors = {name: squared_gaps(view, views["original"]) for name, view in views.items()}
    which = "" if not exhibit.groups else ", as evenly over the labels as can be"
    caption = f"{len(index)} of {exhibit.held.counted}, drawn by the seed{which}."
    names = {"original": "original", "reconstruction": "reconstruction", "PCA": "PCA"}
    if exhibit.form == "lines":
        span = roomy(np.concatenate(list(views.values())))
        pictures = []
        for i, row in enumerate(index):
            others = [f"{name} off by {number(errors[name][i], 3)} squared" for name in views if name != "original"]
            steps = counted(int(exhibit.held.lengths[row]), "step") if exhibit.held.lengths is not None else ""
            alt = f"Sequence {i + 1} of {steps}, {from_to(views['original'][i])}; {', '.join(others)}."
            pictures.append(line_panel({name: view[i] for name, view in views.items()}, alt, f"row {row}", span))
        keys = {"original": "var(--muted)", "PCA": "var(--orange)", "damaged": "var(--orange)"}
        legend = tuple((keys.get(name, "var(--blue)"), name) for name in views)
        return Section("reconstructions", "Reconstructions", words, [Gallery(pictures, caption, "grid", legend)])
    pictures = []
    for name, view in views.items():
        alt = f"{len(index)} originals{labels_in_words(exhibit, index)}."
        if name != "original":
            far = errors[name]
            alt = (
                f"{name}: squared error of these {len(index)} rows {from_to(far)}, {number(far.mean(), 3)} on average."
            )
        pictures.append(image_strip(exhibit, view, alt, names.get(name, name)))
        if name != "original":
            pictures[-1] = pictures[-1]._replace(label=f"{pictures[-1].label} ({number(errors[name].mean(), 3)})")
    caption += " In brackets the mean squared error of the rows shown, summed over the features."
    return Section("reconstructions", "Reconstructions", words, [Gallery(pictures, caption, "strips")])


def squared_gaps(values: np.ndarray, original: np.ndarray) -> np.ndarray:
    """(m,) squared differences, summed; padding left out."""
    return np.nansum(np.square(values - original).reshape(len(values), -1), 1)


def labels_in_words(exhibit: ReportContext, index: np.ndarray) -> str:
    """The labels of some rows, where there are any."""
    labels, by = exhibit.labels
    return "" if labels is None else f" with the {by}s {', '.join(str(v)[:20] for v in labels[index])}"


def column_tables(exhibit: ReportContext, views: dict[str, np.ndarray]) -> list[Gallery | Table]:
    """Of each column, how much of its variation is kept; and a few rows as they are and as they come back."""
    names = names_of(exhibit)
    flat = {name: view.reshape(len(view), -1) for name, view in views.items()}
    original = flat.pop("original")
    variance = original.var(0)
    rows = []
    for j in kept_columns(exhibit):
        row = [names[j], number(original[:, j].mean()), number(np.sqrt(variance[j]))]
        for made in flat.values():
            error = np.square(made[:, j] - original[:, j]).mean()
            error *= error > ROUNDING * np.square(original[:, j]).mean()  # what is exact shows as such
            row += [
                number(np.sqrt(error), 3),
                f"{1 - error / variance[j]:.0%}".replace("-", "−") if variance[j] else "–",
            ]
        rows.append(row)
    head = ["column", "mean", "spread"]
    for name in flat:
        head += [f"{name}: error", f"{name}: kept"]
    caption = (
        f"Columns of {exhibit.held.counted}{left_out(exhibit)}. Spread is the standard deviation, error the root mean "
        "square of what is missed, kept the share of the variance that comes back (100% is exact, 0% no better than "
        "the mean)."
    )
    if "PCA" in flat:
        k = min(exhibit.model.latent_dim, len(exhibit.pca.components_))
        caption += f" PCA has {counted(k, 'dimension')} and sees the columns scaled as the model does."
    some = shown_rows(len(exhibit.held), ROWS, exhibit.groups, exhibit.seed)
    index = shown_rows(len(exhibit.held), len(exhibit.held), exhibit.groups, exhibit.seed)
    pairs = []
    for row in some:
        at = int(np.flatnonzero(index == row)[0])
        pairs.append([f"row {row}", *cells(exhibit, original[at])])
        pairs += [[name, *cells(exhibit, made[at])] for name, made in flat.items()]
    heads = ["", *(names[j] for j in kept_columns(exhibit))]
    few = Table(f"{len(some)} rows as they are, and as they come back{left_out(exhibit)}.", heads, pairs)
    return [Table(caption, head, rows), few]


def kept_columns(exhibit: ReportContext) -> range:
    return range(min(COLUMNS, exhibit.schema.size))


def left_out(exhibit: ReportContext) -> str:
    """What is not shown, in words."""
    return f", the first {COLUMNS} of {exhibit.schema.size:,} columns" if exhibit.schema.size > COLUMNS else ""


def cells(exhibit: ReportContext, row: np.ndarray) -> list[str]:
    """One row (d,) of a table as text."""
    return [number(row.reshape(-1)[j], 3) for j in kept_columns(exhibit)]


# ---------------------------------------------------------------------- samples


def samples(exhibit: ReportContext) -> Section:
    """What the model draws, beside the data that lie nearest."""
    title = "Samples beside the nearest data"
    if not exhibit.model.density:
        words = [f"{type(exhibit.model).__name__} has no prior over codes, so there is nothing to draw from it."]
        return Section("samples", title, words, [])
    n = {"table": 1000, "lines": LINES, "image": 2 * ACROSS}.get(exhibit.form, 2 * across(exhibit))
    table = exhibit.form == "table"
    given, index = None, np.zeros(0, int)
    if exhibit.held.condition is not None:
        index = np.resize(shown_rows(len(exhibit.held), n, exhibit.groups, exhibit.seed), n)
        given = exhibit.held.condition[index]
    drawn = exhibit.model.sample(n, condition=given, random_state=exhibit.seed, mean=not table)
    drawn = np.asarray(drawn, np.float64)
    shown = drawn[: ROWS if table else n]
    near, far, name = exhibit.nearest(shown)
    unit = "mean squared distance a step" if exhibit.schema.sequence else "squared distance, summed over the features,"
    words = [
        ("Rows drawn" if table else "Expected rows E[x given z] of codes drawn")
        + f" from the prior, and below each the {name} that lies nearest ({unit} {from_to(far)} in the data's units)."
        + " A sample that equals its neighbour was learned by heart; one that resembles nothing is no sample of the"
        " data."
    ]
    if given is not None:
        words.append(f"The conditions are those of {exhibit.held.name}.")
    if table:
        return Section("samples", title, words, table_samples(exhibit, drawn, near))
    if exhibit.form == "lines":
        span = roomy(np.concatenate([exhibit.values, shown, near]))
        pictures = [
            line_panel(
                {"nearest": near[i], "sample": shown[i]},
                f"Sample {i + 1}, {from_to(shown[i])}; {number(far[i], 3)} a step from the nearest {name}.",
                f"sample {i + 1}",
                span,
            )
            for i in range(len(shown))
        ]
        legend = (("var(--blue)", "sample"), ("var(--muted)", f"nearest {name}"))
        return Section("samples", title, words, [Gallery(pictures, "Each sample over its neighbour.", "grid", legend)])
    pictures, step = [], across(exhibit)
    for start in range(0, n, step):
        part = slice(start, start + step)
        told = labels_in_words(exhibit, index[part]) if given is not None else ""
        alt = f"{len(shown[part])} samples{told}: mean value {number(shown[part].mean(), 3)}."
        pictures.append(image_strip(exhibit, shown[part], alt, "sample"))
        alt = f"The nearest {name} of each sample above, squared distances {from_to(far[part])}."
        pictures.append(image_strip(exhibit, near[part], alt, f"nearest {name}"))
    return Section("samples", title, words, [Gallery(pictures, "Samples in pairs with their neighbours.", "strips")])


def table_samples(exhibit: ReportContext, drawn: np.ndarray, near: np.ndarray) -> list[Gallery | Table]:
    """Samples above their neighbours, and the columns' means and spreads in data and in samples."""
    names = names_of(exhibit)
    pairs = []
    for i in range(len(near)):
        pairs.append([f"sample {i + 1}", *cells(exhibit, drawn[i])])
        pairs.append(["nearest", *cells(exhibit, near[i])])
    heads = ["", *(names[j] for j in kept_columns(exhibit))]
    data, flat = (a.reshape(len(a), -1) for a in (exhibit.values, drawn))
    rows = [
        [names[j], *(number(f(a[:, j])) for f in (np.mean, np.std) for a in (data, flat))]
        for j in kept_columns(exhibit)
    ]
    caption = f"Columns of {exhibit.held.counted} and of {len(drawn):,} samples{left_out(exhibit)}."
    return [
        Table(f"{len(near)} samples, each above the row that lies nearest{left_out(exhibit)}.", heads, pairs),
        Table(caption, ["column", "mean: data", "mean: samples", "spread: data", "spread: samples"], rows),
    ]


# ---------------------------------------------------------- strange and typical


def extremes(exhibit: ReportContext) -> list[Gallery | Table]:
    """The rows that the model finds strangest and most typical: by log p(x), else by squared error."""
    scores, unit = score_of(exhibit)
    if scores is None or not np.isfinite(scores).any():
        return []
    order = np.argsort(np.where(np.isfinite(scores), scores, -np.inf), kind="stable")  # the strangest first
    most = {"table": ROWS, "lines": 3, "heat": 5}.get(exhibit.form, 8)
    count = max(1, min(most, len(order) // 2))
    sets = {"strangest": order[:count], "most typical": order[::-1][:count]}
    blocks: list[Gallery | Table] = []
    for name, index in sets.items():
        what = f"The {counted(count, 'row')} that the model finds {name}, {number_of(scores[index], unit)}."
        if exhibit.form == "table":
            blocks.append(extreme_table(exhibit, index, scores, unit, what))
        elif exhibit.form == "lines":
            span = roomy(exhibit.values)
            pictures = []
            for row in index:
                alt = f"Row {row}, {from_to(exhibit.values[row])}; {number(score(scores, row, unit))} {unit}."
                label = f"row {row}: {number(score(scores, row, unit))}"
                pictures.append(line_panel({"row": exhibit.values[row]}, alt, label, span))
            blocks.append(Gallery(pictures, what, "grid"))
        else:
            tiles = []
            for row in index:
                told = (
                    labels_in_words(exhibit, np.array([row]))
                    .replace("labels", "label")
                    .replace("conditions", "condition")
                )
                alt = f"Row {row}{told}: {number(score(scores, row, unit))} {unit}."
                tile = image_strip(exhibit, exhibit.values[[row]], alt)
                tiles.append(tile._replace(label=number(score(scores, row, unit))))
            blocks.append(Gallery(tiles, what, "tiles"))
    return blocks


def score_of(exhibit: ReportContext) -> tuple[np.ndarray | None, str]:
    """(n,) log p(x), or minus the squared error; higher is more typical."""
    if (rows := exhibit.found.per_row) is not None and rows.log_px is not None:
        return np.asarray(rows.log_px, np.float64), "nats"
    return (None if rows is None else -np.asarray(rows.squared_error, np.float64)), "squared error"


def score(scores: np.ndarray, row: int, unit: str) -> float:
    """The number of one row as it is told."""
    return float(scores[row] if unit == "nats" else -scores[row])


def number_of(scores: np.ndarray, unit: str) -> str:
    return f"log p(x) {from_to(scores)} nats" if unit == "nats" else f"squared error {from_to(-scores)}"


def extreme_table(exhibit: ReportContext, index: np.ndarray, scores: np.ndarray, unit: str, what: str) -> Table:
    """Rows of a table, with what lies far from the column's mean marked."""
    flat = exhibit.values.reshape(len(exhibit.values), -1)
    mean, spread = flat.mean(0), np.where(flat.std(0) > 0, flat.std(0), np.inf)
    rows = []
    for row in index:
        far = (flat[row] - mean) / spread
        marked = [
            text + (" ▲" if far[j] > ODD else " ▼" if far[j] < -ODD else "")
            for j, text in zip(kept_columns(exhibit), cells(exhibit, flat[row]))
        ]
        rows.append([f"row {row}", number(score(scores, row, unit)), *marked])
    heads = ["", unit, *(names_of(exhibit)[j] for j in kept_columns(exhibit))]
    return Table(f"{what} ▲ and ▼ lie more than {ODD} standard deviations from the column's mean.", heads, rows)
