"""Findings about what the decoder and the encoder give: another likelihood, a bounded output, a scale misread."""

from __future__ import annotations

import math
from collections.abc import Iterator

from isthmus.data_checks.suspect_columns import MAX_OFFSET
from isthmus.diagnosis.code_value import LOG_WIDER, CodeValue
from isthmus.diagnosis.context import OWN_CODE, DiagnosisContext
from isthmus.diagnosis.symptoms import far_worse_than_mean, hardly_trained, no_better_than_mean
from isthmus.evaluation.linear_reference import OUTPUT_BOUNDS
from isthmus.finding import Finding

GAIN_SIGMA = 3.0
"""Standard errors by which the gain of another likelihood must differ from 0."""
GAIN_PER_COLUMN_INFO, GAIN_PER_COLUMN_WARN = 0.08, 0.2
"""Nats per column that another likelihood gains from which it is worth mentioning, and worth a warning."""
SQUASHED = ("a sigmoid", "a tanh")
"""After what outputs cannot leave each of `OUTPUT_BOUNDS`."""
BOUND_SHARE = 0.9
"""Share of the interval that outputs fill if nothing else bounds them."""
MIN_OUTSIDE = 0.2
"""Share of numbers outside the outputs' interval that matters."""
MAX_KL_PER_DIM_NATS = 100.0
"""KL of a dimension that no loss with a KL term of some weight leaves."""
MIN_KL_PER_DIM_NATS, MIN_IDLE_KL_PER_DIM_NATS = 2.0, 5.0
"""KL of a dimension below which too little training explains what codes cost more than they save over codes from the
prior, and over codes of other rows: at first all codes move aside together."""
MAX_COST_RATIO = 2.0
"""KL, by its weight in the loss, over what it saves in distortion; at a minimum it is at most 1, on training rows."""
MIN_AMPLIFICATION = 5.0
"""Ratio of an encoder's outputs to the rows from which these are not what an untrained network makes of large rows."""
VALUE_SIGMA = 3.0
"""Standard errors that what codes save may be larger than measured, and that it must differ from 0."""
USUAL_LOG_VARIANCES = (-30.0, 20.0)
"""Log-variances beyond which a message names them."""
MIN_NOISE_LOSS = 0.5
"""Share of the variance that drawing the code loses if the decoder was trained without."""


def wrong_likelihood(context: DiagnosisContext) -> Iterator[Finding]:
    """Another likelihood gives rows that nothing was fitted to a higher log p(x)."""
    gain, name = context.value("likelihood_gain"), context.value("likelihood_gain.name")
    if gain is None or gain < GAIN_SIGMA * context.error("likelihood_gain") or hardly_trained(context):
        return
    per_column = gain / context.fitted.schema.size
    if per_column < GAIN_PER_COLUMN_INFO:
        return
    current, largest = (context.value(f"likelihood_gain.{key}") for key in ("current", "largest"))
    remedy, kind = {
        "student_t": (context.retrain(likelihood="student_t"), "the residuals have heavy tails"),
        "negative_binomial": (counts_remedy(context), "the rows are counts that vary more than the likelihood allows"),
        "beta_binomial": (levels_remedy(context, int(largest) + 1), "the rows are integer levels of a bounded scale"),
    }[name]
    yield Finding(
        "wrong-likelihood",
        "warning" if per_column >= GAIN_PER_COLUMN_WARN else "info",
        f"likelihood {name!r} instead of {current!r} gains {gain:.2f} nats per row, column by column on held-out rows",
        remedy,
        {"gain": gain, "standard_error": context.error("likelihood_gain"), "likelihood": name, "current": current},
        kind,
    )


def counts_remedy(context: DiagnosisContext) -> str:
    """Retrain with a negative binomial; it needs an integer type."""
    line = context.retrain(likelihood="negative_binomial")
    return line if context.fitted.schema.discrete else integer_rows(context, line, "int64")


def levels_remedy(context: DiagnosisContext, levels: int) -> str:
    """Retrain on integer levels."""
    line = context.retrain(likelihood="beta_binomial", levels=levels)
    return integer_rows(context, line, "uint8")


def integer_rows(context: DiagnosisContext, line: str, dtype: str) -> str:
    """A remedy on rows that are converted to integers."""
    if ".fit(X" in line:
        return line.replace(".fit(X", f".fit(X.astype({dtype!r})")
    return f"convert the numbers of the file to integers, then:\n{line}"


def decoder_range(context: DiagnosisContext) -> Iterator[Finding]:
    """Outputs stay within an interval that the rows leave."""
    low, high, outside = (context.value(f"variance_explained.{key}") for key in ("low", "high", "outside"))
    if context.convention is None or low is None or outside < MIN_OUTSIDE:
        return
    for name, (least, largest) in zip(SQUASHED, OUTPUT_BOUNDS, strict=True):
        if low >= least and high <= largest and high - low > BOUND_SHARE * (largest - least) / 2:
            yield Finding(
                "decoder-range",
                "error",
                f"the decoder's output lies within [{least:g}, {largest:g}], as after {name}, but {outside:.0%} of the "
                "numbers of the rows lie outside its range",
                f"{OWN_CODE}drop the decoder's last activation, or scale the rows to [{least:g}, {largest:g}]",
                {"low": low, "high": high, "outside": outside},
                "the decoder cannot reach these numbers, whatever the code",
            )
            return


def kl_not_minimized(context: DiagnosisContext) -> Iterator[Finding]:
    """The KL of a wrapped model is so large, for what the codes save, that no loss kept it down."""
    value, convention = context.code_value, context.convention
    if convention is None or value is None or not convention.beta:
        return
    reason = reason_for_kl(context, value, convention.effective_beta)
    if not reason:
        return
    low, high = value.log_variances
    message = f"KL(q(z|x) || p(z)) is {value.kl:,.0f} nats per row, {reason}"
    if low < USUAL_LOG_VARIANCES[0] or high > USUAL_LOG_VARIANCES[1]:
        message += f"; log-variances lie between {low:,.0f} and {high:,.0f}"
    yield Finding(
        "kl-not-minimized",
        "error",
        message,
        f"{OWN_CODE}add the KL term to the loss, loss = reconstruction + beta * kl, with kl = 0.5 * (mean^2 + "
        "exp(log_variance) - 1 - log_variance), summed over latent dimensions; check each sign",
        {
            "kl": value.kl,
            "latent_dim": context.code_size,
            "effective_beta": convention.effective_beta,
            "saved_over_prior": value.over_prior.mean,
            "saved_over_other_rows": value.over_others.mean,
            "log_variance_min": low,
            "log_variance_max": high,
        },
        "the KL term or a part of it has the wrong sign, or was left out, or the encoder's second output is no "
        "log-variance",
    )


def reason_for_kl(context: DiagnosisContext, value: CodeValue, beta: float) -> str:
    """Why the KL cannot have been minimised with weight `beta`, in a clause; empty if it can.

    At a minimum of distortion + beta * KL, codes from the prior, which cost no KL, give no lower loss: beta * KL is at
    most what codes from q(z given x) save over them. Nor does a wider q(z given x): what it saves in beta * KL is at
    most what it costs in distortion. Both say nothing of networks that are not trained, or see rows on another scale.
    """
    size, mean_row = context.code_size, no_better_than_mean(context)
    untrained = value.amplification < MIN_AMPLIFICATION
    if not value.kl < MAX_KL_PER_DIM_NATS * size:  # nor is NaN
        return "" if untrained and mean_row else f"more than {MAX_KL_PER_DIM_NATS:g} for each dimension"
    weight = "" if beta == 1 else f" (times {beta:.3g}, its weight)"
    (cost, error), saved = value.cost_of_width, value.kl_of_width
    narrow = saved > size and MAX_COST_RATIO * (cost + VALUE_SIGMA * error) < beta * saved
    if narrow and not (untrained and mean_row):
        wider = f"q(z|x) could be {math.exp(LOG_WIDER):.0f} times as wide"
        return f"of which {saved:.1f}{weight} buy {max(cost, 0):.2f} nats of distortion: {wider}"
    (saved, error), (over_others, others_error) = value.over_prior, value.over_others
    unused = saved < VALUE_SIGMA * error or far_worse_than_mean(context)
    if value.kl < MIN_KL_PER_DIM_NATS * size or (untrained and unused):
        return ""
    if beta * value.kl > MAX_COST_RATIO * (saved + VALUE_SIGMA * error):
        return f"yet the codes save {saved:.2f} nats of distortion over codes drawn from the prior{weight}"
    idle = value.kl > MIN_IDLE_KL_PER_DIM_NATS * size and (context.value("column_offset") or 0.0) < MAX_OFFSET
    if idle and beta * value.kl > over_others + VALUE_SIGMA * others_error:
        return f"yet the codes save {over_others:.2f} nats of distortion over those of other rows{weight}"
    return ""


def no_noise(context: DiagnosisContext) -> Iterator[Finding]:
    """The decoder reconstructs from the mean of q(z|x), but not from draws: it was trained without noise."""
    centre, sampled = context.value("variance_explained"), context.value("variance_explained.sampled")
    if context.convention is None or centre is None or sampled is None:
        return
    if centre < MIN_NOISE_LOSS or centre - sampled < MIN_NOISE_LOSS:
        return
    yield Finding(
        "no-noise",
        "error",
        f"reconstructions from the mean of q(z|x) explain {centre:.0%} of the variance, from a draw only "
        f"{max(sampled, 0):.0%}",
        f"{OWN_CODE}decode a draw, mean + exp(0.5 * log_variance) * torch.randn_like(mean); and check that the second "
        "output is what scale_output says",
        {"centre": centre, "sampled": sampled},
        "the decoder was trained on the mean alone, or the encoder's second output is no log-variance",
    )
