"""Parts by name: strings written as calls, such as `prior="mixture(10)"`, and the tables that they are looked up in."""

from __future__ import annotations

import ast
import copy
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from isthmus import corruption, families, priors
from isthmus.conditional import Conditional
from isthmus.errors import InputError, unknown
from isthmus.estimators.hyperparameters import Hyperparameters
from isthmus.nets import conv, quantization, sparse
from isthmus.nets.layers import Log1p, Preprocess
from isthmus.nets.mlp import MLP
from isthmus.objective import Objective, Term, warmup
from isthmus.schema import Schema
from isthmus.terms import bounds, divergences, gan, penalties, structure
from isthmus.wording import quoted

MAX_SPEC_CHARACTERS = 200
"""Length of a part that is written as text, at most."""

NESTED = ("refit",)
"""Parts that another one may be an argument of."""

Call = tuple[str, tuple[Any, ...]]


def parse(spec: str, what: str) -> Call:
    """A call in text as its name and literal arguments; nothing is evaluated.

    >>> parse("mask(0.3)", "corruption")
    ('mask', (0.3,))
    >>> parse("bernoulli", "likelihood")
    ('bernoulli', ())
    >>> parse("refit(flow(3))", "prior")
    ('refit', ('flow(3)',))
    """
    try:
        if not isinstance(spec, str):
            raise TypeError("no name of a part")
        node = ast.parse(spec[: MAX_SPEC_CHARACTERS + 1].strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, ()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            if node.func.id in NESTED and len(node.args) == 1 and (part := part_within(node.args[0])):
                return node.func.id, (part,)
            arguments = tuple(ast.literal_eval(argument) for argument in node.args)
            if all(isinstance(each, int | float) and not isinstance(each, bool) for each in arguments):
                return node.func.id, arguments
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):  # the parser's stack is of limited depth
        pass
    raise InputError(f"{what} must be a name, or a name with numbers such as mask(0.3), got {quoted(spec)}.")


def part_within(node: ast.expr) -> str | None:
    """A part that is an argument, with or without quotes, as text; None for numbers."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    return ast.unparse(node) if isinstance(node, ast.Call | ast.Name) else None


def build(table: Mapping[str, Callable[..., Any]], spec: str, what: str, *context: Any) -> Any:
    """The part that `spec` names: its maker in `table` called with `context`, then with the arguments of `spec`."""
    name, arguments = parse(spec, what)
    if name not in table:
        raise unknown(what, name, table)
    signature = inspect.signature(table[name])
    try:
        signature.bind(*context, *arguments)
    except TypeError:
        parameters = ", ".join(list(signature.parameters)[len(context) :])
        raise InputError(f"{what} must be {name}({parameters}), got {quoted(spec)}.") from None
    try:
        return table[name](*context, *arguments)
    except TypeError:
        raise InputError(f"{what} must have other numbers as arguments, got {quoted(spec)}.") from None


def copy_user_part(part: Any, what: str) -> nn.Module:
    """A copy of a module that the user passed, so that training does not change theirs."""
    if not isinstance(part, nn.Module):
        raise InputError(f"{what} must be a name or a torch.nn.Module, got {quoted(part)}.")
    return copy.deepcopy(part)


CATEGORIES = 10
"""Categories of a variable, where no number is given."""
SPACES = {"hyperspherical": "sphere", "categorical": "categories"}
"""Where codes of posteriors lie, of those that are not over all vectors."""
POSTERIORS: dict[str, Callable[..., families.Family]] = {
    "normal": lambda estimator, schema: families.DiagonalNormal((estimator.latent_dim,)),
    "full_normal": lambda estimator, schema: families.FullNormal((estimator.latent_dim,)),
    "iaf": lambda estimator, schema, k=2: families.FlowNormal((estimator.latent_dim,), k, spline=False),
    "flow": lambda estimator, schema, k=2: families.FlowNormal((estimator.latent_dim,), k, spline=True),
    "hyperspherical": lambda estimator, schema: families.Hyperspherical((estimator.latent_dim,)),
    "categorical": lambda estimator, schema, k=CATEGORIES, t=1.0: families.OneHot((estimator.latent_dim,), k, t),
}
"""Families of q(z given x), made from the estimator and the schema."""

PRIORS: dict[str, Callable[..., nn.Module]] = {
    "normal": lambda estimator, schema: priors.StandardNormal(estimator.latent_dim),
    "mixture": lambda estimator, schema, k=10: priors.Mixture(estimator.latent_dim, k),
    "full_mixture": lambda estimator, schema, k=5: priors.Mixture(estimator.latent_dim, k, full=True),
    "vamp": lambda estimator, schema, k=500: _vamp(estimator, schema, k),
    "flow": lambda estimator, schema, k=3: priors.FlowPrior(estimator.latent_dim, k),
    "refit": lambda estimator, schema, k=10: _refit(estimator, k),
    "uniform": lambda estimator, schema: _uniform(estimator),
    "conditional": lambda estimator, schema: _conditional_prior(estimator, schema),
}
"""p(z), made from the estimator and the schema."""


def code_space(posterior: Any) -> str:
    """Where codes of a posterior lie, as a family says it: of a module, or of a name with its arguments."""
    if isinstance(posterior, str):
        return SPACES.get(parse(posterior, "posterior")[0], "vectors")
    return getattr(getattr(posterior, "family", posterior), "code_space", "vectors")


def categories_of(posterior: Any) -> int:
    """Categories of each variable of such a code."""
    if isinstance(posterior, str):
        return int(next(iter(parse(posterior, "posterior")[1]), CATEGORIES))
    return int(getattr(posterior, "family", posterior).k)


def _uniform(estimator: Hyperparameters) -> nn.Module:
    posterior = getattr(estimator, "posterior", "normal")
    if code_space(posterior) == "categories":
        return priors.UniformOverCategories(estimator.latent_dim, categories_of(posterior))
    return priors.Uniform(estimator.latent_dim)


def _vamp(estimator: Hyperparameters, schema: Schema, k: int = 500) -> nn.Module:
    kinds = {column.kind for column in schema.columns}
    if "category" in kinds or len(kinds) > 1:
        raise InputError(
            "prior must be 'mixture(k)' for columns of categories or of several kinds, got 'vamp(k)', whose "
            "pseudo-inputs are numbers of one kind."
        )
    limits = {"real": None, "counts": (0.0, math.inf)}.get(schema.kind, (0.0, 1.0))
    return priors.Vamp(schema.event_shape, k, limits)


def _refit(estimator: Hyperparameters, density: int | str) -> nn.Module:
    if not isinstance(density, str):
        return priors.PostHocPrior(estimator.latent_dim, density)
    table = {
        "mixture": lambda k=10: priors.PostHocPrior(estimator.latent_dim, k),
        "full_mixture": lambda k=10: priors.PostHocPrior(estimator.latent_dim, k, full=True),
        "flow": lambda k=3: priors.PostHocPrior(estimator.latent_dim, maps=k),
    }
    return build(table, density, "prior='refit(...)'")


def _conditional_prior(estimator: Hyperparameters, schema: Schema) -> nn.Module:
    if not schema.condition_width:
        raise InputError(
            "condition must be given with prior='conditional', got None. Pass condition=... to fit (--condition)."
        )
    dim = estimator.latent_dim
    net = MLP((schema.condition_width,), tuple(estimator.hidden)[:1], 2 * dim, act=estimator.activation)
    return priors.ConditionalPrior(Conditional(net, families.DiagonalNormal((dim,))))


BOUNDS: dict[str, Callable[..., Term | Objective]] = {
    "elbo": lambda estimator: bounds.nll + _of_rate(estimator) * bounds.kl,
    "stl": lambda estimator: bounds.nll + _of_rate(estimator) * bounds.kl_by_path,
    "free_bits": lambda estimator, nats=0.5: bounds.nll + _of_rate(estimator) * bounds.free_bits(nats),
    "capacity": lambda estimator, nats, w=100.0: _at_rate(estimator, nats, w),
    "iwae": lambda estimator, k=5: _unweighted(estimator, bounds.iwae(k)),
    "dreg": lambda estimator, k=5: _unweighted(estimator, bounds.dreg(k)),
    "ciwae": lambda estimator, k=5, b=0.5: _unweighted(estimator, bounds.ciwae(k, b)),
    "miwae": lambda estimator, m=5, k=5: _unweighted(estimator, bounds.miwae(m, k)),
    "piwae": lambda estimator, m=5, k=5: _unweighted(estimator, bounds.piwae(m, k)),
}
"""Bounds on log p(x) as losses, made from the estimator."""


def _of_rate(estimator: Hyperparameters) -> Any:
    """The weight of the KL term."""
    beta: float = estimator.beta  # type: ignore[attr-defined]
    if estimator.cycles > 1 and not estimator.warmup:
        raise InputError(f"warmup must be > 0 with cycles={estimator.cycles}, got 0. Pass warmup=0.5, or cycles=1.")
    return beta * warmup(estimator.warmup, estimator.cycles)


def _at_rate(estimator: Hyperparameters, nats: float, w: float) -> Objective:
    """The distortion, and the distance of the rate from a number of nats, which rises in the warm-up, times w."""
    if not 0 < w < math.inf:
        raise InputError(f"w of capacity(nats, w) must be a number > 0, got {w!r}.")
    kept = _unweighted(estimator, bounds.kl_near(nats * warmup(estimator.warmup, estimator.cycles)))
    return bounds.nll + w * kept


def _unweighted(estimator: Hyperparameters, loss: Term) -> Term:
    """A bound in which the KL term is not a summand that beta could weight."""
    beta = getattr(estimator, "beta", 1.0)
    if beta != 1:
        raise InputError(f"beta must be 1 with bound={getattr(estimator, 'bound', '')!r}, got {beta:g}.")
    return loss


PENALTIES: dict[str, Callable[..., Any]] = {
    "total_correlation": lambda estimator, schema, w=3.0: _warmed_up(estimator, w, divergences.total_correlation()),
    "factor": lambda estimator, schema, w=10.0: _warmed_up(estimator, w, divergences.factor(estimator.latent_dim)),
    "dip": lambda estimator, schema, w=10.0, d=10.0: _warmed_up(
        estimator, w, divergences.dip(False, check_weight("d", d))
    ),
    "dip_of_draws": lambda estimator, schema, w=10.0, d=1.0: _warmed_up(
        estimator, w, divergences.dip(True, check_weight("d", d))
    ),
    "mmd": lambda estimator, schema, w=100.0: _warmed_up(estimator, w, divergences.mmd),
    "adversarial": lambda estimator, schema, w=10.0: _warmed_up(
        estimator, w, divergences.adversarial(estimator.latent_dim)
    ),
    "gan": lambda estimator, schema, w=1.0, a=1.0: _warmed_up(
        estimator, w, gan.gan(_row_critic(schema), check_weight("a", a))
    ),
    "l2": lambda estimator, schema, w=0.01, g=0.0: _smooth(check_weight("w", w), check_weight("g", g)),
    "spectral": lambda estimator, schema, w=0.01: check_weight("w", w) * penalties.spectral,
    "ms_ssim": lambda estimator, schema, w=100.0: check_weight("w", w) * _dissimilarity(schema),
}
"""Terms of the loss beside the bound, times their weight w, made from the estimator and the schema."""
OF_PRIOR = ("mmd", "adversarial")
"""Those by which codes are distributed as the prior, that of a plain autoencoder too."""


def matches_prior(estimator: Hyperparameters) -> bool:
    """Whether a penalty makes the codes of all rows together distributed as the prior."""
    penalty = getattr(estimator, "penalty", "none")
    return penalty != "none" and parse(penalty, "penalty")[0] in OF_PRIOR


CRITIC_CHANNELS, CRITIC_WIDTHS, CRITIC_FEATURES = (32, 64), (256, 256), 128
"""Channels of a critic of images, widths of one of other rows, and the features of both."""


def _row_critic(schema: Schema) -> gan.RowCritic:
    """A critic of rows as networks read them."""
    shape = schema.event_shape
    if any(column.kind == "category" or column.likelihood == "categorical" for column in schema.columns):
        raise InputError("penalty must be another than 'gan(w, a)' for columns of categories, whose numbers are names.")
    net: nn.Module
    if schema.image and conv.conv_applicable(shape):
        net = conv.ConvEncoder(shape, CRITIC_CHANNELS, CRITIC_FEATURES)
    else:
        net = MLP(shape, CRITIC_WIDTHS, CRITIC_FEATURES)
    if {column.read_as for column in schema.columns} == {"log1p"}:
        net = Preprocess(Log1p(schema.mean), net)
    elif any(column.read_as == "log1p" for column in schema.columns):
        raise InputError("penalty must be another than 'gan(w, a)' for counts beside other columns. Use 'mmd(w)'.")
    return gan.RowCritic(net, CRITIC_FEATURES)


def _dissimilarity(schema: Schema) -> Term:
    """Of images: how their reconstructions differ from them in structure."""
    if any(column.likelihood == "categorical" for column in schema.columns):
        raise InputError("penalty must be another than 'ms_ssim(w)' for pixels of categories, whose numbers are names.")
    if not schema.image:
        raise InputError(
            f"penalty must be another than 'ms_ssim(w)' for rows of shape {schema.event_shape}, which are no images. "
            "Pass images (n, h, w) or (n, h, w, c)."
        )
    return structure.dissimilarity(schema.event_shape, float(np.max(schema.high) - np.min(schema.low)) or 1.0)


def _smooth(w: float, g: float) -> Term:
    """Short codes and, where g is not 0, a decoder that changes little between them."""
    short: Any = w * penalties.code_l2
    return short + g * penalties.decoder_gradient if g else short


def _warmed_up(estimator: Hyperparameters, w: float, term: Term) -> Term:
    """A term times a weight that rises as that of the KL term does."""
    return check_weight("w", w) * warmup(estimator.warmup, estimator.cycles) * term


def check_weight(name: str, value: float) -> float:
    """The weight of a penalty; raises InputError for one that is negative or not finite."""
    if not 0 <= value < math.inf:
        raise InputError(f"{name} of a penalty must be a number >= 0, got {value}.")
    return float(value)


QUANTIZATIONS: dict[str, Callable[..., nn.Module]] = {
    "vq": lambda size, k=512, d=4: quantization.Codebook(size, k, d),
    "rvq": lambda size, k=512, d=4, depth=2: quantization.Residual(size, k, d, depth),
    "fsq": lambda size, k=5: quantization.Grid(size, k),
}
"""How codes become symbols, made from the numbers in a code."""


CORRUPTIONS: dict[str, Callable[..., nn.Module]] = {
    "mask": lambda schema, p=0.3: corruption.Mask(p, mask_value(schema)),
    "gaussian": lambda schema, s=0.3: corruption.Gaussian(s),
    "salt_and_pepper": lambda schema, p=0.3: corruption.SaltAndPepper(p, tensor(schema.low), tensor(schema.high)),
    "blur": lambda schema, s=1.0: _blur(schema, s),
}


def mask_value(schema: Schema) -> torch.Tensor:
    """The value of a masked element: 0 in data units (black); for tables of floats the column's mean."""
    black = -schema.shift / schema.scale
    if len(schema.columns) > 1:
        return tensor(np.where(schema.per_element("kind") == "real", 0.0, black))
    return tensor(np.zeros(()) if schema.kind == "real" and not schema.image else black)


def tensor(values: np.ndarray) -> torch.Tensor:
    """Numbers in torch's default precision."""
    return torch.as_tensor(values, dtype=torch.get_default_dtype())


def _blur(schema: Schema, s: float) -> nn.Module:
    if not schema.image:
        raise InputError(
            f"X must be images (n, h, w) or (n, h, w, c) for blur, got rows of shape {schema.event_shape}."
        )
    return corruption.Blur(s)


@dataclass(frozen=True)
class Sparsity:
    """How codes are made sparse: a module applied to the code, and a penalty added to the loss."""

    rule: nn.Module | None
    penalty: Term | None


def weighted(weight: float, penalty: Term) -> Term:
    """A penalty times its weight, which must not be negative."""
    if not weight >= 0:
        raise InputError(f"w, the weight of a sparsity penalty, must be >= 0, got {weight}.")
    return weight * penalty


SPARSITIES: dict[str, Callable[..., Sparsity]] = {
    "l1": lambda units, w=0.1: Sparsity(nn.ReLU(), weighted(w, penalties.l1)),
    "kl": lambda units, rho=0.05, w=1.0: Sparsity(nn.Sigmoid(), weighted(w, penalties.kl_sparsity(rho))),
    "top_k": lambda units, k: Sparsity(sparse.TopK(k, units), None),
    "batch_top_k": lambda units, k: Sparsity(sparse.BatchTopK(k, units), None),
    "jump_relu": lambda units, w=0.1: Sparsity(sparse.JumpReLU(units), weighted(w, penalties.l0)),
}


def sparse_by_penalty(sparsity: str, units: int) -> bool:
    """Whether a penalty makes codes sparse, which leaves the number of active units open."""
    return sparsity != "none" and build(SPARSITIES, sparsity, "sparsity", units).penalty is not None
