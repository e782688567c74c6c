"""Methods that only some models have: those with a code, a prior, or log p(x); arguments that methods do not have."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any

from isthmus.errors import unknown


def requires(capability: str, otherwise: str) -> Any:
    """Make a method available only on models with this capability; `otherwise` ends the error's sentence."""

    def check(estimator: Any) -> None:
        able = estimator.capabilities
        if not getattr(able, capability):
            no_density = capability == "has_density" and able.has_rate
            raise AttributeError(f"{type(estimator).__name__} {NO_LOG_LIKELIHOOD if no_density else otherwise}")

    return functools.partial(AvailableMethod, check)


class AvailableMethod:
    """A method that some estimators lack: `hasattr` is False there, as with scikit-learn's `available_if`.

    The error of the latter says that there is no such attribute; this one says why, and what to call.
    """

    def __init__(self, check: Callable[[Any], None], method: Callable[..., Any]):
        functools.update_wrapper(self, method)  # type: ignore[arg-type]
        self.check, self.method = check, method

    def __get__(self, estimator: Any, owner: type | None = None) -> Any:
        if estimator is None:
            return self.method
        self.check(estimator)
        return types.MethodType(self.method, estimator)


NO_LOG_LIKELIHOOD = (
    "has no log p(x): the cross-entropy of numbers between 0 and 1 is no density. Use score(X), or "
    "likelihood='continuous_bernoulli'."
)
encodes = requires("encodes", "has no code. Use score_samples or sample.")
samples = requires("samples", "has no prior to sample from. Train a VAE to draw examples.")
scores = requires("has_density", "has no density, only a squared error. Use score(X), or a VAE for log p(x).")


def refuse_others(cls: type, name: str, others: Mapping[str, Any]) -> None:
    """Raise TypeError for keyword arguments that a method does not have; unlike Python's, it says what was meant.

    Args:
        cls: the class of the estimator.
        name: of the method.
        others: what it got as `**others`.
    """
    for other in others:
        _self, *parameters = inspect.signature(getattr(cls, name)).parameters.values()
        known = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
        raise TypeError(str(unknown(f"argument of {name}", other, known)))
