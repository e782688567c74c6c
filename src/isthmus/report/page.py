"""One page about a trained model: everything inside, nothing loaded, legible in light and dark and on a phone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import jinja2

from isthmus.atomic_io import atomic_write, check_regular, file_errors
from isthmus.errors import InputError
from isthmus.finding import Finding, ranked
from isthmus.plot.figures import FIGURES, DrawnFigure
from isthmus.plot.tables import Table
from isthmus.report.context import ReportContext
from isthmus.report.headline import verdict
from isthmus.report.html_blocks import Picture, Section, svg
from isthmus.report.metrics_section import metrics_tables, plainly
from isthmus.report.model_card import card, configuration
from isthmus.wording import capitalize, pluralize

GENERATOR, GENERATOR_WITHIN = b'<meta name="generator" content="isthmus">', 1000
"""The mark of a page of isthmus, and the bytes at its start that hold it."""


def page(context: ReportContext) -> str:
    """The HTML of a report; the same context gives the same text."""
    drawn, unavailable = context.figures
    model, rows = context.plot.model, f"the {context.plot.counted}"
    figures = figure_sections(context, drawn)
    shown = {section.key for section in figures}
    tables = {
        "numbers": ("All numbers", metrics_tables(context.evaluation)),
        "model-card": ("Model card", [card(context)]),
        "configuration": ("Configuration and versions", configuration(context)),
    }
    described = [Section(key, title, list(filled(some))) for key, (title, some) in tables.items()]
    sections = [*figures, *(section for section in described if section.blocks)]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string((files("isthmus.report") / "template.html").read_text("utf-8"))
    return template.render(
        title=context.plot.name + (f" of {Path(context.run.data).name}" if context.run.data else ""),
        below=subtitle(context),
        verdict=verdict(context.evaluation, context.findings, rows=rows, closed_form=model.closed_form),
        findings=[(finding, evidence_of(finding)) for finding in ranked(context.findings)],
        sentence=sentence,
        sections=sections,
        unavailable=[reason for name, reason in unavailable.items() if name not in shown],
        is_picture=lambda block: isinstance(block, Picture),
    )


def figure_sections(context: ReportContext, drawn: dict[str, DrawnFigure]) -> list[Section]:
    """A section for each figure, with the tables that belong to it."""
    sections = []
    for name, spec in FIGURES.items():
        blocks: list[Picture | Table] = []
        if name in drawn:
            blocks.append(picture(drawn[name]))
        blocks += [picture(spec.drawn(rows)) for rows in context.maps] if name == "latent" else []
        blocks += filled(spec.tables(context.plot, drawn[name].data if name in drawn else None))
        if blocks:
            sections.append(Section(name, spec.title, blocks))
    return sections


def picture(drawn: DrawnFigure) -> Picture:
    """A figure inside the page."""
    return svg(drawn.figure, drawn.alt, drawn.caption)


def filled(tables: Iterable[Table]) -> list[Table]:
    """The tables that have rows, without columns that are empty in all of them."""
    kept = []
    for table in tables:
        columns = [j for j in range(len(table.head)) if any(row[j] for row in table.rows)]
        rows = [[row[j] for j in columns] for row in table.rows]
        if rows:
            kept.append(table._replace(head=[table.head[j] for j in columns], rows=rows))
    return kept


def subtitle(context: ReportContext) -> str:
    """What the page is about, in a line."""
    run = f"Run {context.run.folder}. " if context.run.folder else ""
    train = context.plot.train
    fitted = f"Trained on {pluralize(len(train), 'row')}; " if train is not None else ""
    shown = f"shown and measured on {context.rows}."
    return run + fitted + (shown if fitted else capitalize(shown))


def sentence(text: str) -> str:
    """Text with a capital letter and a full stop.

    >>> sentence("the loss rises")
    'The loss rises.'
    """
    return capitalize(text) + ("" if text.endswith((".", "!", "?")) else ".")


def evidence_of(finding: Finding) -> list[tuple[str, str]]:
    """The numbers behind a finding, by name; what is no number or list, the message has in words."""
    numbers = {name: value for name, value in finding.evidence.items() if not isinstance(value, dict)}
    return [(name.replace("_", " "), plainly(value)) for name, value in numbers.items()]


def write_page(text: str, path: Path) -> Path:
    """Write a page, completely or not at all; its path. A file that is there is replaced only if it is such a page."""
    if os.path.lexists(path) and not is_page(path):
        raise InputError(f"{path} is not a report of isthmus and would be lost. Move it, or write to another file.")
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")
    return path


def is_page(path: Path) -> bool:
    """Whether a file is empty or a page that isthmus wrote."""
    check_regular(path)
    with file_errors(path, "read"), path.open("rb") as file:
        start = file.read(GENERATOR_WITHIN)
    return not start or GENERATOR in start
