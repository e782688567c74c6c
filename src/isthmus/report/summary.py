"""How a run went, in a few sentences, against the exact linear model of the same size."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from isthmus.evaluation.splits import HeldOut, held_out
from isthmus.metrics.estimate import mean_and_error
from isthmus.persistence.run_dir import Run
from isthmus.plot.context import squared_errors
from isthmus.plot.reconstruction import views_of
from isthmus.report.from_run import MeasuredRun, measure
from isthmus.train.runtime import count_flops
from isthmus.wording import join_names, pluralize

DRAWS = 1000
FEWEST_DRAWS = 50
MOST_WORK = 1.5e12
"""Floating-point operations at the end of a run: about a minute of one core."""
LATER = ("inference_gap", "samples")
"""What takes longest is measured when it is asked for."""


@dataclass(frozen=True)
class Summary:
    """Plain values for JSON, and sentences."""

    facts: dict[str, Any]
    words: str


def summarise(run: Run) -> Summary:
    """Measure held-out rows, draw the pictures and the page, and say it: a sentence a line."""
    model, held = run.estimator, held_out(run)
    measured = measure(run, held, affordable(run, len(held)), LATER)
    history = model.history_
    facts: dict[str, Any] = {
        **model.settings_,
        "run": str(run.folder),
        "model": type(model).__name__,
        "data": run.dataset.source,
        "which": held.description,
        "seed": model.seed_,
        "epochs": len(history),
        "seconds": round(history[-1]["seconds"], 2) if history else 0.0,
        **measured.evaluation.to_dict(),
        "latent_dim": model.latent_dim,
    }
    lines = [
        *began(run, facts),
        *(evidence_lines(run, held, facts) if model.capabilities.has_density else error_lines(run, held, facts)),
    ]
    if model.model_.corruption is not None:
        lines.append(denoising_line(measured, facts))
    used = facts["active_units"]["count"]
    lines.append(f"{used} of {model.latent_dim} latent dimensions are in use.")
    facts["findings"] = [asdict(finding) for finding in measured.findings]
    grave = [finding.code for finding in measured.findings if finding.severity != "info"]
    if grave:
        lines.append(f"Found: {join_names(grave)}; isthmus diagnose {run.folder} says what mends it.")
    facts["report"] = str(measured.write_page())
    pictures = measured.write_figures()
    facts["pictures"] = [str(path) for path in pictures]
    shown = [path.name for path in (Path(facts["report"]), *pictures)]
    lines.append(f"To look at, in {run.folder}: {', '.join(shown)}.")
    return Summary(facts, "\n".join(lines))


def affordable(run: Run, rows: int) -> int:
    """Draws for each of so many rows: `DRAWS`, unless a large decoder would take minutes over them."""
    one = run.job.to_device(run.job.train_rows.take(np.arange(1))).batch(torch.arange(1, device=run.job.device))
    forward = count_flops(run.estimator.model_, one) / 3
    return int(min(DRAWS, max(FEWEST_DRAWS, MOST_WORK / max(1.0, forward * rows))))


def began(run: Run, facts: dict[str, Any]) -> list[str]:
    """What was trained, how long, and whether it stopped early."""
    train, schema = len(run.job.train_rows), run.estimator.schema_
    likelihood = f"The likelihood is {schema.likelihood or 'one of your own'}"
    what = f"{facts['model']} of {Path(run.dataset.source).name}: {pluralize(train, 'training row')}"
    done, planned = facts["epochs"], run.job.config.epochs
    if not done:
        return [f"{what}; solved exactly.", f"{likelihood}."]
    facts["epochs_planned"], facts["best_epoch"] = planned, best_epoch(run)
    took = pluralize(done, "epoch")
    if done < planned:
        took = f"stopped early after {done:,} of {pluralize(planned, 'epoch')}"
        if facts["best_epoch"] is not None:
            took += f": the best were at epoch {facts['best_epoch']:,}"
    return [f"{what}; {took}.", f"{likelihood}; it took {facts['seconds']:.1f} s (seed {facts['seed']})."]


def best_epoch(run: Run) -> int | None:
    """The epoch of the weights that were kept: the lowest validation loss after warm-up; None where none was taken."""
    known = [r for r in run.estimator.history_ if "valid_loss" in r and r["progress"] >= run.job.config.warmup]
    return min(known, key=lambda record: record["valid_loss"])["epoch"] if known else None


def evidence_lines(run: Run, held: HeldOut, facts: dict[str, Any]) -> list[str]:
    """log p(x), beside probabilistic PCA's."""
    schema, about = run.estimator.schema_, facts["log_likelihood"]
    mean, error, kind, conditional = about["mean"], about["standard_error"], about["kind"], about["given_condition"]
    if not math.isfinite(mean):
        return [f"log p(x) of {held.description} is not a number: the weights are of no use; lower --learning-rate."]
    given = " given its condition" if conditional else ""
    lines = [
        f"log p(x){given} of {held.description}: {mean:.2f} ± {error:.2f} nats "
        f"(log-{kind}, {about['draws']:,} draws a row)."
    ]
    if schema.improper:
        return [*lines, "Bernoulli on numbers between 0 and 1 is not a density, so nothing is compared with it."]
    if schema.sequence:
        return lines
    if "degenerate" in facts:
        rank, features = facts["degenerate"]["rank"], facts["degenerate"]["features"]
        span = f"The training rows span {rank:,} of {features:,} dimensions (constant or collinear columns)"
        return [*lines, f"{span}: their density is degenerate, so nothing is compared with it."]
    linear = facts["baselines"]["ppca"]
    told = f"{linear['mean']:.2f} ± {linear['standard_error']:.2f} nats"
    lines.append(f"Probabilistic PCA with {linear['latent_dim']} dimensions on the same rows: {told}.")
    if schema.discrete:
        lines.append(
            "It saw the rows dequantised by uniform noise: a density that bounds the log-probability from below."
        )
    gap, gap_error = linear["margin"]["mean"], linear["margin"]["standard_error"]
    verdict = "better" if gap > 2 * gap_error else "worse" if gap < -2 * gap_error else "not clearly different"
    size = f" by {abs(gap):.2f} ± {gap_error:.2f} nats" if verdict != "not clearly different" else ""
    aside = ", given its condition; probabilistic PCA is not told the condition" if conditional else ""
    return [*lines, f"{facts['model']} is {verdict}{size}{aside}."]


def error_lines(run: Run, held: HeldOut, facts: dict[str, Any]) -> list[str]:
    """Squared error, beside PCA's."""
    schema, about = run.estimator.schema_, facts["reconstruction"]
    conditional = schema.condition is not None
    given = " given its condition" if conditional else ""
    told = f"{about['mean']:.4g} ± {about['standard_error']:.2g}"
    lines = [f"Squared error an example{given} of {held.description}: {told} (summed over features)."]
    if schema.sequence:
        return lines
    pca = facts["baselines"]["pca"]
    said = f"{pca['mean']:.4g}" if pca["mean"] else "0, for the rows vary in no more directions"
    aside = ", which is not told the condition," if conditional else ""
    return [*lines, f"PCA with {pca['latent_dim']} dimensions{aside} on the same rows: {said}."]


def denoising_line(measured: MeasuredRun, facts: dict[str, Any]) -> str:
    """The squared error of corrupted rows from the clean ones, before and after the model."""
    plots, model = measured.context.plot, measured.run.estimator
    views = views_of(plots, plots.shown)
    clean = views["original"]
    before, after = (mean_and_error(squared_errors(views[name], clean)) for name in ("corrupted", "cleaned"))
    how = model.corruption if isinstance(model.corruption, str) else type(model.corruption).__name__
    facts["denoising"] = {
        "corruption": how,
        "corrupted": {"mean": before[0], "standard_error": before[1]},
        "cleaned": {"mean": after[0], "standard_error": after[1]},
        "unit": "squared units of the data, summed",
    }
    numbers = f"{before[0]:.4g} ± {before[1]:.2g} corrupted, {after[0]:.4g} ± {after[1]:.2g} cleaned"
    return f"The same rows corrupted by {how}, squared error from the clean ones: {numbers}."
