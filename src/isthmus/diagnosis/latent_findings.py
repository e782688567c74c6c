"""Findings about the code: what it says, how many dimensions it has, what reads it."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.diagnosis.context import SUMMED, DiagnosisContext
from isthmus.diagnosis.generative_findings import nothing_to_code
from isthmus.finding import Finding

SILENT = 0.1
"""Nats an example under which a code says nothing."""
IDLE = 0.1
"""Nats under which a dimension says nothing: chance alone lets directions of noise differ by as much in few rows."""
STANDS_OUT = 3.0
"""Times that a direction of what is missed stands out of noise, from which on a further dimension is missed."""
DEAD = 0.25
"""Share of a sparse code's units that never fire, from which on they are missed."""
COPIED = 0.05
"""Share of the variance of meaningless rows that a network loses which has learned to copy."""
HOLED = 0.15
"""Share of paths with a hole, of which chance alone makes a twentieth."""
LEAKED = 0.5
"""Share of the labels that guessing gets wrong, and that the code tells, from which on it holds the condition too."""


def collapse(case: DiagnosisContext) -> Iterator[Finding]:
    """A code, or more than half of its dimensions, that is the prior whatever x is."""
    kl, used, of = case.mean("kl"), talking(case), case.at("active_units", "of")
    if kl is None or used is None:
        return
    evidence = {"kl": kl, "in_use": used, "latent_dim": of, "mutual_information": case.mean("mutual_information")}
    told = f"KL(q(z|x) || p(z)) is {kl:.2f} nats an example, and {used} of {of} dimensions carry {IDLE:g} nats or more"
    if nothing_to_code(case):
        return
    if used == 0 or kl < SILENT:
        yield Finding(
            "posterior-collapse",
            "error",
            f"the code says nothing of x: {told}",
            stronger_code(case),
            evidence,
            "the decoder found it cheaper to do without the code than to pay its KL term",
        )
    elif used < of / 2:
        yield Finding(
            "posterior-collapse",
            "warning",
            f"more than half of the code says nothing: {told}",
            stronger_code(case),
            evidence,
            "dimensions that had not earned their KL term when it reached its full weight were given up",
        )


def talking(case: DiagnosisContext) -> int | None:
    """Latent dimensions that say something of x; those whose code varies, where the KL of each is not known."""
    per_dim = case.at("kl_per_dim")
    return case.at("active_units", "count") if per_dim is None else sum(kl >= IDLE for kl in per_dim)


def stronger_code(case: DiagnosisContext) -> str:
    """Less weight on the KL term, or a later rise to it."""
    if case.convention is not None:
        return SUMMED
    beta = getattr(case.model, "beta", 1.0)
    if beta > 1:
        return case.again(beta=1.0)
    return case.first({"warmup": 0.5} if case.model.warmup < 0.5 else {}, {"beta": 0.5 * beta})


def too_many(case: DiagnosisContext) -> Iterator[Finding]:
    """More latent dimensions than are used."""
    used, of, per_dim = talking(case), case.at("active_units", "of"), case.at("kl_per_dim")
    if not case.density or not used or per_dim is None:
        return
    evidence = {"in_use": used, "latent_dim": of, "kl_per_dim": per_dim}
    if of / 2 <= used < of:
        yield Finding(
            "too-many-dimensions",
            "info",
            f"{of - used} of {of} latent dimensions say nothing (under {IDLE:g} nats each)",
            case.again(latent_dim=used),
            evidence,
            "the data have no use for more, which costs nothing but time; log p(x) is the same without them",
        )


def too_few(case: DiagnosisContext) -> Iterator[Finding]:
    """All dimensions in use, and structure left over."""
    used, of, stands_out = talking(case), case.at("active_units", "of"), case.mean("residual_eigenvalue_ratio")
    if used != of or stands_out is None or stands_out < STANDS_OUT:
        return
    yield Finding(
        "too-few-dimensions",
        "info",
        f"all {of} latent dimensions are in use, and one direction of what reconstructions miss is {stands_out:.1f} "
        "times as strong as noise would be",
        case.again(latent_dim=2 * of),
        {"in_use": used, "latent_dim": of, "residual_eigenvalue_ratio": stands_out},
        "a further dimension would find something to say",
    )


def dead_units(case: DiagnosisContext) -> Iterator[Finding]:
    """Units of a sparse code that never fire."""
    never, of = case.at("active_units", "never"), case.at("active_units", "of")
    if case.density or not never or never < DEAD:
        return
    sparsity = getattr(case.model, "sparsity", None)
    remedy = case.again(latent_dim=max(1, round(of * (1 - never))))
    if sparsity and sparsity.startswith(("l1", "kl", "jump_relu")):
        remedy = case.again(sparsity=f"top_k({max(1, of // 16)})")
    yield Finding(
        "dead-units",
        "warning",
        f"{never:.0%} of {of} units are 0 for every row",
        remedy,
        {"never": never, "latent_dim": of},
        "units that lost early get no gradient, and stay lost",
    )


def identity_leak(case: DiagnosisContext) -> Iterator[Finding]:
    """An autoencoder wide enough to copy, which does."""
    lost, size = case.mean("identity_test"), case.model.schema_.size
    if lost is None or case.model.latent_dim < size or lost > COPIED:
        return
    yield Finding(
        "identity-leak",
        "warning",
        f"rows with shuffled columns, which mean nothing, come back as well: {1 - lost:.1%} of their variance",
        case.again(latent_dim=max(1, size // 4)),
        {"lost": lost, "latent_dim": case.model.latent_dim, "features": size},
        f"a code of {case.model.latent_dim} numbers for {size} features can copy instead of learning what the data "
        "are like; a corruption or a sparsity would forbid it as well",
    )


def labels_unread(case: DiagnosisContext) -> Iterator[Finding]:
    """Labels that codes do not tell."""
    probes = case.at("probes")
    if probes is None or case.model.schema_.condition is not None:
        return
    best = max((probes[name] for name in ("linear", "nearest")), key=lambda about: about["mean"])
    guess = probes["commonest"]["mean"]
    if best["mean"] - guess > 2 * best["standard_error"]:
        return
    yield Finding(
        "labels-unread",
        "warning",
        f"labels are read from codes no better than guessed: {best['mean']:.1%} right, the commonest is {guess:.1%}",
        case.other("ConditionalVAE", latent_dim=case.model.latent_dim),
        {"read": best["mean"], "commonest": guess},
        "the code keeps what reconstructs best, and what tells these labels apart is not in it, or not in x; or labels "
        "and rows are not in the same order",
    )


def conditions(case: DiagnosisContext) -> Iterator[Finding]:
    """A condition that the decoder does without, or that the code holds a second time."""
    gain, about = case.mean("condition"), case.at("condition")
    if gain is None:
        return
    if gain < max(3 * case.error("condition"), SILENT):
        yield Finding(
            "condition-ignored",
            "warning",
            f"x is as likely given another row's condition: the true one is worth {gain:.2f} nats",
            case.again(latent_dim=max(1, case.model.latent_dim // 2)),
            {"gain": gain},
            "the code tells the decoder all that the condition does, or the condition says nothing of x",
        )
    if "read_from_codes" in about:
        read, guess = about["read_from_codes"]["mean"], about["commonest"]["mean"]
        if read - guess > LEAKED * (1 - guess):
            yield Finding(
                "condition-leak",
                "warning",
                f"the code holds the condition: {read:.0%} are read from it, {guess:.0%} by guessing",
                case.first({"prior": "conditional"}, {"beta": 2.0 * getattr(case.model, "beta", 1.0)}),
                {"read": read, "commonest": guess},
                "a sample whose condition is set to another will keep much of the old one in its code",
            )


def holes(case: DiagnosisContext) -> Iterator[Finding]:
    """Straight ways between codes that lead through places where no data lie."""
    known = case.at("paths") or {}
    if not known:
        return
    # A model may well find likely what it draws in between, however far that is from data: either is a hole.
    name, about = max(known.items(), key=lambda item: item[1]["holes"]["mean"])
    share, error = about["holes"]["mean"], about["holes"]["standard_error"]
    if share - 2 * error < HOLED:
        return
    by_nats = name == "log_likelihood"
    lost = f"{about['mean']:.2f} nats less likely" if by_nats else f"{about['mean']:.3g} farther from training rows"
    yield Finding(
        "latent-holes",
        "warning" if case.density else "info",
        f"{share:.0%} of straight paths between two codes lead through a hole: the middle is {lost} than the ends",
        case.first({"prior": "mixture(50)"}, {"beta": 2.0 * getattr(case.model, "beta", 1.0)})
        if case.density
        else case.other("VAE", latent_dim=case.model.latent_dim),
        {"holes": share, "standard_error": error, "worse": about["mean"]},
        "codes lie in islands that the KL term has not joined; a mixture as prior at least knows where they are"
        if case.density
        else "nothing in its loss asks a plain autoencoder what lies between codes: that is to be expected",
    )


FINDINGS = (holes, collapse, too_many, too_few, dead_units, identity_leak, labels_unread, conditions)
