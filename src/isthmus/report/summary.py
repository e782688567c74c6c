"""How a run went, in a few sentences, against the exact linear model of the same size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.assessment.baselines import linear_error, linear_evidence
from isthmus.assessment.held import HeldOut, held_out
from isthmus.assessment.units import in_use
from isthmus.checking.view import plural
from isthmus.estimators.base import Estimator
from isthmus.estimators.inputs import Inputs, collect
from isthmus.estimators.runs import Run
from isthmus.evaluation.evidence import Scored, mean_and_error, scored
from isthmus.report.plots import draw, views_of
from isthmus.report.shown import held_rows
from isthmus.train.machine import running

DRAWS = 1000


@dataclass(frozen=True)
class Summary:
    """Plain values for JSON, and sentences."""

    facts: dict[str, Any]
    words: str


def summarise(run: Run) -> Summary:
    """Score held-out rows, draw the pictures, and say it: a sentence a line."""
    model, held = run.estimator, held_out(run)
    more: dict[str, Any] = {} if held.part.lengths is None else {"lengths": held.part.lengths}
    if model.schema_.condition is not None:
        more["condition"] = held.part.y
    history, seed = model.history_, model.seed_ % 2**31
    facts: dict[str, Any] = {
        **model.settings_,
        "run": str(run.folder),
        "model": type(model).__name__,
        "data": run.dataset.source,
        "rows": held.which,
        "seed": model.seed_,
        "epochs": len(history),
        "seconds": round(history[-1]["seconds"], 2) if history else 0.0,
    }
    lines = began(run, facts)
    inputs = collect(model, held.part.x, more.get("condition"), more.get("lengths"))
    if model.density:
        rows = model.rows(held.part.x, **more, bits="fixed")
        with running(model.settings_["threads"]):
            result = scored(model.model_, rows, DRAWS)
        lines += evidence_lines(run, held, inputs, result, facts)
    else:
        errors = model.squared_error(held.part.x, **more)
        lines += error_lines(run, held, inputs, errors, facts)
    if model.model_.corruption is not None:
        lines.append(denoising_line(model, held, more, seed, facts))
    lines.append(units_line(model, held, more, facts))
    pictures = draw(model, held.part.x, run.folder, y=held.part.y, history=history, seed=seed, name=held.name, **more)
    facts["pictures"] = [str(path) for path in pictures]
    lines.append(f"Pictures in {run.folder}: {', '.join(path.name for path in pictures)}.")
    return Summary(facts, "\n".join(lines))


def began(run: Run, facts: dict[str, Any]) -> list[str]:
    """What was trained, how long, and whether it stopped early."""
    train, schema = len(run.job.train_rows), run.estimator.schema_
    likelihood = f"The likelihood is {schema.likelihood or 'one of your own'}"
    what = f"{facts['model']} of {Path(run.dataset.source).name}: {plural(train, 'training row')}"
    done, planned = facts["epochs"], run.job.plan.epochs
    if not done:
        return [f"{what}; solved exactly.", f"{likelihood}."]
    facts["epochs_planned"], facts["best_epoch"] = planned, best_epoch(run)
    took = plural(done, "epoch")
    if done < planned:
        took = f"stopped early after {done:,} of {plural(planned, 'epoch')}"
        if facts["best_epoch"] is not None:
            took += f": the best were at epoch {facts['best_epoch']:,}"
    return [f"{what}; {took}.", f"{likelihood}; it took {facts['seconds']:.1f} s (seed {facts['seed']})."]


def best_epoch(run: Run) -> int | None:
    """The epoch of the weights that were kept: the lowest validation loss after warm-up; None where none was taken."""
    known = [r for r in run.estimator.history_ if "valid_loss" in r and r["progress"] >= run.job.plan.warmup]
    return min(known, key=lambda record: record["valid_loss"])["epoch"] if known else None


def evidence_lines(run: Run, held: HeldOut, inputs: Inputs, result: Scored, facts: dict[str, Any]) -> list[str]:
    """log p(x), beside probabilistic PCA's."""
    model, schema = run.estimator, run.estimator.schema_
    mean, error = mean_and_error(*result)
    pseudo = schema.likelihood == "bernoulli" and schema.kind == "unit" and not schema.binarize
    kind, conditional = "probability" if schema.discrete else "density", schema.condition is not None
    given = " given its condition" if conditional else ""
    facts["log_likelihood"] = {
        "mean": mean,
        "standard_error": error,
        "shared_error": result.shared_error,
        "draws": DRAWS,
        "kind": kind,
        "unit": "nats",
        "given_condition": conditional,
    }
    if not math.isfinite(mean):
        return [f"log p(x) of {held.which} is not a number: the weights are of no use; lower --learning-rate."]
    lines = [f"log p(x){given} of {held.which}: {mean:.2f} ± {error:.2f} nats (log-{kind}, {DRAWS:,} draws a row)."]
    if pseudo:
        return [*lines, "Bernoulli on numbers between 0 and 1 is not a density, so nothing is compared with it."]
    if schema.sequence:
        return lines
    linear = linear_evidence(model, run.job.train_rows, inputs)
    if linear.values is None:
        facts["degenerate"] = {"rank": linear.rank, "features": schema.size}
        span = f"The training rows span {linear.rank:,} of {schema.size:,} dimensions (constant or collinear columns)"
        return [*lines, f"{span}: their density is degenerate, so nothing is compared with it."]
    against, spread = mean_and_error(linear.values)
    gap, gap_error = mean_and_error(result.values - linear.values, result.shared_error)
    facts["ppca"] = {
        "mean": against,
        "standard_error": spread,
        "latent_dim": linear.latent_dim,
        "kind": "density" if not schema.discrete else "lower bound on a log-probability by dequantised density",
        "given_condition": False,
    }
    lines.append(
        f"Probabilistic PCA with {linear.latent_dim} dimensions on the same rows: {against:.2f} ± {spread:.2f} nats."
    )
    if schema.discrete:
        lines.append(
            "It saw the rows dequantised by uniform noise: a density that bounds the log-probability from below."
        )
    verdict = "better" if gap > 2 * gap_error else "worse" if gap < -2 * gap_error else "not clearly different"
    size = f" by {abs(gap):.2f} ± {gap_error:.2f} nats" if verdict != "not clearly different" else ""
    told = ", given its condition; probabilistic PCA is not told the condition" if conditional else ""
    return [*lines, f"{type(model).__name__} is {verdict}{size}{told}."]


def error_lines(run: Run, held: HeldOut, inputs: Inputs, errors: np.ndarray, facts: dict[str, Any]) -> list[str]:
    """Squared error, beside PCA's."""
    schema = run.estimator.schema_
    mean, error = mean_and_error(errors)
    conditional = schema.condition is not None
    facts["squared_error"] = {
        "mean": mean,
        "standard_error": error,
        "unit": "squared units of the data, summed",
        "given_condition": conditional,
    }
    given = " given its condition" if conditional else ""
    lines = [f"Squared error an example{given} of {held.which}: {mean:.4g} ± {error:.2g} (summed over features)."]
    if schema.sequence:
        return lines
    k, against = linear_error(run.estimator, run.job.train_rows, inputs)
    facts["pca"] = {"squared_error": against, "latent_dim": k, "given_condition": False}
    said = f"{against:.4g}" if against else "0, for the rows vary in no more directions"
    told = ", which is not told the condition," if conditional else ""
    return [*lines, f"PCA with {k} dimensions{told} on the same rows: {said}."]


def denoising_line(model: Estimator, held: HeldOut, more: dict[str, Any], seed: int, facts: dict[str, Any]) -> str:
    """How far damaged rows lie from the clean ones, before and after cleaning."""
    part = held.part
    views = views_of(model, held_rows(part.x, part.y, more.get("condition"), more.get("lengths"), held.name), seed)
    clean, damaged, cleaned = (views[name].reshape(len(part.x), -1) for name in ("original", "damaged", "cleaned"))
    before, after = (mean_and_error(np.nansum(np.square(view - clean), 1)) for view in (damaged, cleaned))
    how = model.corruption if isinstance(model.corruption, str) else type(model.corruption).__name__
    facts["denoising"] = {
        "corruption": how,
        "damaged": {"mean": before[0], "standard_error": before[1]},
        "cleaned": {"mean": after[0], "standard_error": after[1]},
        "unit": "squared units of the data, summed",
    }
    numbers = f"{before[0]:.4g} ± {before[1]:.2g} damaged, {after[0]:.4g} ± {after[1]:.2g} cleaned"
    return f"The same rows damaged by {how}, squared error from the clean ones: {numbers}."


def units_line(model: Estimator, held: HeldOut, more: dict[str, Any], facts: dict[str, Any]) -> str:
    """How many latent dimensions are in use: those whose posterior mean varies (Burda et al., 2016)."""
    used = in_use(model.transform(held.part.x, **more), model.density)
    facts["active_units"], facts["latent_dim"] = used, model.latent_dim
    return f"{used} of {model.latent_dim} latent dimensions are in use."
