"""Normalizing flows: chains of invertible maps of vectors, whose change of volume is known."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from zuko.flows import ElementWiseTransform, MaskedAutoregressiveTransform
from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform

from isthmus.errors import InputError
from isthmus.random_streams import seeded

BINS = 8
"""Pieces of a spline, between -5 and 5 (Durkan et al., 2019); outside it is the identity."""
MIN_SLOPE = 1e-2
"""Of a spline: mapping back through one may enlarge rounding a hundredfold."""
MAX_MAPS = 32
"""Maps of a chain, at most."""
HIDDEN = (64, 64)
"""Hidden layers of the network of a map."""

STEPS, CHECKED_STEPS, BATCH, RATE = 2000, 100, 256, 3e-3
"""Updates of a flow that is fitted on its own, those between two looks at held-out rows, rows of one, learning rate."""
HELD_OUT = 10
"""One row in so many is held out to choose the weights of such a flow."""
MIN_SCALE = 1e-6
"""Least standard deviation that elements are divided by."""


class Spline(MonotonicRQSTransform):
    """A monotone spline that is inverted in double precision, with the first derivatives of the inverse, no second."""

    def __init__(self, widths: Tensor, heights: Tensor, derivatives: Tensor):
        super().__init__(widths, heights, derivatives, slope=MIN_SLOPE)

    def _inverse(self, y: Tensor) -> Tensor:
        with torch.no_grad():  # the formula subtracts numbers that are nearly equal
            double = MonotonicRQSTransform.__new__(MonotonicRQSTransform)
            vars(double).update({name: part.double() for name, part in vars(self).items() if torch.is_tensor(part)})
            x = MonotonicRQSTransform._inverse(double, y.double()).to(y.dtype)
        # A step of Newton's method, which changes the value by its rounding alone, has the gradient of the inverse.
        reached, log_slope = self.call_and_ladj(x)
        return x - (reached - y) * (-log_slope.detach()).exp()


class Flow(nn.Module):
    """A chain of k maps of vectors, in each of which an element is a monotone function of itself given others.

    In an autoregressive map these are all elements before it; in a coupling they are the first half. The next map has
    the reverse order. A flow starts as the identity.

    Args:
        dim: D, elements of a vector.
        k: number of maps.
        context: numbers of each row that the maps read, 0 for none.
        spline: whether the functions are splines, or affine.
        coupling: whether maps are couplings, which are inverted in 2 passes of their network instead of D.

    Raises:
        InputError: if k is not an integer from 1 to 32.
    """

    def __init__(self, dim: int, k: int, context: int = 0, *, spline: bool = True, coupling: bool = False):
        super().__init__()
        if type(k) is not int or not 1 <= k <= MAX_MAPS:
            raise InputError(f"k must be an integer from 1 to {MAX_MAPS}, the number of maps of a flow, got {k}.")
        kwargs: dict[str, Any] = {"univariate": MonotonicAffineTransform, "shapes": [(), ()]}
        if spline:
            kwargs = {"univariate": Spline, "shapes": [(BINS,), (BINS,), (BINS - 1,)]}
        if context:
            kwargs |= {"hidden_features": HIDDEN, "activation": nn.SiLU}
        order = torch.arange(dim)

        def new(i: int) -> nn.Module:
            if dim == 1:
                return ElementWiseTransform(1, context, **kwargs)
            network = {"hidden_features": HIDDEN, "activation": nn.SiLU}
            passes, turned = 2 if coupling else dim, order if i % 2 == 0 else order.flip(0)
            return MaskedAutoregressiveTransform(dim, context, passes, turned, **(kwargs | network))

        self.maps = nn.ModuleList(map(new, range(k)))
        for each in self.maps:
            _start_as_identity(each)

    def forward(self, x: Tensor, context: Tensor | None = None, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """Vectors mapped, or mapped back, and the log-determinant of what was done, nats.

        Args:
            x: (..., D).
            context: (B, C), or what broadcasts to (..., C).
            inverse: whether to map back.
        """
        log_det = x.new_zeros(x.shape[:-1])
        if not x.numel():
            return x, log_det
        for each in reversed(self.maps) if inverse else self.maps:
            transform = each(context)
            if inverse:
                x = transform.inv(x)
                log_det = log_det - transform.call_and_ladj(x)[1]
            else:
                x, change = transform.call_and_ladj(x)
                log_det = log_det + change
        return x, log_det


class StandardizedFlow(nn.Module):
    """A flow of vectors that are standardised first; it is fitted to them on its own, and starts as the identity.

    Args:
        dim: D, elements of a vector.
        k: number of maps.
    """

    loc: Tensor
    log_scale: Tensor

    def __init__(self, dim: int, k: int):
        super().__init__()
        self.flow = self.new(dim, k)
        self.register_buffer("loc", torch.zeros(dim))
        self.register_buffer("log_scale", torch.zeros(dim))

    def forward(self, x: Tensor, context: Tensor | None = None, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """As `Flow.forward`, of vectors x (..., D), or of what they are mapped to."""
        log_volume = self.log_scale.sum()
        if inverse:
            u, log_det = self.flow(x, context, inverse=True)
            return self.loc + self.log_scale.exp() * u, log_det + log_volume
        y, log_det = self.flow((x - self.loc) * (-self.log_scale).exp(), context)
        return y, log_det - log_volume

    @staticmethod
    def new(dim: int, k: int) -> Flow:
        """A flow that is always the same; what else is drawn does not depend on it."""
        with seeded(0):
            return Flow(dim, k).requires_grad_(False)

    def fit(self, x: Tensor, seed: int) -> None:
        """Fit the flow to rows x (n, D) by maximum likelihood; the weights are those that score held-out rows best."""
        with torch.no_grad():
            self.loc.copy_(x.mean(0))
            self.log_scale.copy_(x.std(0).clamp(min=MIN_SCALE).log())
        self.flow.load_state_dict(self.new(x.shape[1], len(self.flow.maps)).state_dict())
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)
        held = max(1, len(x) // HELD_OUT)
        valid, train = x[order[:held]], x[order[held:]]

        def loss(rows: Tensor) -> Tensor:
            y, log_det = self(rows)
            return (0.5 * y.square().sum(-1) - log_det).mean()

        with torch.enable_grad():
            self.flow.requires_grad_(True)
            optimizer = torch.optim.Adam(self.flow.parameters(), RATE)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
            random, best, kept = torch.Generator().manual_seed(seed), math.inf, copy.deepcopy(self.flow.state_dict())
            for step in range(STEPS + 1):
                if step % CHECKED_STEPS == 0:
                    with torch.no_grad():
                        score = float(loss(valid))
                    if score < best:
                        best, kept = score, copy.deepcopy(self.flow.state_dict())
                rows = train[torch.randint(len(train), (min(BATCH, len(train)),), generator=random).to(x.device)]
                optimizer.zero_grad()
                loss(rows).backward()
                optimizer.step()
                schedule.step()
        self.flow.load_state_dict(kept)
        self.flow.requires_grad_(False)


@torch.no_grad()
def _start_as_identity(each: nn.Module) -> None:
    layers = [layer for layer in each.modules() if isinstance(layer, nn.Linear)]
    for parameter in layers[-1].parameters() if layers else each.parameters():
        parameter.zero_()
