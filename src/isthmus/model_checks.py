"""What is checked of a model before it trains or reads rows: its distributions, and what it leaves out of rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.distributions import Distribution

from isthmus.batch import Batch
from isthmus.distributions.independent import LightDistribution
from isthmus.errors import InputError
from isthmus.latent_model import LatentModel, Model, require_distribution
from isthmus.random_streams import seeded
from isthmus.user_priors import ModuleDensity, ModulePrior, PriorBySignature
from isthmus.wording import one_line


def no_record(model: Model) -> InputError:
    """The error of a model that `isthmus.fit` did not train, where no rows say what it is a model of."""
    kind, name = type(model).__name__, model.estimator_name
    if name:
        return InputError(f"model must be the fitted {name}, got the {kind} within it. Pass the {name}.")
    what = "Call isthmus.fit(model, X, loss), or pass isthmus.wrap(model).on(X) if your own loop trained it."
    return InputError(f"{kind} must be fitted first. {what}")


def check_composition(model: Model, batch: Batch) -> None:
    """Ask a new model for its posterior and its prior, and refuse what could not be trained or scored.

    Raises:
        InputError: if q(z given x) cannot be drawn from, or is a point in a model whose other parts have densities; if
            p(z) is no distribution over codes; or if the corruption does not keep the shape of rows.
    """
    if isinstance(model, LatentModel):
        require_distribution("posterior", model.posterior)
        require_distribution("likelihood", model.likelihood)
    was_training = model.training
    model.eval()
    if getattr(getattr(model, "prior", None), "wants_gradient", False):
        warnings.warn(
            "The prior's tensors require a gradient, but a distribution of torch is not trained. To train it, pass a "
            "torch.nn.Module with log_prob and sample.",
            UserWarning,
            stacklevel=2,
        )
    with torch.no_grad(), seeded(0):
        shape = tuple(batch.x.shape[1:])
        q = asked("posterior", f"read rows of shape {shape}", model, lambda: model.infer(batch))
        prior = asked("prior", "give a distribution over codes", model, lambda: model.prior_for(batch))
        if isinstance(prior, ModuleDensity):  # which only generation asks for draws, after training
            must = "give codes by sample and their log-densities by log_prob"
            asked(
                "prior",
                must,
                model,
                lambda: prior.log_prob(prior.sample((2,))),
                "sample(self, n) and log_prob(self, z)",
            )
        damaged = asked("corruption", "keep the shape of rows", model, lambda: model.corrupt(batch))
    model.train(was_training)
    if not isinstance(damaged, torch.Tensor) or damaged.shape != batch.x.shape:
        given = tuple(damaged.shape) if isinstance(damaged, torch.Tensor) else type(damaged).__name__
        raise InputError(f"corruption must keep the shape of rows, {tuple(batch.x.shape)}, got {given}.")
    if prior is not None and not hasattr(prior, "log_prob"):
        raise InputError(f"prior must give a distribution over codes, got {type(prior).__name__}.")
    name = type(q).__name__
    if not isinstance(q, LightDistribution):
        raise InputError(
            f"posterior must give a LightDistribution, whose draws say their density, got {name}. "
            "Use one of isthmus.distributions, or subclass LightDistribution."
        )
    if model.capabilities.has_density and not q.has_density:
        raise InputError(
            f"posterior must give a density over codes, got {name}, a point. Use a family such as DiagonalNormal, "
            "or an Autoencoder."
        )
    if isinstance(prior, Distribution) and not is_over_codes(prior, model.code.shape, len(batch.x)):
        shapes = f"event shape {tuple(prior.event_shape)} and batch shape {tuple(prior.batch_shape)}"
        independent = "Wrap it: torch.distributions.Independent(prior, 1)." if prior.batch_shape else "Change its size."
        raise InputError(
            f"prior must be a distribution over codes of shape {model.code.shape}, one for all rows or one for each, "
            f"got {type(prior).__name__} with {shapes}. {independent}"
        )


def asked(part: str, must: str, model: Model, call: Callable[[], Any], method: str = "forward") -> Any:
    """What a part gives; whatever a module of the user's own raises is named by an InputError, as its cause."""
    try:
        return call()
    except InputError:
        raise
    except Exception as error:
        given = getattr(model, part, model)
        own = type(given.module if isinstance(given, PriorBySignature | ModulePrior) else given).__name__
        reason = f"{type(error).__name__}: {one_line(str(error))}"
        raise InputError(f"{part} must {must}, got {own}, which raises {reason}. Correct its {method}.") from error


def is_over_codes(prior: Distribution, code_shape: tuple[int, ...], rows: int) -> bool:
    """Whether p(z) is over whole codes, with one distribution for all rows or one for each."""
    return tuple(prior.event_shape) == code_shape and tuple(prior.batch_shape) in ((), (rows,))


def check_taken(model: Model, x: Any, lengths: Any = None, observed: Any = None) -> None:
    """Refuse padding and missing values if the model does not leave them out.

    Args:
        model: a model.
        x: (n, *X) rows.
        lengths: (n,) numbers of real steps, or None.
        observed: (n, *X) True where an element was observed, or None.

    Raises:
        InputError: if there are steps or elements to be left out, and the model would read them.
    """
    able, name = model.capabilities, type(model).__name__
    if lengths is not None and not able.lengths and (lengths < x.shape[1]).any():
        raise InputError(
            f"lengths must all be {x.shape[1]} for {name}, which reads every step, got {lengths.min()}. "
            "Pass sequences of equal length."
        )
    if observed is not None and not able.missing and not observed.all():
        missing = int((~observed).sum())
        raise InputError(
            f"observed must be True everywhere for {name}, which reads every element, got {missing:,} False. "
            "Pass complete rows."
        )
