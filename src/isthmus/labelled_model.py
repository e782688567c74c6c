"""A model of rows and their classes, of which few are known (Kingma et al., 2014, M2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from isthmus.batch import Batch
from isthmus.distributions.labelled import LabelledNormal, LabelledPrior
from isthmus.forward_pass import Pass
from isthmus.latent_model import Capabilities, Code, LatentModel

LOG_SCALE_LIMITS = (-15.0, 10.0)
"""Between which log-scales are kept, so that no step of training overflows."""


class LabelledPosterior(nn.Module):
    """q(y given x) q(z given x, y).

    Args:
        label_net: a network of (x, c, mask) whose E outputs are logits of the classes.
        feature_net: a network of (x, c, mask) to features (B, H).
        code_net: a network of features and, as its condition, a class (E bits) to 2 D numbers.
        classes: E.
        code_size: D.
    """

    formula = "y ~ Categorical(p(x)), z ~ N(mean(x, y), diag scale(x, y)²)"
    discrete = True
    """No gradient moves a class."""

    bits: Tensor

    def __init__(self, label_net: nn.Module, feature_net: nn.Module, code_net: nn.Module, classes: int, code_size: int):
        super().__init__()
        self.label_net, self.feature_net, self.code_net = label_net, feature_net, code_net
        self.event_shape = (classes + code_size,)
        self.register_buffer("bits", torch.eye(classes), persistent=False)

    def logits(self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """(B, E) of the classes."""
        return self.label_net(x, c, mask)

    def forward(self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> LabelledNormal:
        b, e = len(x), len(self.bits)
        features = self.feature_net(x, c, mask)[:, None].expand(b, e, -1)
        raw = self.code_net(features.flatten(0, 1), self.bits.repeat(b, 1)).unflatten(0, (b, e))
        loc, log_scale = raw.chunk(2, -1)
        return LabelledNormal(self.logits(x, c, mask).log_softmax(-1), loc, log_scale.clamp(*LOG_SCALE_LIMITS))


class LabelledStandard(nn.Module):
    """Classes that are equally likely, and standard normal numbers."""

    formula = "y ~ Uniform, z ~ N(0, I)"
    of_field = False
    """Whether the field `prior` can name another one."""

    log_p: Tensor

    def __init__(self, classes: int, code_size: int):
        super().__init__()
        self.code_size = code_size
        self.register_buffer("log_p", torch.full((classes,), -math.log(classes)), persistent=False)

    def forward(self, c: Tensor | None = None, mask: Tensor | None = None, posterior: nn.Module | None = None):
        return LabelledPrior(self.log_p, self.code_size)


class LabelledModel(LatentModel):
    """p(y) p(z) p(x given y, z); where y is not known it is summed over, weighted by q(y given x)."""

    @property
    def code(self) -> Code:
        shape = tuple(self.posterior.event_shape)
        return Code(shape, 1 + self.prior.code_size, discrete=True)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities("bound", samples=True, encodes=True, lengths=True, missing=True, wants_labels=True)

    def forward(self, batch: Batch, draws: int = 1, train: bool = False) -> Pass:
        """A pass in which known labels (`batch.y`) are taken as given.

        Args:
            batch: B rows.
            draws: K, draws for each row and class.
            train: whether this is a pass of training.
        """
        q = self.infer(batch._replace(x=self.corrupt(batch)), train)
        if batch.y is not None:
            q = q.given(batch.y)
        return self.forward_from(batch, q, q.noise(draws, len(batch.x)), self.prior_for(batch))
