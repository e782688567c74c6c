"""How a run went, in a few sentences, compared with the exact linear model of the same size."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from isthmus.diagnosis.context import python_arguments
from isthmus.evaluation.result import Evaluation
from isthmus.evaluation.splits import held_out
from isthmus.metrics.estimate import mean_and_error
from isthmus.persistence.run_dir import Run
from isthmus.plot.context import squared_errors
from isthmus.plot.reconstruction import views_of
from isthmus.plot.training_curves import best_epoch, course
from isthmus.report.affordable import LEFT_OUT, SLOW, affordable
from isthmus.report.from_run import MeasuredRun, measure
from isthmus.report.headline import best_linear, compared, density_baselines, is_conditional, is_finite, value_of
from isthmus.wording import join_names, pluralize, shell_line

NAMED = 2
"""Measures that were left out that are named."""


@dataclass(frozen=True)
class Summary:
    """The end of a run.

    Args:
        values: plain values for JSON.
        text: one sentence per line.
    """

    values: dict[str, Any]
    text: str


def summarise(run: Run, stages: Mapping[str, float] | None = None) -> Summary:
    """Evaluate and diagnose a run on held-out rows, write its page and figures, and describe it in sentences.

    Args:
        run: a trained run.
        stages: seconds that earlier stages took, by name, to be told with those of this one.
    """
    started = time.perf_counter()
    model, held = run.fitted, held_out(run)
    reach = affordable(run, len(held))
    held = held_out(run, reach.rows)
    measured = measure(run, held, reach.draws, (*LEFT_OUT, *reach.left_out))
    stages = {**(stages or {}), "measuring": time.perf_counter() - started}
    evaluation = measured.evaluation
    values: dict[str, Any] = {
        **model.settings,
        "run": str(run.folder),
        "model": model.name,
        "data": run.dataset.source,
        "which": held.description,
        "seed": model.seed,
        "epochs": len(model.history),
        "seconds": round(model.history[-1]["seconds"], 2) if model.history else 0.0,
        **evaluation.to_dict(),
        "latent_dim": model.code_size,
    }
    lines = training_lines(run, values)
    lines += likelihood_lines(run, evaluation, held.description)
    if "log_likelihood" not in evaluation:
        lines += error_lines(run, evaluation, held.description)
    if model.model.corruption is not None:
        lines.append(denoising_line(measured, values))
    if "active_units" in evaluation:
        lines.append(f"{evaluation.value('active_units')} of {model.code_size} latent dimensions are in use.")
        if model.fields.get("network") == "unet":
            lines[-1] += " It is a code to restore images with, no summary of them."
    values["findings"] = [asdict(finding) for finding in measured.findings]
    severe = [finding.code for finding in measured.findings if finding.severity != "info"]
    if severe:
        command = shell_line(["isthmus", "diagnose", str(run.folder)])
        lines.append(f"Findings: {join_names(severe)}; {command} says how to fix them.")
    if reach.left_out:
        values["not_measured"] = list(reach.left_out)
        lines.append(not_measured_line(run, [SLOW[name].words for name in reach.left_out]))
    started = time.perf_counter()
    values["report"] = str(measured.write_page())
    pictures = measured.write_figures()
    values["pictures"] = [str(path) for path in pictures]
    files = [path.name for path in (Path(values["report"]), *pictures)]
    lines.append(f"Written to {run.folder}: {', '.join(files)}.")
    stages["drawing"] = time.perf_counter() - started
    values["stages"] = {name: round(seconds, 2) for name, seconds in stages.items()}
    lines.append("Time: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stages.items()) + ".")
    return Summary(values, "\n".join(lines))


def training_lines(run: Run, values: dict[str, Any]) -> list[str]:
    """What was trained, how long, and whether it stopped early."""
    likelihood = f"Likelihood: {run.fitted.schema.likelihood or 'user-defined'}"
    rows = pluralize(len(run.job.train_rows), "training row")
    what = f"{values['model']} of {Path(run.dataset.source).name}: {rows}"
    done, planned = values["epochs"], run.job.config.epochs
    if not done:
        return [f"{what}; solved exactly.", f"{likelihood}."]
    values["epochs_planned"], values["best_epoch"] = planned, best_epoch(run.fitted.history)
    lines = [
        f"{what}; {course(run.fitted.history, planned, run.job.earlier_epochs)}.",
        f"{likelihood}; {values['seconds']:.1f} s of training (seed {values['seed']}).",
    ]
    if run.job.chosen:
        lines.append(f"Chosen from the data: {python_arguments(run.job.chosen)}.")
    return lines


def likelihood_lines(run: Run, evaluation: Evaluation, rows: str) -> list[str]:
    """log p(x), beside probabilistic PCA's: of the model's size, and of the size and scaling that validation chose."""
    log_px, schema = evaluation.get("log_likelihood"), run.fitted.schema
    if log_px is None:
        return []
    if not is_finite(log_px):
        return [f"{log_px.label} is not a number, {rows}: the model cannot be used. Lower --learning-rate."]
    draws = f", {evaluation.value('log_likelihood.draws'):,} draws per row"
    said = f"{log_px.note}{draws if evaluation.get('log_likelihood.ess') else ''}"  # where more of them could tell more
    lines = [f"Mean {log_px.label}, {rows}: {log_px} ({said})."]
    if schema.improper:
        return [*lines, "Bernoulli on numbers between 0 and 1 is not a density, so no baselines are compared."]
    rank = evaluation.value("degenerate.rank")
    if rank is not None:
        span = f"The training rows span {rank:,} of {schema.size:,} dimensions (constant or collinear columns)"
        return [*lines, f"{span}: they have no density, so no baselines are compared."]
    others = density_baselines(evaluation)
    if "ppca" not in others:
        return lines
    linear = best_linear(others)
    note = f" ({others['ppca'].note})" if others["ppca"].note else ""
    size = pluralize(evaluation.value("baselines.ppca.latent_dim"), "dimension")
    lines.append(f"Probabilistic PCA with {size} on the same rows: {others['ppca']}{note}.")
    if "ppca_best" in others and others["ppca_best"].value != others["ppca"].value:
        size = pluralize(evaluation.value("baselines.ppca_best.latent_dim"), "dimension")
        scaling = evaluation.value("baselines.ppca_best.scaling")
        lines.append(f"With {size} and {scaling} scaling, chosen by validation: {others['ppca_best']}{note}.")
    sign, margin = compared(others[linear]), evaluation[f"baselines.{linear}.margin"]
    than = " than the better of the two" if len(lines) == 3 else ""
    how = {1: f"better{than}", -1: f"worse{than}", 0: f"not clearly different{than.replace('than', 'from')}"}[sign]
    by = f" by {abs(value_of(margin)):.2f} ± {margin.standard_error or 0.0:.2f} nats" if sign else ""
    given = "; the model is given the condition, the baseline is not" if is_conditional(evaluation) else ""
    return [*lines, f"{evaluation.model} is {how}{by}{given}."]


def error_lines(run: Run, evaluation: Evaluation, rows: str) -> list[str]:
    """Squared error, beside PCA's."""
    error, pca = evaluation.get("reconstruction"), evaluation.get("baselines.pca")
    if error is None:
        return []
    lines = [f"Reconstruction error, {rows}: {error.number} (squared, summed over features)."]
    if pca is None:
        return lines
    size = pluralize(evaluation.value("baselines.pca.latent_dim"), "dimension")
    given = ", which is not given the condition," if run.fitted.schema.condition is not None else ""
    value = pca.number if pca.value else "0, because the rows vary in no more directions"
    return [*lines, f"PCA with {size}{given} on the same rows: {value}."]


def not_measured_line(run: Run, measures: list[str]) -> str:
    """What was left out, the first of them by name."""
    command = shell_line(["isthmus", "evaluate", str(run.folder)])
    return f"Not measured, as training was short: {join_names(measures, NAMED)}; {command} takes them."


def denoising_line(measured: MeasuredRun, values: dict[str, Any]) -> str:
    """The squared error of corrupted rows from the clean ones, before and after the model."""
    plots, model = measured.context.plot, measured.run.fitted
    views = views_of(plots, plots.shown)
    clean = views["original"]
    before, after = (mean_and_error(squared_errors(views[name], clean)) for name in ("corrupted", "cleaned"))
    field = model.fields.get("corruption")
    how = field if isinstance(field, str) else type(model.model.corruption).__name__
    values["denoising"] = {
        "corruption": how,
        "corrupted": {"mean": before[0], "standard_error": before[1]},
        "cleaned": {"mean": after[0], "standard_error": after[1]},
        "unit": "squared data units, summed",
    }
    numbers = f"{before[0]:.4g} ± {before[1]:.2g} corrupted, {after[0]:.4g} ± {after[1]:.2g} cleaned"
    return f"Squared error of rows corrupted by {how}, from the clean rows: {numbers}."
