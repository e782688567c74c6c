"""Codes on a page: their map beside PCA's, the dimensions in use, walks along them and between rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colors
from sklearn.neighbors import NearestNeighbors

from isthmus.report.context import ReportContext
from isthmus.report.display import shown_rows
from isthmus.report.examples_section import BLEND, image_strip, names_of, path_panel, roomy
from isthmus.report.html_blocks import Gallery, Picture, Section, Table, counted, from_to, number, panel, svg
from isthmus.report.style import BLUE, PALE, PALETTE

POINTS = 1000
"""Rows on a map, at most."""
DIMENSIONS = 8
"""Dimensions of the code that are walked along."""
REACH = 2.0
"""Standard deviations to either side of the mean code."""
STEPS = 9
"""Steps of a walk in images."""
FEW_STEPS = 5
"""Steps of a walk where each takes more room."""
BARS = 48
"""Dimensions that have a bar."""
PATHS = 4
"""Pairs of rows that are walked between."""
MOVED = 4
"""Columns of a table that are shown along a walk: those that move most."""
NEIGHBOURS = 5
"""Rows around one whose labels are compared with its own."""
BLUES = colors.LinearSegmentedColormap.from_list("density", [(*colors.to_rgb(BLUE), a) for a in (0.15, 1.0)])
"""More rows are more opaque: legible on light and on dark."""


def latent_map(exhibit: ReportContext) -> Section:
    """The codes in two dimensions at most, beside PCA's map of the same rows."""
    index = shown_rows(len(exhibit.held), POINTS, [], exhibit.seed)
    labels, by = exhibit.labels
    maps = {"codes of the model": exhibit.places, "PCA of the same rows": exhibit.pca_places}
    legend = tuple((hex_of(i, name), name) for i, (name, _) in enumerate(exhibit.groups))
    words, pictures = [], []
    for label, (places, names) in maps.items():
        pictures.append(map_panel(exhibit, places[index], names, index, label))
    dims = counted(exhibit.codes.shape[1], "dimension")
    if exhibit.codes.shape[1] > 2:
        words.append(f"The codes have {dims}; the map shows the two directions in which they vary most.")
    if exhibit.groups:
        words.append(f"Rows near each other have codes alike. Colours are the {by}s, which the model was not told.")
        if exhibit.schema.condition is not None:
            words[-1] = (
                "Rows near each other have codes alike. Colours are the conditions: the model is told them, so its "
                "code need not tell them apart."
            )
        shares = [agreement(places, exhibit.groups) for places, _ in maps.values()]
        if all(share is not None for share in shares):
            words.append(
                f"Of the {NEIGHBOURS} nearest rows on the map, {shares[0]:.0%} share a row's {by}; on PCA's map "
                f"{shares[1]:.0%}."
            )
    elif labels is None:
        words.append("There are no labels to colour by: the darker, the more rows lie there.")
    shown = exhibit.held.counted if len(index) == len(exhibit.held) else f"{len(index):,} of {exhibit.held.counted}"
    if not exhibit.groups and labels is not None and labels.dtype.kind in "iuf":
        ends = [number(end(labels[np.isfinite(labels)]), 3) for end in (np.min, np.max)]
        legend = (("var(--blue)", f"{by} {ends[0]}"), ("var(--orange)", f"{by} {ends[1]}"))
        words.append(
            f"Rows near each other have codes alike. Colours go with the {by}, from the lowest to the highest."
        )
    caption = f"{shown}. PCA sees the data scaled as the model reads them."
    return Section("latent-map", "Latent map", words, [Gallery(pictures, caption, "pair", legend)])


def hex_of(i: int, name: str) -> str:
    """The colour of a group, as the page writes it."""
    return "var(--pale)" if name in ("others", "unlabelled") else colors.to_hex(PALETTE[i])


def agreement(places: np.ndarray, groups: list[tuple[str, np.ndarray]]) -> float | None:
    """The share of a row's nearest rows on a map (n, 2) that are of its group."""
    if len(places) <= 2 * NEIGHBOURS:
        return None
    group = np.zeros(len(places), int)
    for i, (_, mask) in enumerate(groups):
        group[mask] = i
    around = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(places).kneighbors(return_distance=False)
    return float((group[around] == group[:, None]).mean())


def map_panel(exhibit: ReportContext, places: np.ndarray, names: list[str], index: np.ndarray, label: str) -> Picture:
    """One map: rows coloured by label, or their density; of one dimension a histogram."""
    groups = [(name, mask[index]) for name, mask in exhibit.groups]
    labels, by = exhibit.labels
    spread = " and ".join(f"{name} {from_to(column)}" for name, column in zip(names, places.T))
    alt = f"{label}: {counted(len(index), 'row')}, {spread}."
    if groups:
        centres = [
            f"{name} around ({', '.join(number(v, 2) for v in places[m].mean(0))})" for name, m in groups if m.any()
        ]
        alt += f" By {by}: {'; '.join(centres)}."
    if places.shape[1] == 1:
        figure, axis = panel(names[0], "rows", width=380, height=280)
        parts = [places[mask, 0] for _, mask in groups] or [places[:, 0]]
        colour = [PALE if n in ("others", "unlabelled") else PALETTE[i] for i, (n, _) in enumerate(groups)] or [BLUE]
        axis.hist(parts, bins=30, stacked=True, color=colour)
        return svg(figure, alt, label)
    figure, axis = panel(names[0], names[1], width=380, height=320)
    look: dict[str, Any] = {"s": 22 if len(places) < 400 else 10, "linewidths": 0, "alpha": 0.8}
    for i, (name, mask) in enumerate(groups):
        axis.scatter(*places[mask].T, color=PALE if name in ("others", "unlabelled") else PALETTE[i], **look)
    if not groups and labels is not None and labels.dtype.kind in "iuf":
        axis.scatter(places[:, 0], places[:, 1], c=labels[index], cmap=BLEND, **look)
    elif not groups and len(places) < 300:
        axis.scatter(*places.T, color=BLUE, **{**look, "alpha": 0.5})
    elif not groups:
        axis.hexbin(*places.T, gridsize=28, mincnt=1, cmap=BLUES, linewidths=0)
    return svg(figure, alt, label)


# ------------------------------------------------------------------- dimensions


def dimensions(exhibit: ReportContext) -> Section:
    """KL per dimension; where it has no parts, how much each dimension varies or tells."""
    order = exhibit.order[:BARS]
    told = exhibit.telling
    words = []
    if exhibit.kl is not None:
        values, unit = exhibit.kl[order], "KL (nats)"
        words.append(
            "KL(q(z given x) || p(z)) by dimension: how many nats a dimension spends on telling rows apart. One near 0 "
            "is not used."
        )
    elif told is not None:
        values, unit = told[order], "share that x decides"
        words.append(
            "This prior has no KL by dimension. Instead: the share of a dimension's variance that the row decides; 1 "
            "is a sharp code, 0 pure noise."
        )
    else:
        values, unit = exhibit.codes.var(0)[order], "variance"
        words.append("How much each dimension of the code varies over the rows. One near 0 is not used.")
    figure, axis = panel("dimension, the most active first", unit, width=380, height=210)
    where = np.arange(len(order))
    axis.bar(where, values, color=[BLUE if on else PALE for on in exhibit.active[order]], width=0.75)
    if len(order) <= 20:
        axis.set_xticks(where, [str(j + 1) for j in order])
    listed = ", ".join(f"{j + 1}: {number(value, 3)}" for j, value in zip(order[:20], values))
    alt = f"{unit} of {counted(len(order), 'dimension')}, the most active first: {listed}."
    more = "" if len(order) == len(exhibit.order) else f" The first {BARS} of {len(exhibit.order)} dimensions."
    total = f" All together {number(exhibit.kl.sum())} nats." if exhibit.kl is not None else ""
    caption = f"{unit[0].upper() + unit[1:]} over {exhibit.held.counted}.{total}{more} Pale: the code does not vary."
    variance = exhibit.codes.var(0)
    head = (
        ["dimension", "mean", "spread"] + ["KL (nats)"] * (exhibit.kl is not None) + ["told by x"] * (told is not None)
    )
    rows = []
    for j in order:
        row = [f"z{j + 1}", number(exhibit.codes[:, j].mean(), 3), number(np.sqrt(variance[j]), 3)]
        row += [number(exhibit.kl[j], 3)] if exhibit.kl is not None else []
        row += [f"{told[j]:.0%}"] if told is not None else []
        rows.append(row)
    table = Table(f"Codes of {exhibit.held.counted}, dimension by dimension", head, rows, folded=True)
    return Section(
        "dimensions", "What each dimension carries", words, [Gallery([svg(figure, alt)], caption, "one"), table]
    )


# ------------------------------------------------------------------------ walks


def traversals(exhibit: ReportContext) -> Section:
    """The decoder along each active dimension, two standard deviations of the codes to either side of their mean."""
    deviation = exhibit.codes.std(0)
    active = [int(j) for j in exhibit.order if exhibit.active[j]]
    walked = active[:DIMENSIONS]
    title = "Along the active dimensions"
    if not walked:
        words = ["No dimension of the code varies over the rows, so there is nothing to walk along."]
        return Section("traversals", title, words, [])
    row = 0
    words = [
        f"The decoder's answer as one number of the code goes from −{REACH:g} to +{REACH:g} standard deviations around "
        "the mean code, all others still, the most active dimension first."
    ]
    if exhibit.held.condition is not None:
        labels = exhibit.held.condition.reshape(len(exhibit.held), -1)
        row = shown_rows(len(exhibit.held), 1, exhibit.groups, exhibit.seed)[0]
        words.append(f"The condition is {', '.join(str(v) for v in labels[row])} throughout.")
    elif exhibit.held.lengths is not None:
        row = int(np.argmax(exhibit.held.lengths))
    offsets = np.linspace(-REACH, REACH, STEPS if exhibit.form == "image" else FEW_STEPS)
    paths = {}
    for j in walked:
        codes = np.repeat(exhibit.codes.mean(0)[None], len(offsets), 0)
        codes[:, j] += offsets * deviation[j]
        paths[j] = exhibit.decoded(codes, int(row))
    left = len(active) - len(walked)
    caption = f"{counted(len(walked), 'dimension')}" + (f", {left} more are in use." if left else ".")
    ends = [f"{offset:+g}".replace("-", "−") if offset else "0" for offset in offsets]
    if exhibit.form == "table":
        return Section("traversals", title, words, [moved_columns(exhibit, paths, ends, caption)])
    return Section("traversals", title, words, [walks(exhibit, {f"z{j + 1}": p for j, p in paths.items()}, caption)])


def walks(exhibit: ReportContext, paths: dict[str, np.ndarray], caption: str) -> Gallery:
    """What the decoder makes along paths of codes: a strip of images each, or curves from blue to orange."""
    pictures = []
    span = roomy(np.concatenate(list(paths.values()))) if exhibit.form == "lines" else (0.0, 1.0)
    for name, path in paths.items():
        far = np.sqrt(np.nanmean(np.square(path[-1] - path[0])))
        alt = f"{name}, {len(path)} steps {from_to(path)}; the ends differ by {number(far, 3)} (root mean square)."
        if exhibit.form == "lines":
            pictures.append(path_panel(path, alt, name, span))
        else:
            pictures.append(image_strip(exhibit, path, alt, name))
    if exhibit.form != "lines":
        return Gallery(pictures, caption, "strips")
    legend = (("var(--blue)", "start of the walk"), ("var(--orange)", "its end"))
    return Gallery(pictures, caption, "grid", legend)


def moved_columns(exhibit: ReportContext, paths: dict[int, np.ndarray], ends: list[str], caption: str) -> Table:
    """How the columns of a table move along each dimension: those that move most, in the data's units."""
    names = names_of(exhibit)
    spread = exhibit.values.reshape(len(exhibit.values), -1).std(0)
    spread = np.where(spread > 0, spread, np.inf)
    rows = []
    for j, path in paths.items():
        flat = path.reshape(len(path), -1)
        moves = np.ptp(flat, axis=0) / spread
        for column in np.argsort(-moves, kind="stable")[:MOVED]:
            move = (flat[-1, column] - flat[0, column]) / spread[column]
            told = f"{move:+.1f}".replace("-", "−")
            rows.append([f"z{j + 1}: {names[column]}", told, *(number(v, 3) for v in flat[:, column])])
    most = "the columns" if exhibit.schema.size <= MOVED else f"the {MOVED} columns"
    caption += (
        f" For each, {most} that move most, in the data's units; the first number is the move from end to end, in "
        "standard deviations of the column."
    )
    return Table(caption, ["dimension: column", "moves by", *ends], rows)


def interpolations(exhibit: ReportContext) -> Section:
    """The decoder along straight lines between the codes of pairs of rows."""
    title = "Between two rows"
    pairs = pairs_of(exhibit)
    if not pairs:
        return Section("interpolations", title, ["There are too few rows to walk between."], [])
    steps = STEPS - 1 if exhibit.form == "image" else FEW_STEPS
    labels, by = exhibit.labels
    words = [
        "The decoder along a straight line from one row's code to another's: is what lies between still like data?"
    ]
    words += ["The condition stays that of the first."] * (exhibit.held.condition is not None)
    paths = {}
    for a, b in pairs:
        codes = np.linspace(exhibit.codes[a], exhibit.codes[b], steps)
        name = f"{a} to {b}" if labels is None else f"{str(labels[a])[:12]} to {str(labels[b])[:12]}"
        paths[(a, b)] = (name, exhibit.decoded(codes, a))
    if exhibit.form == "table":
        (a, b), (name, path) = next(iter(paths.items()))
        flat = path.reshape(steps, -1)
        names = names_of(exhibit)
        rows = [[names[j], *(number(v, 3) for v in flat[:, j])] for j in range(min(12, flat.shape[1]))]
        caption = (
            f"From row {a} to row {b}" + (f" ({by} {name})" if labels is not None else "") + ", in the data's units."
        )
        heads = ["column", *(f"{share:.0%}" for share in np.linspace(0, 1, steps))]
        return Section("interpolations", title, words, [Table(caption, heads, rows)])
    if exhibit.form == "lines":
        named = {f"rows {a} to {b}": path for (a, b), (_, path) in paths.items()}
        return Section(
            "interpolations", title, words, [walks(exhibit, named, f"{counted(len(pairs), 'pair')} of rows.")]
        )
    pictures = []
    for (a, b), (name, path) in paths.items():
        shown = np.concatenate([exhibit.values[[a]], path, exhibit.values[[b]]])
        alt = f"Row {a}, {steps} steps from its code to that of row {b}, and row {b}; values {from_to(path)}."
        pictures.append(image_strip(exhibit, shown, alt, name))
    caption = "First and last are the rows themselves; between them what the decoder makes of the codes on the line."
    return Section("interpolations", title, words, [Gallery(pictures, caption, "strips")])


def pairs_of(exhibit: ReportContext) -> list[tuple[int, int]]:
    """Pairs of rows with unlike labels where there are any; of a conditional model with one condition."""
    n = len(exhibit.held)
    if n < 2:
        return []
    if exhibit.held.condition is not None:
        order = np.random.default_rng(exhibit.seed).permutation(n)
        values = exhibit.held.condition.reshape(n, -1)
        pairs = []
        for a in order:
            alike = [b for b in order if b > a and (values[a] == values[b]).all()]
            if alike:
                pairs.append((int(a), int(alike[0])))
            if len(pairs) == PATHS:
                break
        if pairs:
            return pairs
    some = shown_rows(n, min(n, 2 * PATHS), exhibit.groups, exhibit.seed)
    half = len(some) // 2
    return [(int(a), int(b)) for a, b in zip(some[:half], some[half : 2 * half])]
