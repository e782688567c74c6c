"""Figures: what the decoder makes along each dimension of the code, and between the codes of two rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure

from isthmus.errors import InputError
from isthmus.plot.context import PlotContext, Unavailable
from isthmus.plot.display import SHEETS, as_images, choose_rows
from isthmus.plot.style import (
    BLUE,
    CELL_PIXELS,
    LEGEND,
    PALE,
    PALETTE,
    WIDE_CELL_PIXELS,
    column_names,
    image_sheet,
    label_of,
    legend_below,
    of_columns,
    panels,
    path_panels,
)
from isthmus.plot.text import number
from isthmus.wording import capitalize, pluralize

MAX_DIMENSIONS = 8
"""Dimensions of the code that are traversed."""
REACH = 2.0
"""Standard deviations to either side of the mean code."""
STEPS = {"image": 9, "heat": 5, "lines": 5, "table": 9}
"""Points on a path."""
PRIOR_CODES = 1000
"""Codes from the prior that give mean and standard deviations where there are no rows."""
MAX_PAIRS = 4
"""Pairs of rows that are connected on a page."""
MAX_MOVING = 4
"""Columns of a table that are shown along a dimension: those that change most."""
MAX_TOLD = 2
"""Columns of a table that the text alternative names for each dimension."""


@dataclass(frozen=True)
class Paths:
    """What codes along paths are decoded to, (S, *X) each, by the name of the path; the data's units."""

    context: PlotContext
    paths: dict[str, np.ndarray]
    steps: tuple[str, ...]
    """Names of the points of a path."""
    remaining: int = 0
    """Active dimensions that are not shown."""
    spread: np.ndarray | float = 1.0
    """(d,) standard deviations of the columns."""

    @property
    def changes(self) -> dict[str, float]:
        """Root mean squared difference between the ends of each path."""
        return {name: float(np.sqrt(np.nanmean(np.square(p[-1] - p[0])))) for name, p in self.paths.items()}


# -------------------------------------------------------------------- traversal


def prepare_traversal(context: PlotContext) -> Paths:
    """Paths along the dimensions in use, two standard deviations to either side of the mean code.

    With rows, mean and deviations are those of their codes; else those of codes from the prior, and the dimensions that
    change the decoder's output most come first.
    """
    context.require_code()
    condition, lengths = condition_of(context), None
    if context.rows is not None:
        codes, order = context.codes, [int(j) for j in context.order]
        in_use = [j for j in order if context.in_use[j]]
        order = in_use or order  # of a collapsed code, all dimensions show that nothing changes
        spread = np.nanstd(context.values.reshape(len(context.values), -1), 0)
        if context.rows.lengths is not None:
            lengths = np.array([int(context.rows.lengths.max())])
    elif context.model.capabilities.samples:
        codes = context.sample_codes(PRIOR_CODES, repeated(condition, PRIOR_CODES))
        order = order_by_change(context, codes, condition)
        samples = context.sample(PRIOR_CODES, repeated(condition, PRIOR_CODES), mean=False)
        spread = samples.reshape(PRIOR_CODES, -1).std(0)
    else:
        raise InputError(f"X must be given for {context.name}: without a prior, its rows give the range of the codes.")
    offsets = np.linspace(-REACH, REACH, STEPS[context.kind])
    mean, deviation = codes.mean(0), codes.std(0)
    paths = {}
    for j in order[:MAX_DIMENSIONS]:
        path = np.repeat(mean[None], len(offsets), 0)
        path[:, j] += offsets * deviation[j]
        path = context.with_layers_below(path, j)
        ends = None if lengths is None else np.repeat(lengths, len(path))
        paths[f"z{j + 1}"] = context.decode(path, repeated(condition, len(path)), ends)
    names = tuple(f"{offset:+g} sd".replace("-", "−") if offset else "mean" for offset in offsets)
    return Paths(context, paths, names, len(order) - len(paths), np.where(spread > 0, spread, np.inf))


def order_by_change(context: PlotContext, codes: np.ndarray, condition: np.ndarray | None) -> list[int]:
    """Dimensions of the code, those first along which the decoder's output changes most."""
    mean, reach = codes.mean(0), REACH * np.diag(codes.std(0))  # (L,), (L, L)

    def decoded(sign: int) -> np.ndarray:
        codes = [context.with_layers_below(code[None], j)[0] for j, code in enumerate(mean + sign * reach)]
        return context.decode(np.stack(codes), repeated(condition, len(mean)))

    ends = [decoded(sign) for sign in (-1, 1)]
    change = np.square(ends[1] - ends[0]).reshape(len(mean), -1).sum(1)
    return [int(j) for j in np.argsort(-change, kind="stable")]


def condition_of(context: PlotContext) -> np.ndarray | None:
    """(1, ...) one condition for all points of all paths: the given one, else a row's, else the first class."""
    if context.schema.condition is None:
        return None
    if context.condition is not None:
        return np.asarray(context.condition)[None] if np.ndim(context.condition) == 0 else np.asarray(context.condition)
    if context.rows is not None and context.rows.condition is not None:
        return context.rows.condition[choose_rows(len(context.rows), 1, context.groups, context.seed)]
    if context.schema.condition.classes:
        return np.asarray(context.schema.condition.classes[:1])
    raise InputError("condition must be given for a traversal of a conditional model. Pass condition=...")


def repeated(condition: np.ndarray | None, n: int) -> np.ndarray | None:
    """One condition (1, ...) for n codes."""
    return None if condition is None else np.repeat(condition[:1], n, 0)


def draw_traversal(data: Paths) -> Figure:
    """A row of images or a panel of lines for each dimension; of a table the columns that change most."""
    if data.context.kind == "table":
        return changing_columns(data)
    title = f"Decoder output along {'each' if not data.remaining else 'the first'} dimension of the code"
    title = title if not data.remaining else f"{title}s"
    if data.context.kind == "lines":
        return path_panels(data.paths, f"{title}, from −{REACH:g} (blue) to +{REACH:g} standard deviations (orange)")
    return path_sheet(data, title)


def path_sheet(data: Paths, title: str) -> Figure:
    """A row of images for each path."""
    images = np.concatenate([as_images(path, data.context.schema) for path in data.paths.values()])
    cell = CELL_PIXELS if data.context.kind == "image" else WIDE_CELL_PIXELS
    return image_sheet(images, len(data.steps), title, tuple(data.paths), data.steps, cell=cell)


def changing_columns(data: Paths) -> Figure:
    """A panel for each dimension: the columns of a table that change most along it."""
    names = [label_of(name, 18) for name in data.context.schema.names] or [
        f"column {j}" for j in range(data.context.schema.size)
    ]
    title = "Decoded columns along each dimension of the code, in standard deviations of the column"
    figure, axes = panels(len(data.paths), title, (2.9, 2.2), list(data.paths))
    offsets = np.linspace(-REACH, REACH, len(data.steps))
    for axis, path in zip(axes, data.paths.values()):
        flat = path.reshape(len(path), -1)
        moves = (flat - flat[len(flat) // 2]) / data.spread
        for place, j in enumerate(np.argsort(-np.ptp(moves, axis=0), kind="stable")[:MAX_MOVING]):
            axis.plot(offsets, moves[:, j], color=PALETTE[place], linewidth=1.3, label=names[j])
        axis.axhline(0, color=PALE, linewidth=0.8, zorder=0)
        axis.set_xlabel("standard deviations of the code")
        axis.legend(**{**LEGEND, "fontsize": 6.5}, handlelength=1.2)
    return figure


def caption_traversal(data: Paths) -> str:
    context = data.context
    mean, first = ("mean code", "informative") if context.rows is not None else ("prior mean", "influential")
    sentences = [
        f"One dimension of the code goes from −{REACH:g} to +{REACH:g} standard deviations around the {mean}, the "
        f"others stay there. The most {first} dimension comes first."
    ]
    if context.rows is not None and not context.in_use.any():
        sentences.append("No dimension of the code is in use: it says nothing of a row.")
    if data.remaining:
        sentences.append(f"{pluralize(data.remaining, 'more dimension')} in use not shown.")
    condition = condition_of(context)
    if condition is not None:
        sentences.append(f"The condition is {', '.join(str(value) for value in np.ravel(condition[0]))} throughout.")
    return " ".join(sentences)


def alt_traversal(data: Paths) -> str:
    dims, ends = pluralize(len(data.paths), "dimension"), f"from {data.steps[0]} to {data.steps[-1]}"
    changes = "; ".join(f"{name} {number(change, 3)}" for name, change in data.changes.items())
    if data.context.kind == "table":
        moving = "; ".join(
            f"{name} moves {', '.join(f'{column} by {number(move, 2)}' for column, move in moves)}"
            for name, moves in largest_moves(data).items()
        )
        what = f"Line plots of the decoded columns along {dims} of the code, {ends}"
        return f"{what}. Change from end to end, in standard deviations: {moving}."
    each = "one for each" if data.context.kind == "lines" else "a row for each"
    return (
        f"{SHEETS[data.context.kind]}, {each} of {dims} of the code, decoded at {len(data.steps)} steps {ends}. Root "
        f"mean squared change from end to end: {changes}."
    )


def largest_moves(data: Paths) -> dict[str, list[tuple[str, float]]]:
    """For each dimension the columns of a table that change most along it, and by how much, in standard deviations."""
    names = data.context.schema.names or [f"column {j}" for j in range(data.context.schema.size)]
    found = {}
    for name, path in data.paths.items():
        flat = path.reshape(len(path), -1)
        move = (flat[-1] - flat[0]) / data.spread
        found[name] = [(names[j], float(move[j])) for j in np.argsort(-np.abs(move), kind="stable")[:MAX_TOLD]]
    return found


# ---------------------------------------------------------------- interpolation


@dataclass(frozen=True)
class Interpolations(Paths):
    """Paths between the codes of pairs of rows."""

    pairs: tuple[tuple[int, int], ...] = ()


def prepare_interpolation(context: PlotContext, pairs: Sequence[tuple[int, int]] | None = None) -> Interpolations:
    """Straight lines between the codes of pairs of rows, by default of unlike labels; the first row's condition."""
    n = len(context.shown)
    if n < 2:
        raise Unavailable("An interpolation needs two rows at least.")
    pairs = choose_pairs(context) if pairs is None else pairs
    if any(not 0 <= row < n for pair in pairs for row in pair):
        raise InputError(f"pairs must be positions of the {n} rows, got {list(pairs)}.")
    labels, _ = context.labels
    shares = np.linspace(0, 1, STEPS[context.kind] - 1)
    paths = {}
    for a, b in pairs:
        path = context.codes[a] + shares[:, None] * (context.codes[b] - context.codes[a])
        rows = context.shown
        condition = None if rows.condition is None else np.repeat(rows.condition[[a]], len(path), 0)
        lengths = None if rows.lengths is None else np.full(len(path), rows.lengths[[a, b]].max())
        name = f"{a} to {b}" if labels is None else f"{str(labels[a])[:7]} to {str(labels[b])[:7]}"
        name = name if name not in paths else f"rows {a}, {b}"
        paths[name] = context.decode(path, condition, lengths)
    names = tuple(f"{share:.0%}" for share in shares)
    return Interpolations(context, paths, names, pairs=tuple(pairs))


def choose_pairs(context: PlotContext) -> list[tuple[int, int]]:
    """Pairs of rows with different labels where there are any; of a conditional model with equal conditions."""
    n = len(context.shown)
    if context.shown.condition is not None:
        order = np.random.default_rng(context.seed).permutation(n)
        values = np.asarray(context.shown.condition).reshape(n, -1)
        pairs: list[tuple[int, int]] = []
        for a in order:
            same = [b for b in order if b > a and (values[a] == values[b]).all()]
            pairs += [(int(a), int(same[0]))] if same else []
            if len(pairs) == MAX_PAIRS:
                break
        if pairs:
            return pairs
    some = choose_rows(n, min(n, 2 * MAX_PAIRS), context.groups, context.seed)
    half = len(some) // 2
    return [(int(a), int(b)) for a, b in zip(some[:half], some[half : 2 * half])]


def draw_interpolation(data: Interpolations) -> Figure:
    """Each pair's rows at the ends, decoded codes between them; of a table, each column along the way."""
    context = data.context
    title = "Decoder output between the codes of two rows"
    if context.kind == "table":
        return interpolated_columns(data)
    if context.kind == "lines":
        return path_panels(data.paths, f"{title}, from the first (blue) to the second (orange)")
    ends = {
        name: np.concatenate([context.values[[a]], path, context.values[[b]]])
        for (a, b), (name, path) in zip(data.pairs, data.paths.items())
    }
    return path_sheet(replace(data, paths=ends, steps=("row", *data.steps, "row")), title)


def interpolated_columns(data: Interpolations) -> Figure:
    """A panel for each column of a table: its value from one row's code to the other's, and in the rows themselves."""
    schema, values = data.context.schema, data.context.values.reshape(len(data.context.values), -1)
    names = column_names(schema)
    title = f"Decoded columns between the codes of two rows; dots are the rows themselves{of_columns(schema)}"
    figure, axes = panels(len(names), title, (2.3, 1.9), names)
    for j, axis in enumerate(axes):
        for place, ((a, b), (name, path)) in enumerate(zip(data.pairs, data.paths.items())):
            colour = BLUE if len(data.pairs) == 1 else PALETTE[place]
            axis.plot(
                np.linspace(0, 1, len(path)), path.reshape(len(path), -1)[:, j], color=colour, linewidth=1.3, label=name
            )
            axis.plot([0, 1], values[[a, b], j], "o", color=colour, markersize=3.5)
        axis.set_xticks([0, 1], ["first", "second"])
    if len(data.pairs) > 1:
        legend_below(figure, axes[0])
    return figure


def caption_interpolation(data: Interpolations) -> str:
    conditional = " The condition stays that of the first row." if data.context.schema.condition is not None else ""
    ends = " First and last are the rows themselves." if data.context.kind in ("image", "heat") else ""
    return (
        "Codes on the straight line from one row's code to another's, decoded. In a good code, what lies between looks "
        f"like data too.{ends}{conditional}"
    )


def alt_interpolation(data: Interpolations) -> str:
    pairs = "; ".join(
        f"row {a} to row {b} ({name}), ends differ by {number(change, 3)}"
        for (a, b), (name, change) in zip(data.pairs, data.changes.items())
    )
    count, steps = pluralize(len(data.pairs), "pair"), len(data.steps)
    if data.context.kind == "table":
        what = f"Line plots of the decoded columns in {steps} steps between the codes of {count} of rows"
    elif data.context.kind == "lines":
        what = f"{SHEETS['lines']}, one for each of {count} of rows: {steps} decoded between their codes"
    else:
        what = f"{SHEETS[data.context.kind]}, a row for each of {count} of rows: these at the ends, {steps} decoded"
    return f"{what}. {capitalize(pairs)}."
