"""The parts of a model, made from an estimator's fields for data of a schema."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from isthmus import priors
from isthmus.conditional import Conditional
from isthmus.errors import InputError, unknown
from isthmus.estimators.hyperparameters import Hyperparameters, is_auto
from isthmus.estimators.parts_by_name import (
    BOUNDS,
    CORRUPTIONS,
    PENALTIES,
    POSTERIORS,
    PRIORS,
    build,
    code_space,
    copy_user_part,
    matches_prior,
    tensor,
)
from isthmus.families import Bernoulli, Columns, ContinuousBernoulli, Family
from isthmus.latent_model import Capabilities, LatentModel
from isthmus.likelihoods import LIKELIHOODS
from isthmus.nets import conv, unet
from isthmus.nets.layers import Log1p, Preprocess, ReadColumns
from isthmus.nets.mlp import MLP
from isthmus.nets.user_module import ProbabilityToLogits, UserModule, returns_probabilities
from isthmus.objective import Objective, Term
from isthmus.random_streams import seeded
from isthmus.schema import Condition, Labels, Schema
from isthmus.user_priors import as_prior
from isthmus.wording import quoted


def latent_model(
    estimator: Hyperparameters,
    schema: Schema,
    posterior: Family | nn.Module,
    prior: nn.Module | Distribution | None = None,
    *,
    beside: int = 0,
    kind: type[LatentModel] = LatentModel,
) -> LatentModel:
    """Encoder, decoder, prior and corruption as the fields say.

    Args:
        estimator: the fields.
        schema: of the data.
        posterior: the family of q(z given x), whose parameters an encoder gives; or q itself, a module of (x, c, mask).
        prior: p(z), where it is no field.
        beside: numbers in a code beside those of `latent_dim`.
        kind: the class of the model.
    """
    if isinstance(posterior, Family):
        encoder = encoder_net(estimator, schema, posterior.raw_numel)
        posterior = Conditional(encoder, posterior, len(schema.event_shape))
    dense = getattr(posterior, "has_density", True)
    refit = isinstance(estimator.prior, str) and estimator.prior.startswith("refit")
    matched = matches_prior(estimator)
    if prior is None and not dense and not refit and estimator.prior != "normal":
        name, meaning = type(estimator).__name__, "" if matched else " for none"
        raise InputError(
            f"prior must be 'refit(k)', or 'normal'{meaning}, for {name}, whose codes have no density, got "
            f"{estimator.prior!r}."
        )
    if prior is None:
        prior = prior_module(estimator, schema) if dense or refit or matched else priors.Flat()
        require_same_space(estimator, posterior, prior)
    family = likelihood_family(estimator, schema)
    model = kind(
        posterior,
        Conditional(decoder_net(estimator, schema, family, beside), family),
        prior,
        corruption_module(estimator, schema),
        0.0 if schema.discrete else schema.element_log_volume,
    )
    if next(model.parameters(), None) is None:
        raise InputError("encoder and decoder must have parameters to be trained, got networks without any.")
    return model


CODES = {"vectors": "vectors", "sphere": "points of the unit sphere", "categories": "categories"}
"""What codes are, by the name of their space."""


def require_same_space(estimator: Hyperparameters, posterior: nn.Module, prior: Any) -> None:
    """Raise InputError for codes on the unit sphere, or of categories, and a prior that is not, or the other way."""
    of_codes = code_space(posterior)
    if of_codes != getattr(prior, "code_space", "vectors"):
        right = "'normal'" if of_codes == "vectors" else "'uniform'"
        raise InputError(
            f"prior must be {right} for codes that are {CODES[of_codes]}, got {quoted(estimator.prior)}. "
            "The prior 'uniform' is that of posterior='hyperspherical' and 'categorical(k)'."
        )


def posterior_part(estimator: Any, schema: Schema) -> Family | nn.Module:
    """The family of q(z given x), or q itself if the user passed a module that is no family."""
    if not isinstance(estimator.posterior, str):
        part = copy_user_part(estimator.posterior, "posterior")
        if not getattr(part, "has_density", True):
            raise InputError(
                "posterior must give a density over codes, got a point. Use a family such as DiagonalNormal, or an "
                "Autoencoder."
            )
        return part
    return build(POSTERIORS, estimator.posterior, "posterior", estimator, schema)


def bound(estimator: Any, schema: Schema) -> Term | Objective:
    """The bound on log p(x) that is maximized, as a loss, with a penalty on codes where there is one."""
    return penalized(estimator, schema, build(BOUNDS, estimator.bound, "bound", estimator))


def penalized(estimator: Any, schema: Schema, loss: Term | Objective) -> Term | Objective:
    """A loss with the penalty on codes that the estimator names, where it names one."""
    if estimator.penalty == "none":
        return loss
    return loss + build(PENALTIES, estimator.penalty, "penalty", estimator, schema)


def network_kind(estimator: Hyperparameters, schema: Schema) -> str:
    """mlp, conv or unet."""
    if estimator.network == "auto":
        return "conv" if schema.image and conv.conv_applicable(schema.event_shape) and estimator.hidden else "mlp"
    if estimator.network not in ("mlp", "conv", "unet"):
        raise unknown("network", str(estimator.network), ("auto", "mlp", "conv", "unet"))
    if estimator.network != "mlp" and not schema.image:
        raise InputError(
            f"X must be images (n, h, w) or (n, h, w, c) with network={estimator.network!r}, got rows of shape "
            f"{schema.event_shape}."
        )
    return estimator.network


def is_variational(estimator: Hyperparameters) -> bool:
    """Whether codes have a density, whose rate the loss weighs by a field."""
    return hasattr(estimator, "beta")


def undoes_damage(estimator: Hyperparameters, schema: Schema) -> bool:
    """Whether a model without a density learns to undo damage, which training does or which the rows came with."""
    return not is_variational(estimator) and (schema.paired or estimator.corruption not in (None, "none"))


def uses_unet(estimator: Hyperparameters, schema: Schema) -> bool:
    """Whether networks are to be a U-Net: of models that restore images, unless the size of the code is given.

    Raises InputError if a U-Net is asked for of a model, or with a size of the code, that it cannot have.
    """
    free = is_auto(estimator.latent_dim) and estimator.encoder is None and estimator.decoder is None
    bounded = any(getattr(estimator, name, None) not in (None, "none", 0) for name in ("sparsity", "contraction"))
    restores = undoes_damage(estimator, schema) and not bounded
    if network_kind(estimator, schema) != "unet":
        suits = schema.image and unet.unet_applicable(schema.event_shape) and bool(estimator.hidden)
        return estimator.network == "auto" and suits and free and restores
    if not restores:
        raise InputError(
            "network must be 'auto', 'mlp' or 'conv' for a model whose code is to be small, sparse or drawn, got "
            "'unet'. Use a DenoisingAutoencoder."
        )
    if not free:
        raise InputError(
            f"latent_dim must be 'auto' with network='unet', whose code has the size of the image, and encoder and "
            f"decoder None, got latent_dim={estimator.latent_dim!r}."
        )
    return True


def has_linear_path(estimator: Hyperparameters) -> bool:
    """Whether networks have a linear path beside their hidden layers.

    Not where x is corrupted in training: what a linear path learns of masked numbers is too large for whole rows.
    """
    return estimator.corruption in (None, "none")


def network_kwargs(estimator: Hyperparameters, schema: Schema) -> dict[str, Any]:
    """What encoder and decoder have in common."""
    return {"condition": schema.condition_width, "act": estimator.activation, "dropout": estimator.dropout}


def encoder_net(estimator: Hyperparameters, schema: Schema, out: int) -> nn.Module:
    """x to `out` numbers."""
    kwargs = network_kwargs(estimator, schema)
    reader = input_reader(schema)
    shape = (reader.size,) if isinstance(reader, ReadColumns) else schema.event_shape
    net: nn.Module
    if estimator.encoder is not None:
        net = UserModule(copy.deepcopy(estimator.encoder), shape, schema.condition_width, name="encoder")
    elif (kind := network_kind(estimator, schema)) == "unet":
        net = unet.UNetEncoder(shape, tuple(estimator.channels), offset=mean_image(schema), **kwargs)
    elif kind == "conv":
        net = conv.ConvEncoder(shape, tuple(estimator.channels), out, **kwargs)
    else:
        net = MLP(shape, tuple(estimator.hidden), out, linear_path=has_linear_path(estimator), **kwargs)
    return net if reader is None else Preprocess(reader, net)


def mean_image(schema: Schema) -> Tensor:
    """What scaling takes from each pixel but not from all: without it damage has one value at every place.

    Where pixels are masked they are black, which is another number at every pixel once its mean is subtracted.
    """
    means = schema.shift / schema.scale
    return tensor(means - means.mean())


def encoded_size(estimator: Hyperparameters, schema: Schema) -> int:
    """Numbers in a code of a user's own encoder: half of its output, which holds means and log-scales, or of a pair."""
    with seeded(0):  # lazy layers draw their weights
        net = encoder_net(estimator, schema, 0)
        user = next(module for module in net.modules() if isinstance(module, UserModule))
        out = user.probe(torch.zeros(2, *user.input_shape), schema.condition_width)
    return max(1, out[0].numel() // 2 if isinstance(out, tuple) else out.numel() // 4)


def input_reader(schema: Schema) -> nn.Module | None:
    """What transforms x for the encoder: counts become log(1 + x), categories one-hot; None if x is read as it is."""
    if all(column.read_as == "scaled" for column in schema.columns):
        return None
    if len(schema.columns) == 1 and schema.columns[0].read_as == "log1p":
        return Log1p(schema.mean)
    readers = {"one-hot": lambda part: part.levels, "log1p": lambda part: Log1p(part.mean), "scaled": lambda part: None}
    return ReadColumns(schema.widths, [readers[part.columns[0].read_as](part) for part in schema.blocks()])


def decoder_net(estimator: Hyperparameters, schema: Schema, family: Family, beside: int = 0) -> nn.Module:
    """z to the numbers that the family of p(x given z) needs; a code has `beside` numbers more than `latent_dim`."""
    out = family.raw_numel
    kwargs = network_kwargs(estimator, schema)
    latent_dim = estimator.latent_dim + beside
    if estimator.decoder is not None:
        net = UserModule(copy.deepcopy(estimator.decoder), (latent_dim,), schema.condition_width, name="decoder")
        by_logits = isinstance(family, Bernoulli | ContinuousBernoulli)
        return ProbabilityToLogits(net) if by_logits and returns_probabilities(net, schema.condition_width) else net
    kind, n = network_kind(estimator, schema), out // schema.size
    if kind == "unet":
        return unet.UNetDecoder(tuple(estimator.channels), n, schema.event_shape, **kwargs)
    if kind == "conv":
        return conv.ConvDecoder(latent_dim, tuple(estimator.channels), n, schema.event_shape, **kwargs)
    return MLP((latent_dim,), tuple(estimator.hidden)[::-1], out, linear_path=has_linear_path(estimator), **kwargs)


def likelihood_family(estimator: Hyperparameters, schema: Schema) -> Family:
    """The family of p(x given z)."""
    table = {name: entry.make for name, entry in LIKELIHOODS.items()}
    if isinstance(estimator.likelihood, tuple | list):
        return Columns([build(table, part.likelihood, "likelihood", part) for part in schema.blocks()])
    if isinstance(estimator.likelihood, str):
        return build(table, schema.likelihood, "likelihood", schema)
    assert isinstance(estimator.likelihood, Family)  # `validation.likelihood_of` has seen to it
    return copy.deepcopy(estimator.likelihood)


def prior_module(estimator: Hyperparameters, schema: Schema) -> nn.Module | Distribution:
    """p(z); of the user's own a copy in the form that it has."""
    if isinstance(estimator.prior, Distribution):
        return estimator.prior  # whose tensors `FixedPrior` copies
    if not isinstance(estimator.prior, str):
        return copy.deepcopy(estimator.prior)  # `as_prior` refuses what it cannot be
    return build(PRIORS, estimator.prior, "prior", estimator, schema)


def corruption_module(estimator: Hyperparameters, schema: Schema) -> nn.Module | None:
    """What corrupts x in training."""
    if estimator.corruption is None or estimator.corruption == "none":
        return None
    if not isinstance(estimator.corruption, str):
        return copy_user_part(estimator.corruption, "corruption")
    return build(CORRUPTIONS, estimator.corruption, "corruption", schema)


def with_values(estimator: Any, values: dict[str, Any]) -> Any:
    """A copy of an unfitted estimator in which values, or JSON made of them, take the place of "auto"."""
    copied = copy.copy(estimator)
    for name, value in values.items():
        if is_auto(getattr(estimator, name, None)):
            setattr(copied, name, tuple(value) if isinstance(value, list) else value)
    return copied


BARE_VALUES = {
    "latent_dim": 2,
    "hidden": (),
    "network": "mlp",
    "channels": (8,),
    "prior": "normal",
    "warmup": 0.0,
    "initialization": "random",
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
}
"""Of fields that are "auto", for a model that is made only to be asked what it can do."""


def takes_labels(estimator: Hyperparameters) -> bool:
    """Whether labels that come with a data set are the condition: the model or its prior is given one."""
    if estimator.conditional:
        return True
    try:
        with seeded(0):
            bare = with_values(estimator, BARE_VALUES)
            prior = as_prior(prior_module(bare, bare_schema(conditional=True)), (bare.latent_dim,))
    except Exception:  # a field that `fit` refuses with the reason
        return False
    return bool(getattr(prior, "given_condition", False))


def bare_schema(conditional: bool) -> Schema:
    """The schema of a small table, with which a model is made only to be asked what it can do."""
    condition = Condition(shift=(0.0,), scale=(1.0,)) if conditional else None
    kwargs: dict[str, Any] = {"discrete": False, "condition": condition, "labels": Labels((0, 1))}
    return Schema.homogeneous((2,), "real", "float64", "normal", **kwargs)


def capabilities_of(estimator: Hyperparameters) -> Capabilities:
    """What the model of an unfitted estimator will be able to do, read from a model made for a small table."""
    bare = copy.copy(estimator)
    # The fields that choose the networks and the data decide nothing of what a model can do.
    plain = {"hidden": (), "network": "mlp", "likelihood": "normal", "binarize": False}
    for name, value in (plain | dict.fromkeys(("levels", "corruption", "encoder", "decoder"))).items():
        setattr(bare, name, value)
    bare = with_values(bare, BARE_VALUES)
    key = (type(bare), repr(sorted(bare.values().items())))
    if key not in _CAPABILITIES:
        schema = bare_schema(takes_labels(estimator))
        try:
            with seeded(0):
                _CAPABILITIES[key] = bare.compose(schema).model.capabilities
        except Exception:  # a field that `fit` refuses with the reason, or a model of other data than tables
            return Capabilities("bound", samples=True, encodes=True)
    return _CAPABILITIES[key]


_CAPABILITIES: dict[Any, Capabilities] = {}
