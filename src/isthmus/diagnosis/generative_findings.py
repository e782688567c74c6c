"""Findings about what a model is good for: against simple models, as a source of samples, as a measure."""

from __future__ import annotations

import math
from collections.abc import Iterator

from isthmus.diagnosis.context import DiagnosisContext
from isthmus.diagnosis.training_findings import smaller
from isthmus.finding import Finding

NO_BETTER = 0.99
"""Share of the mean's squared error that is as good as all of it."""
WORSE = 1.05
"""Times PCA's squared error, from which on PCA is to be taken."""
FEWEST = 10
"""Rows under which an error is not called one."""
NOISE = 1.5
"""Times the share of dimensions that PCA keeps, up to which their share of the variance is that of noise."""
SIMPLE = (("baselines", "mean"), ("baselines", "pca"))
ALIKE = 0.1
"""Share of the variance of reconstructions under which samples look alike."""
HOLE = 1.0
"""Nats that a better prior gains, from which on samples miss where codes are."""
SURE = 4.0
"""Standard errors that are no accident among the many things that are looked for."""
TOLD = 0.05
"""More rows than half told apart, from which on it matters."""
HEAVY, LOOSE, MOST = 0.1, 0.3, 0.9
"""Share of rows with too heavy weights, or nats of the last doubling of draws, that are worth a word; nats, and a share
of rows, that are too much."""


def worse_than_simple(case: DiagnosisContext) -> Iterator[Finding]:
    """Reconstructions no better than the mean, or than PCA's; log p(x) below the exact linear model's."""
    own, mean, pca = (case.mean(*path, "scaled") for path in (("reconstruction",), *SIMPLE))
    if own is None or mean is None or pca is None:
        return
    evidence = {"squared_error": own, "mean": mean, "pca": pca, "unit": "as networks read the columns"}
    useless = own > NO_BETTER * mean and case.facts["rows"] >= FEWEST
    if nothing_to_code(case):
        yield Finding(
            "nothing-to-code",
            "info",
            f"PCA of this size keeps {1 - pca / mean:.1%} of the variance, as much as it would of noise",
            "nothing is to be done: columns that do not hang together need no code",
            {"pca": pca, "mean": mean, "latent_dim": case.model.latent_dim, "features": case.model.schema_.size},
            "no linear code of this size says anything of these columns",
        )
        return
    over_mean, over_pca = (case.mean(*path, "margin") or 0.0 for path in SIMPLE)
    if useless and over_mean < 2 * case.error(*SIMPLE[0], "margin"):
        yield Finding(
            "worse-than-mean",
            "error",
            f"the reconstructions are no better than the training mean: squared error {own:.4g}, the mean's {mean:.4g}",
            case.again(epochs=longer(case)),
            evidence,
            "nothing of x goes through the code",
        )
    elif not case.density and own > WORSE * pca and over_pca < -2 * case.error(*SIMPLE[1], "margin"):
        yield Finding(
            "worse-than-pca",
            "warning",
            f"PCA of the same size reconstructs better: squared error {own:.4g}, PCA's {pca:.4g}",
            case.first({"hidden": ()}, {"epochs": longer(case)}),
            evidence,
            "the network is not trained to the end, or knows its rows by heart; without hidden layers it tends to PCA",
        )
    lead = case.mean("baselines", "ppca", "margin")
    if lead is None or useless:
        return
    error = case.error("baselines", "ppca", "margin")
    better = {name: case.mean("baselines", name, "margin") or 0.0 for name in ("factor_analysis", "gaussian_mixture")}
    best = min(better, key=lambda name: better[name])
    if lead >= -2 * error and better[best] < -2 * case.error("baselines", best, "margin"):
        yield Finding(
            "worse-than-baseline",
            "warning",
            f"{best.replace('_', ' ')} gives the same rows {-better[best]:.2f} nats more",
            case.again(epochs=longer(case)),
            {"margin": better[best], "standard_error": case.error("baselines", best, "margin")},
            "a density without a network is the better one here: the network is too small, or not trained to the end",
        )
    if lead < -2 * error:
        yield Finding(
            "worse-than-pca",
            "warning",
            f"probabilistic PCA, which is exact and instant, gives the same rows {-lead:.2f} nats more",
            case.other("ProbabilisticPCA", latent_dim=case.model.latent_dim),
            {"margin": lead, "standard_error": error},
            "the rows are too few for a network this large, or it is not trained to the end",
        )


def nothing_to_code(case: DiagnosisContext) -> bool:
    """Whether PCA keeps no more of the variance than it would of noise."""
    mean, pca = (case.mean(*path, "scaled") for path in SIMPLE)
    size, sequence = case.model.schema_.size, case.model.schema_.sequence
    if not mean or pca is None or sequence or case.model.latent_dim >= size / 2:
        return False
    return 1 - pca / mean < NOISE * case.model.latent_dim / size


def longer(case: DiagnosisContext) -> int:
    """Twice the epochs that were run."""
    return 2 * max(len(case.history), 20)


def prior_hole(case: DiagnosisContext) -> Iterator[Finding]:
    """Codes that lie elsewhere than the prior's draws."""
    gain = case.mean("refit_gain")
    if gain is None or gain < max(HOLE, 3 * case.error("refit_gain")):
        return
    yield Finding(
        "prior-hole",
        "warning",
        f"the prior is not where codes are: a mixture fitted to these gains {gain:.2f} nats an example",
        case.first({"prior": "refit"}, {"prior": "refit(50)"}),
        {"gain": gain, "aggregate_kl": case.mean("aggregate_kl")},
        "the KL term weighs too little to draw the codes onto the prior, so samples are decoded from places that "
        "training never saw",
    )


def samples_alike(case: DiagnosisContext) -> Iterator[Finding]:
    """Samples that vary far less than reconstructions do, or than data."""
    drawn, again = case.mean("sample_spread"), case.at("sample_spread", "of_reconstructions")
    mean, pca = case.mean("baselines", "mean"), case.mean("baselines", "pca")
    if drawn is None or nothing_to_code(case):
        return
    # What a code of this size can explain at all, where it is known: noise is not to be held against samples.
    reach = max(again, 1 - pca / mean if pca is not None and mean else 0.0)
    if drawn > ALIKE * reach:
        return
    lighter = {"beta": 0.5 * getattr(case.model, "beta", 1.0)}
    yield Finding(
        "samples-alike",
        "warning",
        f"all samples look alike: what is decoded from the prior has {drawn:.1%} of the data's variance, "
        f"reconstructions have {again:.1%}",
        case.first({"warmup": 0.5} if again < ALIKE else {"prior": "refit"}, lighter),
        {"samples": drawn, "reconstructions": again},
        "whatever is drawn, the decoder answers with something near the mean",
    )


def loose(case: DiagnosisContext) -> Iterator[Finding]:
    """An estimate of log p(x) that its draws do not carry."""
    about = case.at("log_likelihood")
    if about is None:
        return
    above = about["khat_above"] or 0.0
    if above <= HEAVY and about["last_doubling_gain"] <= HEAVY:
        return
    yield Finding(
        "loose-evidence",
        "warning" if about["last_doubling_gain"] > LOOSE or above > MOST else "info",
        f"log p(x) is a loose bound: in {above:.0%} of the rows few draws carry it (Pareto k-hat above "
        f"0.7), and the last doubling of draws changed it by {about['last_doubling_gain']:+.2f} nats",
        case.annealed(),
        {
            "khat_above": above,
            "last_doubling_gain": about["last_doubling_gain"],
            "ess": about["ess"],
            "draws": about["draws"],
        },
        "q(z|x) misses part of the true posterior, so that rare draws weigh most",
    )


def memorised(case: DiagnosisContext) -> Iterator[Finding]:
    """Samples that are copies of training rows."""
    close, usual = case.at("copies", "close"), case.at("copies", "close", "of_data")
    to_train = case.at("copies", "to_train")
    if close is None or to_train is None:
        return
    sure = (to_train["mean"] - to_train["expected"]) / max(to_train["standard_error"], 1e-9)
    if sure < SURE or close["mean"] - usual["mean"] < 2 * math.hypot(close["standard_error"], usual["standard_error"]):
        return
    yield Finding(
        "memorised",
        "warning",
        f"samples are copies of training rows: {close['mean']:.0%} lie as near to one as {usual['mean']:.0%} of other "
        "rows do",
        smaller(case),
        {"close": close["mean"], "expected": usual["mean"], "nearest_is_training": to_train["mean"], "sigma": sure},
        "the decoder stores rows instead of what they have in common: it is large for so few of them",
    )


def unlike_training(case: DiagnosisContext) -> Iterator[Finding]:
    """Rows to judge by that are told from training rows without any model."""
    about = case.at("classifier", "of_data")
    if about is None or about["mean"] - 0.5 < max(SURE * about["standard_error"], TOLD):
        return
    yield Finding(
        "unlike-training",
        "warning",
        f"a classifier tells these rows from training rows in {about['mean']:.0%} of cases; half would be chance",
        "shuffle the rows before splitting them, or judge the model on rows like those that it will meet",
        {"accuracy": about["mean"], "standard_error": about["standard_error"]},
        "they come from another source, time or order than the training rows: numbers on them are about something else "
        "than what was learned",
    )


FINDINGS = (memorised, unlike_training, worse_than_simple, prior_hole, samples_alike, loose)
