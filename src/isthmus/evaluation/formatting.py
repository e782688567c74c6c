"""What was measured, a line each: a name, and the numbers in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus.evaluation.log_likelihood import KHAT_GOOD

Facts = dict[str, Any]
Line = tuple[str, str]

FULL = 0.9
"""Share of log n from which on the mutual information that n rows show says little of the model."""
PROBES = {
    "linear": "labels read linearly",
    "nearest": "labels read by neighbours",
    "commonest": "labels guessed: commonest",
}
BASELINES = {
    "mean": "mean",
    "pca": "PCA",
    "ppca": "probabilistic PCA",
    "factor_analysis": "factor analysis",
    "gaussian_mixture": "Gaussian mixture",
}
KINDS = {
    "squared error": "squared error",
    "density": "nats, density",
    "dequantised density, a lower bound on a log-probability": "nats at least, dequantised",
}
SAMPLES = {
    "classifier": ("samples told from data", ".1%", "told right by a classifier"),
    "precision": ("  precision", ".1%", "of samples lie where data do"),
    "recall": ("  recall", ".1%", "of data lie where samples do"),
    "mmd": ("  squared MMD", ".4f", "of learned features"),
    "frechet": ("  Fréchet distance", ".3g", "of learned features"),
}
PATHS = {
    "log_likelihood": ("between two codes: log p(x)", "nats less"),
    "distance": ("  distance from data", "more"),
}
SCORES = {
    "mig": "MIG",
    "sap": "SAP",
    "factor_vae": "FactorVAE score",
    "modularity": "modularity",
    "disentanglement": "DCI disentanglement",
    "completeness": "DCI completeness",
    "informativeness": "DCI informativeness",
}


def lines(facts: Facts) -> list[Line]:
    """Everything in the order in which it is asked for: how likely, how, beside what, and what the code is like."""
    shown = [("model", facts["model"]), ("rows", f"{facts['rows']:,}")]
    if "log_likelihood" in facts:
        shown += density(facts)
    shown.append(("squared error", missed(facts["reconstruction"])))
    return [*shown, *baselines(facts), *training(facts), *code(facts), *drawn(facts)]


def number(about: Facts, digits: str = ".2f") -> str:
    """An estimate, with its error where it has one."""
    error = about.get("standard_error")
    return f"{about['mean']:{digits}}" + (f" ± {error:{digits}}" if error is not None else "")


def missed(about: Facts) -> str:
    """A squared error in the data's units, and in those that networks read where columns have scales of their own."""
    read = about["scaled"]
    more = f"; {number(read, '.4g')} in scaled columns" if read["uneven"] else ""
    return f"{number(about, '.4g')} (summed over features{more})"


def density(facts: Facts) -> Iterator[Line]:
    """Log p(x), its bound, and what is known of how good these are."""
    found = facts["log_likelihood"]
    given = " given the condition" if found["given_condition"] else ""
    draws = f"{found['draws']:,}"
    yield f"log p(x){given}", f"{number(found)} nats (log-{found['kind']}, {draws} draws a row)"
    if found["bits_per_dim"] is not None:
        yield "  bits per dimension", f"{found['bits_per_dim']:.3f}"
    yield "  effective draws", f"{found['ess']:.0f} of {draws} (median row)"
    if found["khat"] is not None:
        above = f"above {KHAT_GOOD} in {found['khat_above']:.0%} of rows"
        yield "  Pareto k-hat", f"{found['khat']:.2f} (median row); {above}"
    yield "  last doubling of draws", f"changed it by {round(found['rise'], 3) + 0.0:+.3f} nats"
    if "ais" in facts:
        about = facts["ais"]
        yield "  annealed (AIS)", f"{number(about)} nats ({about['rows']} rows, {about['steps']:,} temperatures)"
        above = f"{number(about['above_importance_weighted'])} nats above importance weighting of the same rows"
        yield "", above
        gap = about["two_sided_gap"]
        yield "  two-sided gap (BDMC)", f"{number(gap)} nats on {gap['rows']} rows that the model simulated"
    for name, key in (("ELBO", "elbo"), ("distortion", "distortion"), ("rate: KL(q(z|x) || p(z))", "kl")):
        yield name, f"{number(facts[key])} nats"
    if facts["mutual_information"]:
        about = facts["mutual_information"]
        few = about["mean"] > FULL * about["ceiling"]
        told = f"; {about['rows']:,} rows can show no more: the rest counts as aggregate" if few else ""
        yield "  mutual information", f"{number(about)} nats{told}"
        yield "  aggregate from prior", f"{number(facts['aggregate_kl'])} nats"
    if facts.get("refit_gain", {"mean": 0})["mean"] > 0:
        yield "  a refitted prior gains", f"{number(facts['refit_gain'])} nats"
    if "inference_gap" in facts:
        about = facts["inference_gap"]
        yield "inference gap", f"{number(about['total'])} nats ({about['total']['rows']} rows)"
        yield "  the posterior's family", f"{number(about['approximation'])} nats"
        yield "  the encoder", f"{number(about['amortization'])} nats"
    if "condition" in facts:
        yield "the condition is worth", f"{number(facts['condition'])} nats against another row's"


def baselines(facts: Facts) -> Iterator[Line]:
    """What simple models make of the same rows."""
    for name, about in facts.get("baselines", {}).items():
        size = f", {about['latent_dim']} dimensions" if "latent_dim" in about else ""
        size += f", {about['components']} components" if "components" in about else ""
        if "scaled" in about:
            yield f"baseline: {BASELINES[name]}", f"{missed(about)[:-1]}{size})"
            continue
        digits = ".2f" if about["unit"] == "nats" else ".4g"
        unit = KINDS.get(about["kind"], about["kind"])
        yield f"baseline: {BASELINES[name]}", f"{number(about, digits)} ({unit}{size})"


def training(facts: Facts) -> Iterator[Line]:
    """How much better training rows are known."""
    about = facts.get("training")
    if about:
        density = "log_likelihood_gap" in about
        gap = about["log_likelihood_gap" if density else "squared_error_gap"]
        what = "log p(x) above this" if density else "squared error below this"
        yield f"training rows: {what}", f"{number(gap, '.2f' if density else '.4g')}"


def code(facts: Facts) -> Iterator[Line]:
    """What the code holds, and how it lies."""
    yield "latent dimensions in use", f"{facts['active_units']['count']} of {facts['active_units']['of']}"
    if "geometry" in facts:
        about = facts["geometry"]
        shared = about["correlation"]
        yield "  correlation", f"{shared['mean']:.2f} on average ({shared['chance']:.2f} by chance)"
        if about["total_correlation"]:
            yield "  total correlation", f"{number(about['total_correlation'])} nats"
        if about["angle_with_pca"]:
            yield "  angle with PCA", f"{about['angle_with_pca']['mean']:.0f} degrees on average"
    for name, about in facts.get("probes", {}).items():
        yield PROBES[name], f"{number(about, '.1%')} of rows"
    for name, about in facts.get("disentanglement", {}).items():
        yield SCORES[name], number(about)
    for name, about in facts.get("paths", {}).items():
        label, unit = PATHS[name]
        yield label, f"{number(about)} {unit} than at the ends; holes on {about['holes']['mean']:.0%} of paths"


def drawn(facts: Facts) -> Iterator[Line]:
    """How samples are, each number beside that of training rows in their place."""
    for name, why in facts.get("refused", {}).items():
        yield name.replace("_", " "), f"not measured: {why}"
    about = facts.get("samples", {}) | {"classifier": facts.get("classifier")}
    for name, (title, digits, meaning) in SAMPLES.items():
        if about.get(name):
            real = about[name]["of_data"]["mean"]
            yield title, f"{number(about[name], digits)} {meaning} ({real:{digits}} for training rows)"
    if "copies" in facts:
        about = facts["copies"]["to_train"]
        expected = about["expected"]
        yield "  nearest row was seen", f"{number(about, '.1%')} of samples ({expected:.1%} if none is a copy)"
    for name, about in facts.get("sharpness", {}).items():
        yield f"sharpness of {name}", f"{number(about)} of the data's"
