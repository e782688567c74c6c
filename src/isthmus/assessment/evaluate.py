"""Honest numbers about a trained model: everything that is measured of it, once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isthmus.assessment.baselines import linear_error, linear_evidence
from isthmus.errors import InputError
from isthmus.estimators.base import Estimator
from isthmus.estimators.inputs import Inputs, collect
from isthmus.evaluation.aggregate import surgery
from isthmus.evaluation.evidence import mean_and_error
from isthmus.evaluation.probes import probes
from isthmus.evaluation.sweep import sweep
from isthmus.train.machine import running

DRAWS = 1000
ACTIVE = 0.01
"""Variance of a dimension's posterior mean over rows above which it is in use (Burda et al., 2016)."""
KHAT_GOOD = 0.7
"""Above this a row's weights may have no variance, and more draws do not mend its estimate."""
FULL = 0.9
"""Share of log n from which on the mutual information that n rows show says little of the model."""
PROBES = {
    "linear": "labels read linearly",
    "nearest": "labels read by neighbours",
    "commonest": "labels guessed: commonest",
}
SQUARED = "squared units of the data, summed"


@dataclass(frozen=True)
class Evaluation:
    """What was measured; every number says its unit, and whether it belongs to a density or a probability.

    `rows` holds what was measured of each row: log_px, elbo, khat, ess (n,), kl (n, L), where there is a density; codes
    (n, L) and squared_error (n,).
    """

    facts: dict[str, Any]
    rows: dict[str, np.ndarray] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return self.facts

    def __str__(self) -> str:
        return "\n".join(f"{name:<30}{value}" for name, value in lines(self.facts))


def evaluate(
    model: Estimator,
    X: Any,
    y: Any = None,
    *,
    condition: Any = None,
    lengths: Any = None,
    draws: int = DRAWS,
    train: Inputs | None = None,
) -> Evaluation:
    """Measure a fitted model on X (n, *X); nats in the data's own units.

    `y` (n,) are labels, which probes try to read from codes, and the condition of a conditional model. `train` are the
    rows that baselines are fitted to; without, there are none. Raises InputError for rows that the model cannot read.
    """
    if model.schema_.condition is not None and condition is None:
        condition = y
    inputs = collect(model, X, condition, lengths)
    facts: dict[str, Any] = {"model": type(model).__name__, "rows": len(inputs)}
    per_row: dict[str, np.ndarray] = {}
    if model.density:
        facts |= of_density(model, X, inputs, draws, per_row)
    codes = model.transform(X, condition=condition, lengths=lengths)
    facts["active_units"] = {"count": in_use(codes, model.density), "of": model.latent_dim, "unit": "dimensions"}
    read = None if y is None else probes(codes, as_labels(y, len(codes)), model.seed_ % 2**31)
    if read is not None:
        facts["probes"] = {
            name: {"mean": found.mean, "standard_error": found.error, "unit": "share of rows", "kind": "accuracy"}
            for name, found in read.items()
        }
    errors = model.squared_error(X, condition=condition, lengths=lengths)
    facts["reconstruction"] = spread_of(errors, SQUARED, "squared error")
    if train is not None and not model.schema_.sequence:
        facts["baselines"] = baselines(model, train, inputs, facts)
    return Evaluation(facts, {**per_row, "codes": codes, "squared_error": errors})


def as_labels(y: Any, n: int) -> np.ndarray:
    """Labels as an array, one a row; InputError for another number of them."""
    labels = np.asarray(y.detach().cpu() if hasattr(y, "detach") else y)
    if labels.shape[:1] != (n,):
        raise InputError(f"y has shape {labels.shape} and there are {n} rows; one label a row is wanted")
    return labels


def of_density(model: Estimator, X: Any, inputs: Inputs, draws: int, per_row: dict[str, np.ndarray]) -> dict[str, Any]:
    """Evidence, its bound and the bound's parts; what belongs to each row goes to `per_row`."""
    schema = model.schema_
    rows = model.rows(X, inputs.condition, inputs.lengths, bits="fixed")
    with running(model.settings_["threads"]):
        found, parts = sweep(model.model_, rows, draws), surgery(model.model_, rows)
    per_row |= {"log_px": found.log_px.values, "elbo": found.elbo, "kl": found.kl, "khat": found.khat, "ess": found.ess}
    kind = "probability" if schema.discrete else "density"
    mean, error = mean_and_error(*found.log_px)
    known = found.khat[np.isfinite(found.khat)]
    evidence: dict[str, Any] = {
        "mean": mean,
        "standard_error": error,
        "shared_error": found.log_px.shared_error,
        "draws": draws,
        "ess": float(np.median(found.ess)),
        "khat": float(np.median(known)) if len(known) else None,
        "khat_above": float((known > KHAT_GOOD).mean()) if len(known) else None,
        "rise": found.rise,
        "bits_per_dim": None,
        "unit": "nats",
        "kind": kind,
        "given_condition": schema.condition is not None,
    }
    if schema.discrete and not schema.sequence:
        evidence["bits_per_dim"] = -mean / (schema.size * math.log(2))
    facts: dict[str, Any] = {
        "log_likelihood": evidence,
        "elbo": spread_of(found.elbo, "nats", kind),
        "distortion": spread_of(found.distortion, "nats", kind),
        "kl": spread_of(found.kl.sum(1), "nats", "divergence"),
        "kl_per_dim": found.kl.mean(0).tolist() if found.kl.shape[1] == model.latent_dim else None,
    }
    for name in ("mutual_information", "aggregate_kl"):
        facts[name] = None
        if parts is not None:
            about = {"mean": getattr(parts, name), "standard_error": parts.error, "unit": "nats", "kind": "divergence"}
            facts[name] = {**about, "rows": parts.rows, "ceiling": math.log(parts.rows)}
    return facts


def in_use(codes: np.ndarray, density: bool) -> int:
    """Latent dimensions whose code varies over rows."""
    variance = codes.var(0)
    return int((variance > (ACTIVE if density else 1e-6 * max(float(variance.max()), math.ulp(1)))).sum())


def spread_of(values: np.ndarray, unit: str, kind: str) -> dict[str, Any]:
    """Mean of values (n,) with its standard error."""
    mean, error = mean_and_error(values)
    return {"mean": mean, "standard_error": error, "unit": unit, "kind": kind}


def baselines(model: Estimator, train: Inputs, test: Inputs, facts: dict[str, Any]) -> dict[str, Any]:
    """The training mean and PCA by squared error, and where there is a density probabilistic PCA."""
    centre = train.x.mean(0, dtype=np.float64)
    still = np.square(test.x - centre).reshape(len(test), -1).sum(1)
    k, error = linear_error(model, train, test)
    found: dict[str, Any] = {
        "mean": spread_of(still, SQUARED, "squared error"),
        "pca": {"mean": error, "latent_dim": k, "unit": SQUARED, "kind": "squared error"},
    }
    if model.density:
        linear = linear_evidence(model, train, test)
        if linear.values is not None:
            kind = "dequantised density, a lower bound on a log-probability" if model.schema_.discrete else "density"
            found["ppca"] = {**spread_of(linear.values, "nats", kind), "latent_dim": linear.latent_dim}
    return found


def lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """What is measured, and the numbers in words."""

    def number(about: dict[str, Any], digits: str = ".2f") -> str:
        error = about.get("standard_error")
        return f"{about['mean']:{digits}}" + (f" ± {error:{digits}}" if error is not None else "")

    shown = [("model", facts["model"]), ("rows", f"{facts['rows']:,}")]
    if "log_likelihood" in facts:
        found = facts["log_likelihood"]
        given = " given the condition" if found["given_condition"] else ""
        draws = f"{found['draws']:,}"
        shown.append((f"log p(x){given}", f"{number(found)} nats (log-{found['kind']}, {draws} draws a row)"))
        if found["bits_per_dim"] is not None:
            shown.append(("  bits per dimension", f"{found['bits_per_dim']:.3f}"))
        shown.append(("  effective draws", f"{found['ess']:.0f} of {draws} (median row)"))
        if found["khat"] is not None:
            above = f"above {KHAT_GOOD} in {found['khat_above']:.0%} of rows"
            shown.append(("  Pareto k-hat", f"{found['khat']:.2f} (median row); {above}"))
        shown.append(("  last doubling of draws", f"changed it by {round(found['rise'], 3) + 0.0:+.3f} nats"))
        for name, key in (("ELBO", "elbo"), ("distortion", "distortion"), ("rate: KL(q(z|x) || p(z))", "kl")):
            shown.append((name, f"{number(facts[key])} nats"))
        if facts["mutual_information"]:
            about = facts["mutual_information"]
            few = about["mean"] > FULL * about["ceiling"]
            told = f"; {about['rows']:,} rows can show no more: the rest counts as aggregate" if few else ""
            shown.append(("  mutual information", f"{number(about)} nats{told}"))
            shown.append(("  aggregate from prior", f"{number(facts['aggregate_kl'])} nats"))
    shown.append(("latent dimensions in use", f"{facts['active_units']['count']} of {facts['active_units']['of']}"))
    for name, about in facts.get("probes", {}).items():
        shown.append((PROBES[name], f"{number(about, '.1%')} of rows"))
    shown.append(("squared error", f"{number(facts['reconstruction'], '.4g')} (summed over features)"))
    for name, about in facts.get("baselines", {}).items():
        size = f" of {about['latent_dim']} dimensions" if "latent_dim" in about else ""
        label = {"mean": "mean", "pca": "PCA", "ppca": "probabilistic PCA"}[name]
        digits = ".2f" if about["unit"] == "nats" else ".4g"
        unit = f"nats, {about['kind']}" if about["unit"] == "nats" else "squared error"
        shown.append((f"baseline: {label}", f"{number(about, digits)} ({unit}{size and ','}{size})"))
    return shown
