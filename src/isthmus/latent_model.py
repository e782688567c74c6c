"""A model of x and a code z, and what can be asked of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from isthmus.batch import Batch
from isthmus.distributions.independent import Masked, over_steps
from isthmus.distributions.latent import NoCode
from isthmus.errors import InputError
from isthmus.forward_pass import Pass

DECODED_AT_ONCE = 2048
"""Rows through a decoder in one call when x is drawn."""


class Code(NamedTuple):
    """What a code is."""

    shape: tuple[int, ...]
    """Shape of one code; (0,) for a model without a code."""
    groups: int
    """Parts of the KL divergence that `Pass.kl` tells apart: latent dimensions, levels of a hierarchy, steps."""
    discrete: bool = False
    """Whether codes are discrete, so that no gradient can move them."""

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
    wants_labels: bool = False
    """Whether training reads labels."""

    @property
    def has_density(self) -> bool:
        """Whether log p(x) can be had, exactly or as a bound."""
        return self.scores != "none"


class Model(nn.Module):
    """What can be asked of any model; one whose parts share state implements these methods and nothing else.

    A subclass gives `code`, `infer`, `prior_for`, `forward_from`, `at`, `draw` and `decode`.
    """

    corruption: Any
    """A module that damages x in training, or None."""

    def __init__(self) -> None:
        super().__init__()
        self.corruption = None

    @property
    def code(self) -> Code:
        """What a code is."""
        raise NotImplementedError

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do; by default everything that a latent-variable model with a density can."""
        return Capabilities(scores="bound", samples=True, encodes=self.code.size > 0)

    def parts(self) -> dict[str, nn.Module]:
        """The parts of the model by name."""
        return dict(self.named_children())

    def infer(self, batch: Batch, train: bool = False) -> Any:
        """q(z given x) of each row; `train` says that parts which learn from batches may learn from this one."""
        raise NotImplementedError

    def prior_for(self, batch: Batch) -> Any:
        """p(z), or p(z given c) of each row; None for a model without a prior. Asked for once a batch."""
        raise NotImplementedError

    def forward_from(self, batch: Batch, q: Any, noise: Tensor, prior: Any = None) -> Pass:
        """The rest of a pass, from q(z given x), noise (K, B or 1, ...) and p(z), which is asked for if left out."""
        raise NotImplementedError

    def at(self, batch: Batch, z: Tensor, prior: Any = None) -> Pass:
        """The joint density of the rows and given codes z (K, B, *Z)."""
        raise NotImplementedError

    def draw(
        self, n: int, c: Tensor | None = None, mask: Tensor | None = None, *, mean: bool = False
    ) -> tuple[Tensor, Tensor]:
        """n codes (n, *Z) and rows (n, *X) from the model, in the units that networks read.

        Args:
            c: (n, C) conditions.
            mask: (n, T) True where a step is real.
            mean: point predictions of x given the drawn codes instead of draws of x.
        """
        raise NotImplementedError

    def decode(self, z: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Any:
        """p(x given z) of codes z (..., B, *Z)."""
        raise NotImplementedError

    def decoder_norms(self) -> Tensor | float:
        """(D,) how far one unit of each latent dimension moves the decoder's first layer; 1 where it is not known."""
        return 1.0

    def encode(self, batch: Batch) -> Tensor:
        """(B, *Z) the code that stands for each row: the centre of q(z given x)."""
        return self.infer(batch).centre

    def forward(self, batch: Batch, draws: int = 1, train: bool = False) -> Pass:
        """K draws for each of B rows, whose x is damaged first where there is a corruption."""
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


class LatentModel(Model):
    """p(x, z given c) = p(z given c) p(x given z, c), with an amortised q(z given x, c).

    Args:
        posterior: module of (x, c, mask) whose forward returns q(z given x).
        likelihood: module of (z, c, mask) whose forward returns p(x given z).
        prior: module of (c, mask, posterior) whose forward returns p(z).
        corruption: module that damages x in training.
        log_volume: nats that the scaling of the data takes from a log-density, in all or for each element (*X), so that
            every density read from a `Pass` is in the data's own units.
    """

    posterior: Any
    likelihood: Any
    prior: Any
    element_log_volume: Tensor | None

    def __init__(
        self,
        posterior: nn.Module,
        likelihood: nn.Module,
        prior: nn.Module,
        corruption: nn.Module | None = None,
        log_volume: Any = 0.0,
    ):
        super().__init__()
        self.posterior, self.likelihood, self.prior = posterior, likelihood, prior
        self.corruption = corruption
        elements = torch.as_tensor(log_volume, dtype=torch.float64)
        self.log_volume = float(elements.sum())
        self.register_buffer("element_log_volume", elements if elements.ndim else None, persistent=False)

    @property
    def code(self) -> Code:
        shape = tuple(self.posterior.event_shape)
        return Code(shape, math.prod(shape), getattr(self.posterior, "discrete", False))

    @property
    def capabilities(self) -> Capabilities:
        dense = all(getattr(part, "has_density", True) for part in (self.posterior, self.likelihood, self.prior))
        return Capabilities("bound" if dense else "none", samples=dense, encodes=self.code.size > 0)

    def parts(self) -> dict[str, nn.Module]:
        named = {name: getattr(self, name) for name in ("prior", "posterior", "likelihood", "corruption")}
        return {name: part for name, part in named.items() if part is not None}

    def infer(self, batch: Batch, train: bool = False) -> Any:
        if train and getattr(self.posterior, "learns", False):
            return self.posterior(batch.x, batch.c, batch.mask, train=True)
        return self.posterior(batch.x, batch.c, batch.mask)

    def prior_for(self, batch: Batch) -> Any:
        return self.prior(batch.c, batch.mask, self.posterior)

    def forward_from(self, batch: Batch, q: Any, noise: Tensor, prior: Any = None) -> Pass:
        z, log_q, log_weight = q.draw(noise)  # (K, B, *Z), (K, B), (K, B)
        return self._joint(batch, z, prior, q=q, log_qz=log_q, log_weight=log_weight)

    def at(self, batch: Batch, z: Tensor, prior: Any = None) -> Pass:
        return self._joint(batch, z, prior)

    def _joint(self, batch: Batch, z: Tensor, prior: Any, **kwargs: Any) -> Pass:
        if prior is None:
            prior = self.prior_for(batch)
        px = self.decode(z, batch.c, batch.mask)
        log_volume: Tensor | float = self.log_volume
        if batch.observed is not None:
            px, log_volume = Masked(getattr(px, "base", px), self._counted(batch)), self._volume_of(batch)
        elif batch.mask is not None and log_volume:  # every real step takes the same
            log_volume = log_volume * batch.mask.to(z.dtype).mean(-1)
        return Pass(z, px=px, prior=prior, target=batch.target, log_volume=log_volume, **kwargs)

    def _counted(self, batch: Batch) -> Tensor:
        """(B, *X) True where an element is neither padding nor unobserved."""
        assert batch.observed is not None
        if batch.mask is None:
            return batch.observed
        return batch.observed & over_steps(batch.mask, batch.observed.ndim - 1)

    def _volume_of(self, batch: Batch) -> Tensor | float:
        """(B,) what the scaling of the observed elements takes."""
        counted = self._counted(batch)
        if not self.log_volume and self.element_log_volume is None:
            return 0.0
        each = self.log_volume / counted[0].numel() if self.element_log_volume is None else self.element_log_volume
        return (counted * each).flatten(1).sum(-1).to(batch.x.dtype)

    def draw(
        self, n: int, c: Tensor | None = None, mask: Tensor | None = None, *, mean: bool = False
    ) -> tuple[Tensor, Tensor]:
        first = next(self.parameters())
        prior = self.prior_for(Batch(first.new_zeros(n, 0), c, mask))
        if prior is None:
            raise InputError("a model without a prior cannot be sampled from. Use a VAE.")
        with torch.no_grad():
            z = prior.sample() if prior.batch_shape else prior.sample((n,))
            x = []
            for index in torch.arange(n, device=z.device).split(DECODED_AT_ONCE):
                px = self.decode(z[index], *[None if given is None else given[index] for given in (c, mask)])
                x.append(px.point if mean else px.sample())
        return z, torch.cat(x) if x else z.new_zeros(0)

    def decode(self, z: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Any:
        px = self.likelihood(z, c, mask)
        return px if mask is None else Masked(px, over_steps(mask, len(px.event_shape)))

    def decoder_norms(self) -> Tensor | float:
        norms = getattr(self.likelihood, "input_column_norms", None)
        return 1.0 if norms is None else norms()


class CodeFreeModel(Model):
    """A model of x without a code, such as an autoregressive one; its log p(x) is exact.

    A subclass gives `log_prob` and `sample`.
    """

    def log_prob(self, batch: Batch) -> Tensor:
        """(B,) log p(x) of `batch.target`, nats in the data's own units."""
        raise NotImplementedError

    def sample(self, n: int, c: Tensor | None = None, mask: Tensor | None = None, *, mean: bool = False) -> Tensor:
        """(n, *X) rows from the model, in the units that networks read."""
        raise NotImplementedError

    @property
    def code(self) -> Code:
        return Code((0,), 0)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities("exact", samples=True, encodes=False)

    def infer(self, batch: Batch, train: bool = False) -> NoCode:
        return NoCode(batch.x)

    def prior_for(self, batch: Batch) -> NoCode:
        return NoCode(batch.x)

    def forward_from(self, batch: Batch, q: Any, noise: Tensor, prior: Any = None) -> Pass:
        return self.at(batch, q.draw(noise).z)

    def at(self, batch: Batch, z: Tensor, prior: Any = None) -> Pass:
        nothing = NoCode(batch.x)
        log_px = self.log_prob(batch).expand(len(z), -1)
        return Pass(z, nothing, None, nothing, log_px=log_px, exact=True)

    def draw(
        self, n: int, c: Tensor | None = None, mask: Tensor | None = None, *, mean: bool = False
    ) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            x = self.sample(n, c, mask, mean=mean)
        return x.new_zeros(n, 0), x

    def decode(self, z: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Any:
        raise InputError(f"{type(self).__name__} has no code, so that nothing can be decoded. Use sample.")
