"""Whether a model is any good, in three to five plain sentences, from the facts alone."""

from __future__ import annotations

import math
from typing import Any

from isthmus.finding import Finding, ranked
from isthmus.plot.text import number, with_error
from isthmus.wording import pluralize

CLEAR = 2.0
"""Standard errors from which a difference is called one."""
SLIGHT = 0.02
"""Share of a squared error that nobody would see, however sure it is."""


def verdict(facts: dict[str, Any], findings: list[Finding], *, of: str) -> list[str]:
    """Sentences, the shortest first: whether it is better than the linear model; the numbers; the worst finding.

    `of` says which rows.
    """
    said = [headline(facts), evidence(facts, of), reconstruction(facts), in_use(facts), worst(findings)]
    return [sentence for sentence in said if sentence]


def headline(facts: dict[str, Any]) -> str:
    """Better or worse than the linear model, in a few words."""
    name, found, others = facts["model"], facts.get("log_likelihood"), densities(facts)
    if found and not math.isfinite(found["mean"]):
        return f"{name} is of no use: log p(x) is not a number."
    if found and "ppca" in others:
        gaps = {key: clearly(found, about) for key, about in others.items()}
        told = " (it is told the condition, they are not)" if found.get("given_condition") else ""
        best = max(others, key=lambda key: float(others[key]["mean"]))
        words = f"{name} is {HOW[gaps['ppca']]} probabilistic PCA by log p(x)"
        if name == "ProbabilisticPCA":
            words = f"{name} is the linear model itself"
        elif len(gaps) > 1 and all(gap > 0 for gap in gaps.values()):
            words = f"{name} is better than every baseline by log p(x)"
        if best != "ppca" and gaps[best] < 0:
            joint = "and" if gaps["ppca"] < 0 else "but"
            words += f", {joint} worse than {NAMES.get(best, best.replace('_', ' '))}"
        return f"{words}{told}."
    again, pca = facts.get("reconstruction"), (facts.get("baselines") or {}).get("pca")
    if not again or not pca or pca.get("mean") is None:
        return f"{name} was measured, but there is no linear model to put beside it."
    gap = clearly(again, pca)
    how = "about as well as" if not gap else "better than" if gap < 0 else "worse than"
    return f"{name} reconstructs {how} PCA."


def densities(facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The baselines that log p(x) may be compared with."""
    known = facts.get("baselines") or {}
    return {key: about for key, about in known.items() if about.get("unit") == "nats" and about.get("mean") is not None}


def clearly(found: dict[str, Any], other: dict[str, Any]) -> int:
    """1 or -1 where one mean is above or below another by more than its error, else 0.

    By the difference row by row where that is known; else errors are added as if the rows were not the same ones, which
    errs on the safe side.
    """
    if "margin" in other:
        lead, above = (
            other["margin"],
            1 if other["unit"] == "nats" else -1,
        )  # a squared error is better where it is lower
        slight = 0.0 if above == 1 else SLIGHT * other["scaled"]["mean"]
        small = abs(lead["mean"]) <= max(CLEAR * lead["standard_error"], slight)
        return 0 if small else above if lead["mean"] > 0 else -above
    gap = float(found["mean"]) - float(other["mean"])
    error = math.hypot(found.get("standard_error") or 0.0, other.get("standard_error") or 0.0)
    return 0 if abs(gap) <= CLEAR * error else 1 if gap > 0 else -1


def evidence(facts: dict[str, Any], of: str) -> str:
    """log p(x) beside the baselines', and what its unit means."""
    found = facts.get("log_likelihood")
    if not found:
        return "It has no density, only a squared error in the data's units: how probable a row is, it cannot say."
    if not math.isfinite(found["mean"]):
        return ""
    given = " given its condition" if found.get("given_condition") else ""
    words = f"It gives {of} a mean log p(x){given} of {shown(found)} nats"
    others = densities(facts)
    if "ppca" in others:
        linear = others["ppca"]
        size = pluralize(linear.get("latent_dim", 0), "dimension")
        words += f"; probabilistic PCA, the exact linear model, with {size} {shown(linear)}"
        best = max(others, key=lambda key: float(others[key]["mean"]))
        if best != "ppca":
            words += f"; the best baseline, {NAMES.get(best, best.replace('_', ' '))}, {shown(others[best])}"
        if "bound" in str(linear.get("kind", "")):
            words += " (baselines see discrete rows with noise added, which makes theirs lower bounds)"
    if found.get("kind") == "pseudo-probability":
        return f"{words}. A Bernoulli on numbers between 0 and 1 is no density: that compares only with models alike."
    if found.get("kind") == "probability":
        bits = found.get("bits_per_dim")
        more = f", here {number(bits, 3)} bits for each number of a row" if bits is not None else ""
        return f"{words}. This is the logarithm of a probability: at most 0, higher is better{more}."
    return (
        f"{words}. This is the logarithm of a density in the data's units: it may be positive, higher is better, and "
        "only densities of the same columns compare."
    )


HOW = {1: "better than", 0: "not clearly different from", -1: "worse than"}
NAMES = {"factor_analysis": "factor analysis", "gaussian_mixture": "a Gaussian mixture"}
"""Baselines in words."""


def shown(about: dict[str, Any]) -> str:
    return with_error(float(about["mean"]), about.get("standard_error"))


def reconstruction(facts: dict[str, Any]) -> str:
    """The squared error beside PCA's and the mean's."""
    found, others = facts.get("reconstruction"), facts.get("baselines") or {}
    if not found:
        return ""
    pca, still = others.get("pca"), others.get("mean")
    of = "the features"
    if found.get("scaled", {}).get("uneven"):  # in the data's units one wide column would rule
        found, of = found["scaled"], "columns scaled as networks read them"
        pca, still = ({**about, **about["scaled"]} if about else about for about in (pca, still))
    told = f"Its reconstructions miss by {shown(found)} (squared error, summed over {of})"
    if not pca or pca.get("mean") is None:
        return f"{told}."
    name = f"PCA with {pluralize(pca.get('latent_dim', 0), 'dimension')}"
    if not pca["mean"]:
        words = f"{told}; {name} misses nothing, for the rows vary in no more directions"
    else:
        how = {0: "about as much as", -1: "less than", 1: "more than"}[clearly(found, pca)]
        words = f"{told}, {how} {name} ({shown(pca)})"
    if still and still.get("mean") is not None:
        share = 1 - float(found["mean"]) / still["mean"] if still["mean"] else 0.0
        kept = f"{share:.0%}" if share <= 0.995 else f"{share:.1%}"
        words += f"; {kept} of the variation is kept" if share > 0 else "; predicting the mean would be no worse"
    return words + "."


def in_use(facts: dict[str, Any]) -> str:
    """How many dimensions of the code vary."""
    units = facts.get("active_units")
    if not units:
        return ""
    count, of = int(units["count"]), int(units["of"])
    if not count:
        return f"None of the {of} dimensions of the code is in use: the code says nothing about a row."
    if of == 1:
        return "The one dimension of the code is in use."
    return f"{'All' if count == of else f'{count} of'} {of} dimensions of the code are in use."


def worst(findings: list[Finding]) -> str:
    """The gravest finding, and how many more there are."""
    if not findings:
        return "Nothing wrong was found."
    first, *more = ranked(findings)
    said = first.message if first.message.endswith((".", "!", "?")) else f"{first.message}."
    return f"The gravest finding: {said}" + (f" ({pluralize(len(more), 'more finding')} below.)" if more else "")
