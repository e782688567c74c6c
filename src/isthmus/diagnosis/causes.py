"""Which finding explains which: what follows from another one is reported under it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from isthmus.finding import Finding

NO_BETTER = ("worse-than-mean", "worse-than-pca", "worse-than-baseline", "low-sample-diversity")
"""The model is no better than something simpler: never a cause, except of one another. `worse-than-input` is not among
them: that a denoiser does harm is reported beside its cause, for under it only the name would be left of it."""
UNUSED_CODE = ("posterior-collapse", "too-many-dimensions", "too-few-dimensions", "dead-units", "latent-holes")
"""What a code looks like that training did not shape."""
LOOSE = ("prior-hole", "loose-bound")
"""What the posterior and the prior look like of a model that does not fit the rows."""

FOLLOWS: dict[str, tuple[str, ...]] = {
    "leak": ("duplicate-rows", "memorization", "not-measured"),
    "unlike-training": (
        "distribution-shift",
        "overfitting",
        "wrong-likelihood",
        "labels-not-encoded",
        "condition-ignored",
        *NO_BETTER,
        *UNUSED_CODE,
        *LOOSE,
    ),
    "decoder-range": (*NO_BETTER, *UNUSED_CODE, *LOOSE, "fixed-scale", "wrong-likelihood"),
    "kl-not-minimized": (*NO_BETTER, *UNUSED_CODE, *LOOSE, "fixed-scale", "no-noise"),
    "no-noise": (*NO_BETTER, *UNUSED_CODE, *LOOSE, "fixed-scale"),
    "effective-beta": (*NO_BETTER, *UNUSED_CODE, *LOOSE, "not-converged", "condition-ignored", "labels-not-encoded"),
    "learning-rate": (*NO_BETTER, *UNUSED_CODE, *LOOSE, "not-converged", "overfitting", "wrong-likelihood"),
    "large-offset": (*NO_BETTER, *UNUSED_CODE, *LOOSE, "not-converged", "unscaled-columns", "different-scales"),
    "fixed-scale": (*NO_BETTER, *LOOSE, "not-converged", "overfitting"),
    "wrong-likelihood": (
        *NO_BETTER,
        *LOOSE,
        "too-many-dimensions",
        "too-few-dimensions",
        "integer-valued-floats",
        "scale-floor",
        "fixed-scale",
    ),
    "overfitting": (*NO_BETTER, *UNUSED_CODE, *LOOSE, "not-converged", "memorization", "few-rows"),
    "warmup-too-long": ("not-converged",),
    "identity-leak": ("identity-mapping", "worse-than-pca", "too-many-dimensions", "latent-holes"),
    "too-many-dimensions": (*NO_BETTER, "posterior-collapse", "not-converged"),
    "too-few-dimensions": (*NO_BETTER, "not-converged"),
    "not-converged": (*NO_BETTER, *UNUSED_CODE, *LOOSE, "wrong-likelihood"),
    "penalty-hides-reconstruction": (*NO_BETTER, *UNUSED_CODE, *LOOSE, "posterior-collapse", "not-converged"),
    "posterior-collapse": (*NO_BETTER, *LOOSE),
    "worse-than-input": ("worse-than-pca", "worse-than-baseline", "too-few-dimensions"),
    "worse-than-mean": (*NO_BETTER, *UNUSED_CODE, *LOOSE, "unscaled-columns", "different-scales"),
    "worse-than-pca": ("worse-than-baseline",),
}
"""The codes that each code explains, causes first: of two that explain each other, the first is the cause. Equally
severe findings are reported in this order, then in that of `FINDINGS`. A new cause is one entry."""


def follows(findings: Iterable[Finding]) -> Mapping[str, Collection[str]]:
    """`FOLLOWS` for these findings: a label among the columns explains no copies of rows."""
    copies = any(finding.code == "leak" and "share" in finding.evidence for finding in findings)
    return FOLLOWS if copies else {**FOLLOWS, "leak": ()}
