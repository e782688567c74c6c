"""Strings written as calls, resolved to parts in this one place: `prior="mixture(10)"`, `likelihood="normal(0.1)"`."""

from __future__ import annotations

import ast
import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from isthmus import corruption, families, priors
from isthmus.conditional import Conditional
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
