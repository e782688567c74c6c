"""Every number that was measured, as one table."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.plot.text import number, with_error
from isthmus.report.html_blocks import Table

SAID = {
    "log_likelihood": "log p(x)",
    "elbo": "ELBO",
    "distortion": "distortion: −log p(x given z)",
    "kl": "rate: KL(q(z given x) || p(z))",
    "mutual_information": "mutual information of x and z",
    "aggregate_kl": "aggregate posterior from the prior",
    "active_units": "dimensions in use",
    "reconstruction": "squared error of reconstructions",
    "probes / linear": "labels read linearly from the codes",
    "probes / nearest": "labels read by neighbours of the codes",
    "probes / commonest": "labels guessed: the commonest",
    "baselines / mean": "baseline: the training mean",
    "baselines / pca": "baseline: PCA",
    "baselines / ppca": "baseline: probabilistic PCA",
    "baselines / factor_analysis": "baseline: factor analysis",
    "baselines / gaussian_mixture": "baseline: Gaussian mixture",
    "residual_eigenvalue_ratio": "strongest direction of what is missed, against noise",
    "column_spread": "widest column against the narrowest, as networks read them",
    "identity_test": "variance lost of rows with shuffled columns",
    "refit_gain": "what a refitted prior gains",
    "sample_spread": "variance of samples",
    "condition": "what the condition is worth",
    "training / log_likelihood_gap": "training rows: log p(x) above this",
    "training / squared_error_gap": "training rows: squared error below this",
    "geometry / angle_with_pca": "angle between codes and PCA",
    "paths / log_likelihood": "between two codes: log p(x) lost",
    "paths / log_likelihood / holes": "between two codes: holes by log p(x)",
    "paths / distance": "between two codes: distance from data gained",
    "paths / distance / holes": "between two codes: holes by distance",
    "classifier": "samples told from data by a classifier",
    "samples / mmd": "squared MMD of learned features",
    "samples / frechet": "Fréchet distance of learned features",
    "samples / precision": "precision of samples",
    "samples / recall": "recall of samples",
    "copies / z": "distance to training rows against that of other rows",
    "copies / close": "samples as near to a training row as one in a hundred others",
    "copies / to_train": "samples whose nearest row is a training row",
    "ais": "log p(x), annealed",
    "ais / two_sided_gap": "two-sided gap on simulated rows",
}
"""Names of facts in words; others are told by their keys."""
SHOWN = ("model", "rows", "kl_per_dim")
"""Facts that have a place of their own on the page."""


def facts_table(facts: dict[str, Any]) -> Table:
    """Everything that was measured: numbers with errors, units and what they are; whatever its name."""
    rows = [row for name, value in facts.items() if name not in SHOWN for row in told(name, value)]
    caption = (
        "± is one standard error over the rows. A density and a probability are no numbers to compare: only those of "
        "one kind and unit are."
    )
    return Table(caption, ["", "value", "unit", "kind", "more"], rows, look="wordy")


def told(name: str, value: Any, unit: str = "", kind: str = "") -> list[list[str]]:
    """Rows of the table for one fact, and for those inside it, which are of its unit and kind unless they say."""
    said = SAID.get(name, name.replace("_", " ").replace(" / ", ": "))
    if not isinstance(value, dict):
        return [[said, plainly(value), unit, kind, ""]]
    unit, kind = str(value.get("unit", unit)), str(value.get("kind", kind))
    main = next((key for key in ("mean", "count", "value") if key in value and simple(value[key])), None)
    inside = {key: item for key, item in value.items() if key not in ("unit", "kind")}
    if main is None:
        rows = [row for key, item in inside.items() for row in told(f"{name} / {key}", item, unit, kind)]
        return rows or [[said, "–", unit, kind, ""]]
    shown = plainly(inside.pop(main))
    if main == "mean" and isinstance(value["mean"], int | float):
        shown = with_error(float(value["mean"]), inside.pop("standard_error", None))
    if main == "count" and "of" in inside:
        shown += f" of {plainly(inside.pop('of'))}"
    more = [f"{key.replace('_', ' ')}: {plainly(item)}" for key, item in inside.items() if simple(item)]
    deeper = [told(f"{name} / {key}", item, unit, kind) for key, item in inside.items() if not simple(item)]
    return [[said, shown, unit, kind, "; ".join(more)], *(row for rows in deeper for row in rows)]


def simple(value: Any) -> bool:
    return not isinstance(value, dict)


def plainly(value: Any) -> str:
    """A value as text: numbers short, lists by their ends where they are long."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        listed = [plainly(item) for item in value[:8]]
        return ", ".join(listed) + (f", ... ({len(value)} in all)" if len(value) > 8 else "")
    if value is None:
        return "–"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else number(value)
