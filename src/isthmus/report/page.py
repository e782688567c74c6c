"""One page about a trained model: everything inside, nothing loaded, legible in light and dark and on a phone."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from isthmus.atomic_io import atomic_write
from isthmus.estimators.base import Estimator
from isthmus.evaluation.evaluate import Evaluation
from isthmus.examples import Examples
from isthmus.finding import Finding, ranked
from isthmus.report.context import ReportContext
from isthmus.report.display import Held
from isthmus.report.examples_section import reconstructions, samples
from isthmus.report.headline import verdict
from isthmus.report.html_blocks import Gallery, Section, counted
from isthmus.report.latent_section import dimensions, interpolations, latent_map, traversals
from isthmus.report.metrics_section import curves, distribution, facts_table, plainly
from isthmus.report.model_card import card, configuration

PARTS = (curves, reconstructions, samples, latent_map, traversals, interpolations, dimensions, distribution)
"""The sections between the verdict and the model card, in their order."""


def page(
    model: Estimator,
    held: Held,
    found: Evaluation,
    findings: list[Finding],
    *,
    train: Examples | None,
    about: dict[str, Any],
    seed: int,
) -> str:
    """The HTML of a report on a fitted model, shown on held-out rows.

    `found` is what `evaluate` measured on these rows, `findings` what is wrong; `train` are the rows that the model was
    fitted to, for neighbours and baselines; `about` are words on the run: run, data, which, versions. The same
    arguments give the same text.
    """
    exhibit = ReportContext(model, held, found, train, seed)
    which = str(about.get("which", held.counted))
    numbers = Section("numbers", "All numbers", [], [facts_table(found.facts)])
    chosen = Section("model-card", "Model card", [], [card(model, held, about, None if train is None else len(train))])
    settings = Section("configuration", "Configuration and versions", [], list(configuration(model, about)))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string((files("isthmus.report") / "template.html").read_text("utf-8"))
    return template.render(
        title=type(model).__name__ + (f" of {Path(str(about['data'])).name}" if about.get("data") else ""),
        below=subtitle(about, which, train),
        verdict=verdict(found.facts, findings, of=f"the {held.counted}"),
        findings=[(finding, evidence_of(finding)) for finding in ranked(findings)],
        sections=[*(part(exhibit) for part in PARTS), numbers, chosen, settings],
        is_gallery=lambda block: isinstance(block, Gallery),
    )


def subtitle(about: dict[str, Any], which: str, train: Examples | None) -> str:
    """What the page is about, in a line."""
    run = f"Run {about['run']}. " if about.get("run") else ""
    fitted = f"Trained on {counted(len(train), 'row')}; " if train is not None else ""
    shown = f"shown and measured on {which}."
    return run + fitted + (shown if fitted else shown[:1].upper() + shown[1:])


def evidence_of(finding: Finding) -> list[tuple[str, str]]:
    """The numbers that show a finding, by name."""
    return [(name.replace("_", " "), plainly(value)) for name, value in finding.evidence.items()]


def write_page(text: str, path: Path) -> Path:
    """Write a page, in full or not at all; its path."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")
    return path
