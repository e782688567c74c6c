"""Strings written as calls, resolved to parts in this one place: `prior="mixture(10)"`, `likelihood="normal(0.1)"`."""

from __future__ import annotations

import ast
import copy
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from isthmus import corruption, families, priors
from isthmus.conditional import Conditional
from isthmus.distributions import continuous
from isthmus.errors import InputError, unknown
from isthmus.nets import sparse
from isthmus.nets.mlp import MLP
from isthmus.objective import Term
from isthmus.schema import Schema
from isthmus.terms import penalties

if TYPE_CHECKING:
    from isthmus.estimators.base import Estimator

Call = tuple[str, tuple[Any, ...]]


def parse(spec: str, what: str) -> Call:
    """A call in text to its name and literal arguments; nothing is evaluated.

    >>> parse("mask(0.3)", "corruption")
    ('mask', (0.3,))
    >>> parse("bernoulli", "likelihood")
    ('bernoulli', ())
    """
    try:
        node = ast.parse(spec.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, ()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            return node.func.id, tuple(ast.literal_eval(argument) for argument in node.args)
    except (SyntaxError, ValueError):
        pass
    raise InputError(f"the {what} {spec!r} cannot be read; write a name, or a name with numbers: mask(0.3)")


def build(table: dict[str, Callable[..., Any]], spec: str, what: str, *before: Any) -> Any:
    """Call the maker that `spec` names with `before` and then the arguments of `spec`."""
    name, arguments = parse(spec, what)
    if name not in table:
        raise unknown(what, name, table)
    try:
        inspect.signature(table[name]).bind(*before, *arguments)
    except TypeError:
        takes = [p.name for p in list(inspect.signature(table[name]).parameters.values())[len(before) :]]
        raise InputError(f"{what} {spec!r}: {name} takes ({', '.join(takes)})") from None
    try:
        return table[name](*before, *arguments)
    except TypeError:
        raise InputError(f"{what} {spec!r}: numbers are wanted as arguments") from None


def own_part(part: Any, what: str) -> nn.Module:
    """A copy of a part of the user's own, which training may change; InputError for what is none."""
    if not isinstance(part, nn.Module):
        raise InputError(f"{what}={part!r} came; a name, such as {what}='normal(1)', or a torch.nn.Module is wanted")
    return copy.deepcopy(part)


@dataclass(frozen=True)
class Support:
    """The values that have a density: from `low` to `high`, only whole ones where so; `wants` says it in words."""

    wants: str
    low: float = -math.inf
    high: float = math.inf
    whole: bool = False


NUMBERS = Support("numbers")
SHARES = Support("numbers from 0 to 1", 0.0, 1.0)
BITS = Support("0 and 1, or numbers between", 0.0, 1.0)
COUNTS = Support("counts 0, 1, 2, ... of at most 1e15", 0.0, 1e15, whole=True)
LEVELS = Support("whole levels from 0", 0.0, whole=True)
"""Where they end depends on how many there are."""


@dataclass(frozen=True)
class Likelihood:
    """A family for x: how it is made from the schema, what values it takes, whether it gives them probabilities."""

    make: Callable[..., families.Family]
    support: Support
    discrete: bool


def _located(distribution: Any, scale: str) -> Callable[..., families.Family]:
    return lambda schema, s=scale: families.LocationScale(distribution, schema.event_shape, s)


def _plain(family: Any) -> Callable[..., families.Family]:
    return lambda schema: family(schema.event_shape)


def _counts(family: Any) -> Callable[..., families.Family]:
    return lambda schema: family(schema.event_shape, schema.mean)


def _levels(family: Any) -> Callable[..., families.Family]:
    return lambda schema, k=None: family(schema.event_shape, schema.levels)


LIKELIHOODS: dict[str, Likelihood] = {
    "bernoulli": Likelihood(_plain(families.Bernoulli), BITS, True),
    "continuous_bernoulli": Likelihood(_plain(families.ContinuousBernoulli), SHARES, False),
    "normal": Likelihood(_located(continuous.Normal, "shared"), NUMBERS, False),
    "diagonal_normal": Likelihood(
        lambda schema: families.LocationScale(continuous.Normal, schema.event_shape, "feature"), NUMBERS, False
    ),
    "laplace": Likelihood(_located(continuous.Laplace, "shared"), NUMBERS, False),
    "student_t": Likelihood(_plain(families.StudentT), NUMBERS, False),
    "categorical": Likelihood(_levels(families.Categorical), LEVELS, True),
    "discretized_logistic": Likelihood(_levels(families.DiscretizedLogistic), LEVELS, True),
    "beta_binomial": Likelihood(_levels(families.BetaBinomial), LEVELS, True),
    "poisson": Likelihood(_counts(families.Poisson), COUNTS, True),
    "negative_binomial": Likelihood(_counts(families.NegativeBinomial), COUNTS, True),
}
LEVELLED = tuple(name for name, entry in LIKELIHOODS.items() if entry.support is LEVELS)
COUNTED = tuple(name for name, entry in LIKELIHOODS.items() if entry.support is COUNTS)
FAMILIES: dict[str, type[families.Family]] = {
    "bernoulli": families.Bernoulli,
    "continuous_bernoulli": families.ContinuousBernoulli,
    "normal": families.LocationScale,
    "categorical": families.Categorical,
    "discretized_logistic": families.DiscretizedLogistic,
    "beta_binomial": families.BetaBinomial,
    "poisson": families.Poisson,
    "negative_binomial": families.NegativeBinomial,
}
"""What a part handed in as an object is made like."""
AUTO = {
    "binary": "bernoulli",
    "levels": "discretized_logistic",
    "counts": "negative_binomial",
    "unit": "normal",
    "real": "normal",
}

PRIORS: dict[str, Callable[..., nn.Module]] = {
    "normal": lambda estimator, schema: priors.StandardNormal(estimator.latent_dim),
    "mixture": lambda estimator, schema, k=10: priors.Mixture(estimator.latent_dim, k),
    "refit": lambda estimator, schema, k=10: priors.PostHocPrior(estimator.latent_dim, k),
    "conditional": lambda estimator, schema: _conditional_prior(estimator, schema),
}


def _conditional_prior(estimator: Estimator, schema: Schema) -> nn.Module:
    if not schema.condition_width:
        raise InputError("prior='conditional' needs a condition; pass condition= to fit (--condition)")
    dim = estimator.latent_dim
    net = MLP((schema.condition_width,), tuple(estimator.hidden)[:1], 2 * dim, act=estimator.activation)
    return priors.ConditionalPrior(Conditional(net, families.DiagonalNormal((dim,))))


CORRUPTIONS: dict[str, Callable[..., nn.Module]] = {
    "mask": lambda schema, p=0.3: corruption.Mask(p, blank(schema)),
    "gaussian": lambda schema, s=0.3: corruption.Gaussian(s),
    "salt_and_pepper": lambda schema, p=0.3: corruption.SaltAndPepper(p, tensor(schema.low), tensor(schema.high)),
    "blur": lambda schema, s=1.0: _blur(schema, s),
}


def blank(schema: Schema) -> torch.Tensor:
    """What a masked element becomes: 0 in the data's own units (black), of a table of floats the column's mean."""
    table = schema.kind == "real" and not schema.image
    return tensor(np.zeros(()) if table else -schema.shift / schema.scale)


def tensor(values: np.ndarray) -> torch.Tensor:
    """Numbers in the precision that a model is made in."""
    return torch.as_tensor(values, dtype=torch.get_default_dtype())


def _blur(schema: Schema, s: float) -> nn.Module:
    if not schema.image:
        raise InputError(f"blur needs images (n, h, w) or (n, h, w, c); rows of shape {schema.event_shape} came")
    return corruption.Blur(s)


@dataclass(frozen=True)
class Sparsity:
    """How a bottleneck is made sparse: what is done to the code, and what is added to the loss."""

    rule: nn.Module | None
    penalty: Term | None


def weighed(weight: float, penalty: Term) -> Term:
    """A penalty times a weight that does not reward what it is to punish."""
    if not weight >= 0:
        raise InputError(f"a penalty of weight {weight} came; a number of at least 0 is wanted")
    return weight * penalty


SPARSITIES: dict[str, Callable[..., Sparsity]] = {
    "l1": lambda units, w=0.1: Sparsity(nn.ReLU(), weighed(w, penalties.l1)),
    "kl": lambda units, rho=0.05, w=1.0: Sparsity(nn.Sigmoid(), weighed(w, penalties.kl_sparsity(rho))),
    "top_k": lambda units, k: Sparsity(sparse.TopK(k, units), None),
    "batch_top_k": lambda units, k: Sparsity(sparse.BatchTopK(k, units), None),
    "jump_relu": lambda units, w=0.1: Sparsity(sparse.JumpReLU(units), weighed(w, penalties.l0)),
}
