"""A model of x and a code z: the methods that training and evaluation call."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from isthmus.batch import Batch
from isthmus.distributions.independent import Masked, over_steps, point_of
from isthmus.errors import InputError
from isthmus.forward_pass import Pass
from isthmus.memory_blocks import by_blocks
from isthmus.nets.user_module import CONDITION_AND_MASK, arguments, is_full
from isthmus.user_priors import as_prior

DECODED_AT_ONCE = 2048
"""Rows through a decoder in one call when x is drawn."""


class Code(NamedTuple):
    """What a code is."""

    shape: tuple[int, ...]
    """Shape of one code; (0,) for a model without a code."""
    groups: int
    """Parts of the KL divergence that `Pass.kl` gives separately: latent dimensions, levels of a hierarchy, steps."""
    discrete: bool = False
    """Whether codes are discrete, so that no gradient can move them."""
    layers: tuple[int, ...] = ()
    """Numbers of each layer of a hierarchy, the lowest first; empty for a code without layers."""

    @property
    def size(self) -> int:
        """Numbers in one code; 0 says that the model has none."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Capabilities:
    """What a model can do, as its parts say."""

    scores: str
    """log p(x): "exact", a "bound" that tightens with more draws, or "none"."""
    samples: bool
    """Whether x can be drawn from the model."""
    encodes: bool
    """Whether rows have codes, which can be decoded."""
    lengths: bool = False
    """Whether rows may be padded sequences: whatever lies in the padding changes no number."""
    missing: bool = False
    """Whether elements may be missing: whatever stands for them changes no number."""
    wants_labels: bool = False
    """Whether training reads labels."""
    point_codes: bool = False
    """Whether the code of a row is a point, without a density."""

    @property
    def has_density(self) -> bool:
        """Whether log p(x) is available, exactly or as a bound."""
        return self.scores != "none"

    @property
    def has_rate(self) -> bool:
        """Whether both q(z given x) and p(z) have densities, so that the KL divergence between them is defined."""
        return self.samples and self.encodes and not self.point_codes


class Model(nn.Module):
    """The methods of every model; one whose parts share state implements these and nothing else.

    A subclass gives `code`, `infer`, `prior_for`, `forward_from`, `at`, `draw` and `decode`.
    """

    corruption: Any
    """A module that damages x in training, or None."""
    element_log_volume: Tensor | None
    training_record: Any = None
    """How `isthmus.fit` trained it (a `TrainingRecord`); None before, and for the model of an estimator."""
    estimator_name: str = ""
    """The class of the estimator that trained it on rows in other units than X; empty for a model of its own."""

    def __init__(self, corruption: nn.Module | None = None, log_volume: Any = 0.0) -> None:
        """Note what training damages, and what the scaling of the data takes from a log-density.

        Args:
            corruption: module that damages x in training.
            log_volume: nats that the scaling of the data takes from a log-density, in all or for each element (*X), so
                that every density read from a `Pass` is in the data's own units.
        """
        super().__init__()
        self.corruption = corruption
        elements = torch.as_tensor(log_volume, dtype=torch.float64)
        self.log_volume = float(elements.sum())
        self.register_buffer("element_log_volume", elements if elements.ndim else None, persistent=False)

    @property
    def code(self) -> Code:
        """What a code is."""
        raise NotImplementedError

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do; by default: bound log p(x) of complete rows, draw x, and encode if there is a code."""
        return Capabilities(scores="bound", samples=True, encodes=self.code.size > 0)

    def parts(self) -> dict[str, nn.Module]:
        """The parts of the model by name."""
        return dict(self.named_children())

    def infer(self, batch: Batch, train: bool = False) -> Any:
        """q(z given x) of each row, a distribution with batch shape (B,) and the shape of a code as its event.

        Args:
            batch: B rows.
            train: whether this is a pass of training, in which parts that learn from batches may do so.
        """
        raise NotImplementedError

    def prior_for(self, batch: Batch) -> Any:
        """p(z) with batch shape (), or p(z given c) of each row with (B,); None for a model without a prior.

        Called once a batch, then passed on to `forward_from` and `at`.

        Args:
            batch: B rows, of which a prior may read the condition and the mask.
        """
        raise NotImplementedError

    def forward_from(self, batch: Batch, q: Any, noise: Tensor, prior: Any = None) -> Pass:
        """The rest of a pass: codes drawn from q(z given x), and the densities of rows and codes, nats.

        Args:
            batch: B rows.
            q: what `infer` returned for them.
            noise: (K, B or 1, ...) what `q.noise(K, B)` returned: K draws for each row.
            prior: what `prior_for` returned; None to call it.
        """
        raise NotImplementedError

    def at(self, batch: Batch, z: Tensor, prior: Any = None) -> Pass:
        """The joint density of rows and given codes: a pass with `log_px` and `log_pz`, (K, B) nats, without q.

        Args:
            batch: B rows.
            z: (K, B, *Z) codes, K for each row.
            prior: what `prior_for` returned; None to call it.
        """
        raise NotImplementedError

    def draw(
        self, n: int, c: Tensor | None = None, mask: Tensor | None = None, *, mean: bool = False
    ) -> tuple[Tensor, Tensor]:
        """n codes (n, *Z) and rows (n, *X) from the model, in the units that networks read.

        Args:
            n: how many.
            c: (n, C) conditions, as networks read them.
            mask: (n, T) True where a step is real.
            mean: point predictions of x given the drawn codes instead of draws of x.
        """
        raise NotImplementedError

    def decode(self, z: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Any:
        """p(x given z), a distribution with batch shape (..., B) over rows in the units that networks read.

        Args:
            z: (..., B, *Z) codes.
            c: (B, C) conditions, as networks read them.
            mask: (B, T) True where a step is real.
        """
        raise NotImplementedError

    def with_layers_below(self, z: Tensor, j: int) -> Tensor:
        """Codes (n, *Z) whose number j was changed, with the layers below it as it lets expect; others as they are."""
        return z

    def decoder_norms(self) -> Tensor | float:
        """(D,) how far one unit of each latent dimension moves the decoder's first layer; 1 where it is not known."""
        return 1.0

    def encode(self, batch: Batch) -> Tensor:
        """(B, *Z) the code of each row that `transform` returns: the centre of q(z given x).

        Args:
            batch: B rows.
        """
        return self.infer(batch).centre

    def forward(self, batch: Batch, draws: int = 1, train: bool = False) -> Pass:
        """A pass with draws from q(z given x), after x is damaged where there is a corruption.

        Args:
            batch: B rows.
            draws: K, draws for each row.
            train: whether this is a pass of training.
        """
        q = self.infer(batch._replace(x=self.corrupt(batch)), train)
        return self.forward_from(batch, q, q.noise(draws, len(batch.x)), self.prior_for(batch))

    def corrupt(self, batch: Batch) -> Tensor:
        """(B, *X) what the encoder reads in training; padding and what was not observed stay 0."""
        if self.corruption is None:
            return batch.x
        x = self.corruption(batch.x)
        if batch.observed is not None:
            x = torch.where(batch.observed, x, 0.0)
        return x if batch.mask is None else torch.where(over_steps(batch.mask, x.ndim - 1), x, 0.0)

    def counted(self, batch: Batch) -> Tensor | None:
        """(B, *X), or what broadcasts to it, True where an element is observed and no padding; None if all are."""
        if batch.mask is None:
            return batch.observed
        mask = over_steps(batch.mask, batch.x.ndim - 1)
        return mask if batch.observed is None else batch.observed & mask

    def volume_of(self, batch: Batch) -> Tensor | float:
        """What the scaling takes from each row's log-density, nats: a number, or (B,) where rows are incomplete."""
        if not self.log_volume and self.element_log_volume is None:
            return 0.0
        if batch.observed is None:  # every real step takes the same
            share = 1.0 if batch.mask is None else batch.mask.to(batch.x.dtype).mean(-1)
            return self.log_volume * share
        counted = self.counted(batch)
        assert counted is not None
        return (counted * self.element_volume(batch)).flatten(1).sum(-1).to(batch.x.dtype)

    def element_volume(self, batch: Batch) -> Tensor | float:
        """(*X) or a number: what the scaling takes from the log-density of each element that counts, nats."""
        return self.log_volume / batch.x[0].numel() if self.element_log_volume is None else self.element_log_volume

    @property
    def decodes_linear_normal(self) -> bool:
        """Whether p(x given z) is normal around a linear function of z, with scales that do not depend on z."""
        return False


class LatentModel(Model):
    """p(x, z given c) = p(z given c) p(x given z, c), with an amortised q(z given x, c).

    Args:
        posterior: module of (x, c, mask), or of what its forward takes of these, whose forward returns q(z given x).
        likelihood: module of (z, c, mask) whose forward returns p(x given z).
        prior: p(z) in any form that `user_priors.as_prior` takes.
        corruption, log_volume: as for `Model`.

    Raises:
        InputError: for a prior that is not over codes of the shape of the posterior.
    """

    posterior: Any
    likelihood: Any
    prior: Any

    def __init__(
        self,
        posterior: nn.Module,
        likelihood: nn.Module,
        prior: nn.Module | Distribution,
        corruption: nn.Module | None = None,
        log_volume: Any = 0.0,
    ):
        super().__init__(None, log_volume)
        if isinstance(prior, Distribution):  # which is made to fit the shape of a code
            require_distribution("posterior", posterior)
        self.posterior, self.likelihood = posterior, likelihood
        self.taken = None if is_full(posterior) else arguments(posterior.forward, CONDITION_AND_MASK, 1)
        self.prior = as_prior(prior, tuple(getattr(posterior, "event_shape", ())))
        self.corruption = corruption

    @property
    def code(self) -> Code:
        shape = tuple(self.posterior.event_shape)
        return Code(shape, math.prod(shape), getattr(self.posterior, "discrete", False))

    @property
    def capabilities(self) -> Capabilities:
        dense = all(getattr(part, "has_density", True) for part in (self.posterior, self.likelihood, self.prior))
        return Capabilities(
            "bound" if dense else "none",
            samples=getattr(self.prior, "has_density", True),
            encodes=self.code.size > 0,
            lengths=True,
            missing=True,
            point_codes=not getattr(self.posterior, "has_density", True),
        )

    def parts(self) -> dict[str, nn.Module]:
        named = {name: getattr(self, name) for name in ("prior", "posterior", "likelihood", "corruption")}
        return {name: part for name, part in named.items() if part is not None}

    def infer(self, batch: Batch, train: bool = False) -> Any:
        if train and getattr(self.posterior, "learns", False):
            return self.posterior(batch.x, batch.c, batch.mask, train=True)
        if self.taken is None:
            return self.posterior(batch.x, batch.c, batch.mask)
        given = (batch.c, batch.mask)
        return self.posterior(batch.x, **{parameter: given[slot] for slot, parameter in self.taken.items()})

    @property
    def decodes_linear_normal(self) -> bool:
        return getattr(self.likelihood, "is_linear_normal", False)

    def prior_for(self, batch: Batch) -> Any:
        return self.prior(batch.c, batch.mask, self.posterior if self.taken is None else self.infer_from)

    def infer_from(self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Any:
        """q(z given x) by a posterior of the user's, which may take less."""
        return self.infer(Batch(x, c, mask))

    def forward_from(self, batch: Batch, q: Any, noise: Tensor, prior: Any = None) -> Pass:
        z, log_q, log_weight = q.draw(noise)  # (K, B, *Z), (K, B), (K, B)
        out = self._joint(batch, z, prior, q=q, log_qz=log_q, log_weight=log_weight)
        if getattr(q, "is_one_code", False) and not torch.is_grad_enabled():
            out.log_evidence = out.log_ratio[0]  # of which no spread of draws says how far it is below log p(x)
        return out

    def at(self, batch: Batch, z: Tensor, prior: Any = None) -> Pass:
        return self._joint(batch, z, prior)

    def _joint(self, batch: Batch, z: Tensor, prior: Any, **kwargs: Any) -> Pass:
        if prior is None:
            prior = self.prior_for(batch)
        px = self.decode(z, batch.c, batch.mask)
        if batch.observed is not None:
            counted = self.counted(batch)
            assert counted is not None
            px = Masked(px.base if isinstance(px, Masked) else px, counted)
        return Pass(z, px=px, prior=prior, target=batch.target, log_volume=self.volume_of(batch), **kwargs)

    def draw(
        self, n: int, c: Tensor | None = None, mask: Tensor | None = None, *, mean: bool = False
    ) -> tuple[Tensor, Tensor]:
        first = next(self.parameters())
        prior = self.prior_for(Batch(first.new_zeros(n, 0), c, mask))
        if prior is None:
            raise InputError(
                f"prior must be a distribution to draw from, got none from {type(self.prior).__name__}. Use a VAE."
            )
        with torch.no_grad():
            z = prior.sample() if prior.batch_shape else prior.sample((n,))

            def decoded(index: Tensor) -> Tensor:
                px = self.decode(z[index], *[None if given is None else given[index] for given in (c, mask)])
                return point_of(px) if mean else px.sample()

            x = list(by_blocks(decoded, n, DECODED_AT_ONCE, z.device))
        return z, torch.cat(x) if x else z.new_zeros(0)

    def decode(self, z: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Any:
        px = self.likelihood(z, c, mask)
        return px if mask is None else Masked(px, over_steps(mask, len(px.event_shape)))

    def decoder_norms(self) -> Tensor | float:
        norms = getattr(self.likelihood, "input_column_norms", None)
        return 1.0 if norms is None else norms()


def require_distribution(name: str, part: Any) -> None:
    """Raise InputError for a part that says no shape of its event: a network instead of a distribution."""
    if not hasattr(part, "event_shape"):
        raise InputError(
            f"{name} must be a module that returns a distribution, with its event_shape, got {type(part).__name__}. "
            "Of a network make Conditional(network, family), with a family of isthmus.families."
        )
