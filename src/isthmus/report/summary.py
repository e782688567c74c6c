"""How a run went, in a few sentences, against the exact linear model of the same size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.decomposition import PCA

from isthmus.data import Part
from isthmus.estimators.base import Estimator
from isthmus.estimators.runs import Run
from isthmus.evaluation.evidence import mean_and_error
from isthmus.report.plots import draw

ROWS_SCORED = 1000
"""Rows scored at the end of a run, at most: enough for a figure to a tenth of its spread."""
DRAWS = 1000
NOISES = 8
"""Dequantisation noises averaged a row."""
CHOSEN_BY = " (they also chose the weights)"


@dataclass(frozen=True)
class Summary:
    """Plain values for JSON, and sentences."""

    facts: dict[str, Any]
    words: str


@dataclass(frozen=True)
class Scored:
    """Rows that the model was not fitted to, as far as there are any."""

    part: Part
    name: str
    which: str
    """How many, and what else is to be known of them."""


def held_out(run: Run) -> Scored:
    """Test rows, else validation rows, else training rows, at most `ROWS_SCORED` of them."""
    if run.dataset.test is not None:
        part, name, more = run.dataset.test, "test rows", ""
    elif run.dataset.valid is not None:
        part, name, more = run.dataset.valid, "validation rows", CHOSEN_BY
    elif run.job.valid_index is not None:
        part, name, more = take(run.dataset.train, run.job.valid_index), "validation rows", CHOSEN_BY
    else:
        part, name, more = run.dataset.train, "training rows", " (none were kept aside)"
    if len(part.x) > ROWS_SCORED:
        index = np.sort(np.random.default_rng(run.job.plan.seed).permutation(len(part.x))[:ROWS_SCORED])
        return Scored(take(part, index), name, f"{ROWS_SCORED:,} of {len(part.x):,} {name}{more}")
    return Scored(part, name, f"{len(part.x):,} {name}{more}")


def take(part: Part, index: np.ndarray) -> Part:
    """Some rows of a part."""
    x = part.x.iloc[index] if hasattr(part.x, "iloc") else part.x[index]
    return Part(x, *[None if a is None else np.asarray(a)[index] for a in (part.y, part.lengths)])


def summarise(run: Run) -> Summary:
    """Score held-out rows, draw the pictures, and say it."""
    model, held = run.estimator, held_out(run)
    more: dict[str, Any] = {} if held.part.lengths is None else {"lengths": held.part.lengths}
    if model.schema_.condition is not None:
        more["condition"] = held.part.y
    history = model.history_
    facts: dict[str, Any] = {
        "run": str(run.folder),
        "model": type(model).__name__,
        "rows": held.which,
        "seed": model.seed_,
        "epochs": len(history),
        "seconds": round(history[-1]["seconds"], 2) if history else 0.0,
        **model.settings_,
    }
    lines = [began(run, facts)]
    if model.density:
        values = model.score_samples(held.part.x, draws=DRAWS, **more)
        lines += evidence_lines(run, held, values, facts)
    else:
        errors = model.squared_error(held.part.x, **more)
        lines += error_lines(run, held, errors, facts)
    lines.append(units_line(model, held, more, facts))
    seed = model.seed_ % 2**31
    pictures = draw(model, held.part.x, run.folder, y=held.part.y, history=history, seed=seed, name=held.name, **more)
    facts["pictures"] = [str(path) for path in pictures]
    lines.append(f"Pictures in {run.folder}: {', '.join(path.name for path in pictures)}.")
    return Summary(facts, "\n".join(lines))


def began(run: Run, facts: dict[str, Any]) -> str:
    """What was trained, how long."""
    train, schema = len(run.job.train_rows), run.estimator.schema_
    likelihood = schema.likelihood or "a likelihood of your own"
    what = f"{facts['model']} of {run.dataset.source}: {train:,} training rows, likelihood {likelihood}"
    if not facts["epochs"]:
        return f"{what}; solved exactly."
    return f"{what}; {facts['epochs']:,} epochs in {facts['seconds']:.1f} s (seed {facts['seed']})."


def evidence_lines(run: Run, held: Scored, values: np.ndarray, facts: dict[str, Any]) -> list[str]:
    """log p(x), beside probabilistic PCA's."""
    schema = run.estimator.schema_
    mean, error = mean_and_error(values)
    pseudo = schema.likelihood == "bernoulli" and schema.kind == "unit" and not schema.binarize
    kind = "probability" if schema.discrete else "density"
    given = " given its condition" if schema.condition else ""
    facts["log_likelihood"] = {"mean": mean, "standard_error": error, "draws": DRAWS, "kind": kind, "unit": "nats"}
    lines = [f"log p(x){given} of {held.which}: {mean:.2f} ± {error:.2f} nats (log-{kind}, {DRAWS:,} draws a row)."]
    if pseudo:
        return [*lines, "Bernoulli on numbers between 0 and 1 is not a density, so nothing is compared with it."]
    if schema.sequence:
        return lines
    k, baseline = linear_evidence(run, held)
    against, spread = mean_and_error(baseline)
    gap, gap_error = mean_and_error(values - baseline)
    facts["ppca"] = {
        "mean": against,
        "standard_error": spread,
        "latent_dim": k,
        "kind": "density" if not schema.discrete else "lower bound on a log-probability by dequantised density",
    }
    marked = (
        "; rows dequantised by uniform noise: a density that bounds the log-probability from below"
        if schema.discrete
        else ""
    )
    verdict = "better" if gap > 2 * gap_error else "worse" if gap < -2 * gap_error else "not clearly different"
    size = f" by {abs(gap):.2f} ± {gap_error:.2f} nats" if verdict != "not clearly different" else ""
    name = type(run.estimator).__name__
    return [
        *lines,
        f"Probabilistic PCA with {k} dimensions on the same rows: {against:.2f} ± {spread:.2f} nats{marked}.",
        f"{name} is {verdict}{size}.",
    ]


def linear_evidence(run: Run, held: Scored) -> tuple[int, np.ndarray]:
    """Probabilistic PCA's latent size and its (n,) log-density of the held-out rows, dequantised where discrete."""
    model = run.estimator
    random = np.random.default_rng(model.seed_)
    train = np.asarray(run.job.train_rows.x)
    if len(train) > 10 * ROWS_SCORED:
        train = train[random.permutation(len(train))[: 10 * ROWS_SCORED]]
    units = [as_scored(model, part) for part in (train, held.part.x)]
    k = min(model.latent_dim, units[0].shape[1] - 1, len(units[0]) - 1)
    if not model.schema_.discrete:
        return k, PCA(k, svd_solver="full").fit(units[0]).score_samples(units[1])
    exact = PCA(k, svd_solver="full").fit(units[0] + random.random(units[0].shape))
    noisy = [exact.score_samples(units[1] + random.random(units[1].shape)) for _ in range(NOISES)]
    return k, np.mean(noisy, axis=0)


def as_scored(model: Estimator, x: Any) -> np.ndarray:
    """(n, d) the numbers that the likelihood is a distribution over: bits where pixels are binarised."""
    if model.schema_.binarize:
        from isthmus.train.loader import Rows
        from isthmus.train.machine import pick_dtype

        rows = Rows(np.asarray(x), model.schema_, device=model.device_, dtype=pick_dtype(model.precision), bits="fixed")
        import torch

        values = rows.batch(torch.arange(len(rows), device=model.device_)).x.cpu().numpy()
    else:
        values = np.asarray(x)
    return values.reshape(len(values), -1).astype(np.float64)


def error_lines(run: Run, held: Scored, errors: np.ndarray, facts: dict[str, Any]) -> list[str]:
    """Squared error, beside PCA's."""
    model = run.estimator
    mean, error = mean_and_error(errors)
    facts["squared_error"] = {"mean": mean, "standard_error": error, "unit": "squared units of the data, summed"}
    lines = [f"Squared error an example of {held.which}: {mean:.4g} ± {error:.2g} (summed over features)."]
    if model.schema_.sequence:
        return lines
    train, test = (np.asarray(x).reshape(len(x), -1).astype(np.float64) for x in (run.job.train_rows.x, held.part.x))
    k = min(model.latent_dim, *train.shape)
    pca = PCA(k, random_state=model.seed_ % 2**31).fit(train[: 10 * ROWS_SCORED])
    against = float(np.square(pca.inverse_transform(pca.transform(test)) - test).sum(1).mean())
    facts["pca"] = {"squared_error": against, "latent_dim": k}
    return [*lines, f"PCA with {k} dimensions on the same rows: {against:.4g}."]


def units_line(model: Estimator, held: Scored, more: dict[str, Any], facts: dict[str, Any]) -> str:
    """How many latent dimensions are in use: those whose posterior mean varies (Burda et al., 2016)."""
    codes = model.transform(held.part.x, **more)
    spread = np.asarray(codes).var(0)
    used = int((spread > (0.01 if model.density else 1e-6 * max(float(spread.max()), math.ulp(1)))).sum())
    facts["active_units"], facts["latent_dim"] = used, model.latent_dim
    return f"{used} of {model.latent_dim} latent dimensions are in use."
