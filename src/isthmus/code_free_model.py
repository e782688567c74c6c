"""Models of x without a code."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.distributions.latent import NoCode
from isthmus.errors import InputError
from isthmus.forward_pass import Pass
from isthmus.latent_model import Capabilities, Code, Model


class CodeFreeModel(Model):
    """A model of x without a code, such as an autoregressive one; its log p(x) is exact.

    A subclass gives `log_prob` and `sample`, and hands `log_volume`, the scaling of the data, to `__init__`.
    """

    def log_prob(self, batch: Batch) -> Tensor:
        """(B,) log p(x) of `batch.target`, nats, in the units that networks read: `at` subtracts the scaling's part.

        Args:
            batch: B rows, with their conditions and masks.
        """
        raise NotImplementedError

    def sample(self, n: int, c: Tensor | None = None, mask: Tensor | None = None, *, mean: bool = False) -> Tensor:
        """(n, *X) rows from the model, in the units that networks read; arguments as in `draw`."""
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
        log_px = self.log_prob(batch) - self.volume_of(batch)
        return Pass(z, nothing, None, nothing, log_px=log_px.expand(len(z), -1), exact=True)

    def draw(
        self, n: int, c: Tensor | None = None, mask: Tensor | None = None, *, mean: bool = False
    ) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            x = self.sample(n, c, mask, mean=mean)
        return x.new_zeros(n, 0), x

    def decode(self, z: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Any:
        raise InputError(f"{type(self).__name__} has no code, so nothing can be decoded. Use sample.")
