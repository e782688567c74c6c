"""What training says: why it cannot go on, with the likely cause and what to try; and what may spoil a repetition."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

from isthmus.errors import TrainingError


def gradient_error(step: int, total_steps: int, values: Mapping[str, float], learning_rate: float) -> TrainingError:
    """The error of a gradient that is not finite at a step; `values` are the epoch's means of the terms."""
    bad = [name for name, value in values.items() if not math.isfinite(value) and name != "loss"]
    what = f"the term {bad[0]!r} is not finite" if bad else "the gradient of the loss is not finite"
    cause = (
        f"the learning rate of {learning_rate:g} is too high"
        if step > 1
        else "the data or the network's outputs are too large for its precision"
    )
    return TrainingError(
        f"training stopped at step {step} of {total_steps}: {what}. Probably {cause}. "
        f"Try learning_rate={min(1e-3, learning_rate / 10):g} or scaling='standard'. The last finite weights are kept."
    )


def validation_error(
    step: int, total_steps: int, values: Mapping[str, float], learning_rate: float, selected: bool
) -> TrainingError | None:
    """The error of validation values that are not finite, which cannot select weights; None if all are finite."""
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if not bad:
        return None
    kept = "The best weights so far are kept" if selected else "No weights were selected before"
    return TrainingError(
        f"training stopped at step {step} of {total_steps}: {bad[-1]!r} of the validation rows is "
        f"not finite. Probably the learning rate of {learning_rate:g} is too high, or a row lies "
        f"far outside the training data (see isthmus check). {kept}."
    )


def warn_of_global_draws() -> None:
    """Warn of draws that other threads may have changed."""
    warnings.warn(
        "A network or a term drew from torch's global random generator, as dropout does. Its state is restored, but "
        "where other threads drew at the same time, the same seed gives other weights.",
        UserWarning,
        stacklevel=3,
    )
