"""A comparison in words: aligned columns, and what there is to say of them."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import Any

from isthmus.comparison.paired_stats import PairedEstimate, estimate
from isthmus.comparison.table import Column, Ranking, Row, Table, columns_of, rows_at, values_of
from isthmus.wording import pluralize

WIDTH = 100
"""Of sentences; the columns may be wider."""


def told(table: Table) -> str:
    """The whole table, once a value of the sweep."""
    columns = columns_of(table.rows)
    facts = table.facts
    blocks = [
        wrapped(f"{Path(facts['data']).name}: {facts['split']}"),
        wrapped(f"budget: {facts['budget']}; {pluralize(facts['seeds'], 'seed')}"),
    ]
    for value in values_of(table.rows):
        contests = [contest for contest in table.contests if contest.value == value]
        heading = "" if value is None else f"{table.swept} {value}\n"
        blocks += ["", heading + grid(rows_at(table.rows, value), columns, contests)]
        open_ones = [contest.column.heading for contest in contests if not contest.clear]
        if open_ones:
            blocks.append(wrapped(f"no clear winner in: {', '.join(open_ones)}"))
    return "\n".join([*blocks, "", *map(wrapped, notes(table, columns))])


def grid(rows: list[Row], columns: list[Column], contests: list[Ranking]) -> str:
    """Headings, units and a line a model; a star beside a number that is clearly the best."""
    columns = [column for column in columns if any(column in row.scores for row in rows)]
    several = len({row.latent_dim for row in rows}) > 1
    lines = [["model", *(["z"] if several else []), *(c.heading for c in columns)]]
    lines.append(["", *([""] if several else []), *(c.unit for c in columns)])
    stars = {(contest.best, contest.column) for contest in contests if contest.clear}
    for row in rows:
        latent = [str(row.latent_dim or "-")] if several else []
        cells = [cell(row, column, (row.label, column) in stars) for column in columns]
        lines.append([row.label, *latent, *(cells if row.scores else ["failed", *[""] * (len(columns) - 1)])])
    widths = [max(map(len, column)) for column in zip(*lines)]
    padded = [[line[0].ljust(widths[0]), *(w.rjust(n) for w, n in zip(line[1:], widths[1:]))] for line in lines]
    return "\n".join("  ".join(line).rstrip() for line in padded)


def cell(row: Row, column: Column, star: bool) -> str:
    """A number with half its interval; the stars have a place of their own, so that numbers stay aligned."""
    if column not in row.scores:
        return "- "
    sign = ">=" if row.bound and column.key.startswith("log_px") else ""
    return f"{sign}{number(estimate(row.scores[column]))}{'*' if star else ' '}"


def number(found: PairedEstimate) -> str:
    """A mean and half its interval, to two digits of the latter.

    >>> number(PairedEstimate(-16.1554, 0.45, math.inf)), number(PairedEstimate(1234.0, 0.0, math.inf))
    ('-16.16 ± 0.88', '1,234')
    """
    half = found.half_width
    if not math.isfinite(found.mean):
        return "not finite"
    if not math.isfinite(half) or half == 0:
        whole = float(found.mean).is_integer()
        return f"{found.mean:,.0f}" if whole else f"{found.mean:.3g}"
    if max(abs(found.mean), half) >= 1e6:
        return f"{found.mean:.3g} ± {half:.1g}"
    digits = min(6, 1 - math.floor(math.log10(half)))
    return " ± ".join(f"{round(value, digits):.{max(0, digits)}f}" for value in (found.mean, half))


def notes(table: Table, columns: list[Column]) -> list[str]:
    """What the numbers mean, and what came out."""
    over = "rows only: one seed says nothing of another" if table.facts["seeds"] == 1 else "seeds and rows together"
    said = [
        f"± half a 95 % interval, over {over}. * better than every other in its column: the 95 % interval of each "
        "difference, paired by row and seed, lies on one side of 0.",
    ]
    kinds = [column.unit for column in columns if column.key.startswith("log_px")]
    if len(kinds) > 1:
        said.append("log p(x) of different kinds stands in columns of its own: such numbers cannot be compared.")
    if any(row.bound for row in table.rows):
        said.append(">= a lower bound: the density of rows made continuous by uniform noise (dequantised).")
    if any(row.exact for row in table.rows):
        said.append(
            "pca: squared error of PCA's projection, density of probabilistic PCA; both solved exactly, without seeds."
        )
    keys = {column.key for column in columns}
    if "probe" in keys:
        said.append("labels read: by a linear probe of the codes, cross-validated on the scored rows.")
    if "samples" in keys:
        said.append("samples told: how often a classifier tells samples from data; 0.5 where it has to guess.")
    if table.facts["uneven"]:
        said.append(
            "squared error: in the data's units, where the columns of the largest numbers rule it; PCA is fitted to "
            "just these, and a model that scales its columns to all alike."
        )
    wide = [row.label for row in table.rows if row.latent_dim and row.latent_dim >= table.facts["features"]]
    if wide:
        said.append(
            f"{', '.join(dict.fromkeys(wide))}: as many numbers in a code as in a row ({table.facts['features']}) or "
            "more, so that the squared error tells little; lower latent_dim."
        )
    said.append("training: seconds by the clock, in which whatever else the machine did is contained.")
    said += [knee_words(table, knee) for knee in table.knees]
    if table.knees:
        said.append(
            "Knee: the smallest value whose difference to the best value, paired by row and seed, is within one "
            "standard error of that difference."
        )
    for row in table.rows:
        named = row.label if row.value is None else f"{row.label} at {table.swept}={row.value}"
        for why in dict.fromkeys(row.failed.values()):
            seeds = [str(seed) for seed, reason in row.failed.items() if reason == why]
            said.append(f"{named} failed (seed {', '.join(seeds)}): {why}")
    return said


def knee_words(table: Table, knee: Any) -> str:
    """The knee of one model, as a sentence."""
    by = f"by {knee.column.heading}"
    if knee.value == knee.best:
        last = values_of(table.rows)[-1] == knee.best
        more = "; it is the last value tried: the knee may lie beyond" if last else ""
        return f"{knee.label}: the knee is {table.swept}={knee.value}, the best itself, {by}{more}."
    gap = f"{knee.gap.mean:.3g} ± {knee.gap.error:.2g} (one standard error)"
    return f"{knee.label}: the knee is {table.swept}={knee.value}, {by}: the best, {knee.best}, is better by {gap}."


def wrapped(sentence: str) -> str:
    """A sentence in lines that fit a terminal."""
    return textwrap.fill(sentence, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
