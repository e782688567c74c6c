"""A comparison as text: aligned columns, and notes on what the numbers mean."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path

from isthmus.comparison.paired_stats import MIN_SEEDS, PairedEstimate, estimate
from isthmus.comparison.ranking import Elbow, Ranking, Row, columns_of, rows_at, values_of
from isthmus.comparison.results import Column, Conditions
from isthmus.comparison.specs import PCA_BEST
from isthmus.wording import pluralize

NOTE_WIDTH = 100
"""Characters in a line of the notes; the table may be wider."""
MAX_PLAIN_NUMBER = 1e6
"""Larger numbers are written with an exponent."""
LOG_PX, SQUARED_ERROR, SAMPLES = "log_px", "squared_error", "samples"
PROBE, CONDITION_PROBE = "probe", "condition_probe"
"""Beginnings of the keys of columns that have a note."""


def format_table(
    conditions: Conditions, rows: list[Row], swept: str | None, rankings: list[Ranking], elbows: list[Elbow]
) -> str:
    """The whole comparison as text, with one table for each value of the sweep."""
    columns = columns_of(rows)
    blocks = [
        wrap(f"{Path(conditions.data).name}: {conditions.split}"),
        wrap(f"budget: {conditions.budget}; {pluralize(conditions.seeds, 'seed')}"),
    ]
    for value in values_of(rows):
        ranked = [ranking for ranking in rankings if ranking.value == value and not ranking.trained_only]
        heading = "" if value is None else f"{swept} {value}\n"
        blocks += ["", heading + grid(rows_at(rows, value), columns, ranked)]
        undecided = [ranking.column.heading for ranking in ranked if not ranking.clear]
        if undecided:
            blocks.append(wrap(f"no clear winner in: {', '.join(undecided)}"))
        blocks += map(wrap, trained_lines([r for r in rankings if r.value == value and r.trained_only]))
    notes = [*number_notes(conditions, rows, columns), *elbow_notes(rows, swept, elbows), *failure_notes(rows, swept)]
    return "\n".join([*blocks, "", *map(wrap, notes)])


def grid(rows: list[Row], columns: list[Column], rankings: list[Ranking]) -> str:
    """Headings, units and a line per model, aligned; a star marks the number of a clear winner."""
    columns = [column for column in columns if any(column in row.scores for row in rows)]
    show_latent_dim = len({row.latent_dim for row in rows}) > 1
    lines = [
        ["model", *(["z"] if show_latent_dim else []), *(column.heading for column in columns)],
        ["", *([""] if show_latent_dim else []), *(column.unit for column in columns)],
    ]
    winners = {(ranking.best, ranking.column) for ranking in rankings if ranking.clear}
    for row in rows:
        latent_dim = [str(row.latent_dim or "-")] if show_latent_dim else []
        cells = [format_cell(row, column, (row.label, column) in winners) for column in columns]
        lines.append([row.label, *latent_dim, *(cells if row.scores else ["failed", *[""] * (len(columns) - 1)])])
    widths = [max(map(len, column)) for column in zip(*lines)]
    padded = [[line[0].ljust(widths[0]), *(w.rjust(n) for w, n in zip(line[1:], widths[1:]))] for line in lines]
    return "\n".join("  ".join(line).rstrip() for line in padded)


def format_cell(row: Row, column: Column, wins: bool) -> str:
    """A number with half its confidence interval; ends in a star or a space, which keeps numbers aligned."""
    if column not in row.scores:
        return "- "
    sign = ">=" if column in row.lower_bounds else ""
    return f"{sign}{format_estimate(estimate(row.scores[column]))}{'*' if wins else ' '}"


def format_estimate(result: PairedEstimate) -> str:
    """A mean and half its confidence interval, to two significant digits of the latter.

    >>> format_estimate(PairedEstimate(-16.1554, 0.45, 0.88))
    '-16.16 ± 0.88'
    >>> format_estimate(PairedEstimate(1234.0, 0.0, 0.0))
    '1,234'
    """
    mean, half_width = result.mean, result.half_width
    if not math.isfinite(mean):
        return "not finite"
    if not math.isfinite(half_width) or half_width == 0:
        return f"{mean:,.0f}" if float(mean).is_integer() else f"{mean:.3g}"
    if max(abs(mean), half_width) >= MAX_PLAIN_NUMBER:
        return f"{mean:.3g} ± {half_width:.1g}"
    decimals = min(6, 1 - math.floor(math.log10(half_width)))
    return " ± ".join(f"{round(value, decimals):.{max(0, decimals)}f}" for value in (mean, half_width))


def trained_lines(rankings: list[Ranking]) -> list[str]:
    """Which of the trained models is better, in columns whose best model has a closed form."""
    if not rankings:
        return []
    parts = [
        f"{ranking.best} is best in {ranking.column.heading}, better than {ranking.rival} by "
        f"{format_estimate(ranking.margin).strip()}"
        for ranking in rankings
        if ranking.clear
    ]
    undecided = [ranking.column.heading for ranking in rankings if not ranking.clear]
    parts += [f"no clear winner in {', '.join(undecided)}"] if undecided else []
    return [f"among the trained models: {'; '.join(parts)}"]


def number_notes(conditions: Conditions, rows: list[Row], columns: list[Column]) -> list[str]:
    """What the numbers in the table mean."""
    over = "rows only, because there is one seed" if conditions.seeds == 1 else "seeds and rows"
    notes = [
        f"±: half the width of the 95 % confidence interval, over {over}. *: better than each other model in the "
        "column; the 95 % confidence intervals of the differences, paired by row and seed, exclude 0."
    ]
    if conditions.seeds < MIN_SEEDS and any(row.scores and not row.closed_form for row in rows):
        notes.append(
            f"no star and no elbow for trained models: with fewer than {MIN_SEEDS} seeds it is not known how much "
            f"their differences change when training is repeated. Set seeds to {MIN_SEEDS} or more."
        )
    if sum(column.key.startswith(LOG_PX) for column in columns) > 1:
        notes.append("log p(x) of different kinds cannot be compared, so each kind has its own column.")
    if any(row.lower_bounds for row in rows):
        notes.append(">=: a lower bound, the log-density of dequantised data (with uniform noise added).")
    fixed = [row.label for row in rows if row.fixed]
    if fixed:
        notes.append(
            f"{', '.join(fixed)}: trained before and scored as it is, once. If it was trained on any of the test rows, "
            "its numbers are too good."
        )
    if any(row.closed_form and row.scores and not row.fixed for row in rows):
        notes.append(
            "pca: the squared error is that of PCA's projection, log p(x) that of probabilistic PCA. Both have a "
            "closed form, which does not depend on the seed."
        )
    if any(row.label == PCA_BEST and row.scores for row in rows):
        notes.append(
            f"{PCA_BEST}: probabilistic PCA whose size and scaling are chosen by validation. As its code has another "
            "size than the models', its squared error is not compared."
        )
    prefixes = {
        name for name in (PROBE, CONDITION_PROBE, SAMPLES) if any(column.key.startswith(name) for column in columns)
    }
    if PROBE in prefixes:
        notes.append("linear probe: how well a linear classifier predicts the labels from codes, cross-validated.")
    if CONDITION_PROBE in prefixes:
        notes.append(
            "condition read from codes: how well a linear classifier predicts the condition from codes, "
            "cross-validated; the lower, the less of it do codes hold beside what a conditional model is given."
        )
    if SAMPLES in prefixes:
        notes.append("two-sample test: accuracy of a classifier that separates samples from data; 0.5 is chance.")
    if conditions.unequal_scales:
        notes.append(
            "squared error: in the units of the data, so that the columns with the largest numbers dominate it. PCA "
            "minimises exactly this; models that scale their columns do not."
        )
    wide = [row.label for row in rows if row.latent_dim and row.latent_dim >= conditions.features]
    if wide:
        notes.append(
            f"{', '.join(dict.fromkeys(wide))}: the code is at least as large as a row ({conditions.features} values), "
            "so that the squared error says little. Lower latent_dim."
        )
    return [*notes, "training: wall-clock seconds, which depend on what else the machine was doing."]


def elbow_notes(rows: list[Row], swept: str | None, elbows: list[Elbow]) -> list[str]:
    """The elbow of each swept model, and what an elbow is."""
    notes = []
    for elbow in elbows:
        by = f"by {elbow.column.heading}"
        if elbow.value == elbow.best:
            is_last = values_of(rows)[-1] == elbow.best
            hint = "; as it is the last value of the sweep, larger ones may be better still" if is_last else ""
            notes.append(
                f"{elbow.label}: the elbow is {swept}={elbow.value}, which is also the best value, {by}{hint}."
            )
        else:
            gap = f"{elbow.gap.mean:.3g} ± {elbow.gap.standard_error:.2g} (standard error)"
            notes.append(
                f"{elbow.label}: the elbow is {swept}={elbow.value}, {by}; the best value, {elbow.best}, is better by "
                f"{gap}."
            )
    if elbows:
        notes.append(
            "Elbow: the smallest value whose difference to the best value, paired by row and seed, is within one "
            "standard error of that difference."
        )
    return notes


def failure_notes(rows: list[Row], swept: str | None) -> list[str]:
    """Why runs failed."""
    notes = []
    for row in rows:
        name = row.label if row.value is None else f"{row.label} at {swept}={row.value}"
        for failure in dict.fromkeys(row.failures.values()):
            seeds = [str(seed) for seed, reason in row.failures.items() if reason == failure]
            notes.append(f"{name} failed (seed {', '.join(seeds)}): {failure}")
    return notes


def wrap(sentence: str) -> str:
    """A sentence broken into lines that fit a terminal."""
    return textwrap.fill(sentence, NOTE_WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
