"""Mixed precision: networks compute with bf16 copies of weights that are kept, and trained, in float32."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from isthmus.conditional import Conditional
from isthmus.families import Bernoulli, Categorical, ContinuousBernoulli, Family, LocationScale
from isthmus.nets.layers import Preprocess
from isthmus.nets.user_module import UserModule
from isthmus.random_streams import KNOWN
from isthmus.scales import FixedScale

MIN_WIDTH, MIN_ROWS = 512, 64
"""Inputs and outputs of a layer, and rows of a batch, below which bf16 saves less than a tenth of an update, for its
operands are converted: 5 % at 256, 15 to 25 % at 512."""
MIN_CHANNELS = 32
"""Channels of a convolution below which the same holds."""
MIN_SCALE = 0.1
"""Fixed scale of numbers of order 1 beside which a location in bf16, off by 0.002 of its size, is exact."""


def has_bf16_units(device: torch.device) -> bool:
    """Whether a processor or GPU multiplies matrices of bf16 faster than those of float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    known = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(supported() for supported in known if supported is not None)


def bf16_layers(model: nn.Module) -> list[nn.Module]:
    """The layers of our networks, and of sequences of torch's, that may compute in bf16 while a model is trained.

    Those are the hidden ones, and the output layer where bf16 rounds off nothing of what it gives.
    """
    found: list[nn.Module] = []
    # Code of others may compute with the weights of a layer elsewhere.
    is_known = all(type(part).__module__.startswith((*KNOWN, "torch.nn.")) for part in model.modules())
    holders = Counter(id(p) for part in model.modules() for p in part.parameters(recurse=False))
    for part in model.modules():
        if not isinstance(part, Conditional):
            continue
        net = part.net
        while isinstance(net, Preprocess):
            net = net.net
        hidden = getattr(net, "hidden_layers", None)
        if isinstance(net, UserModule):
            layers = net.products() if gives_logits(part.family) else net.hidden_layers()
            found += [layer for layer in layers if is_known and all(holders[id(p)] == 1 for p in layer.parameters())]
        elif hidden is not None:
            found += [net] if gives_logits(part.family) else hidden()
    return found


def gives_logits(family: Family) -> bool:
    """Whether a likelihood reads logits, or locations of a wide fixed scale; a learned one may become narrow."""
    if isinstance(family, LocationScale) and isinstance(family.log_scale, FixedScale):
        return family.log_scale() >= math.log(MIN_SCALE)
    return isinstance(family, Bernoulli | ContinuousBernoulli | Categorical)


def bf16_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of `bf16_layers`."""
    by_id = {id(p): p for layer in bf16_layers(model) for p in layer.parameters() if p.requires_grad}
    return list(by_id.values())


def bf16_pays(model: nn.Module, rows: int) -> bool:
    """Whether convolutions, or wide layers with most of the weights, may compute in bf16 for batches of this size."""
    if rows < MIN_ROWS:
        return False
    weights = [p for p in bf16_parameters(model) if p.ndim > 1]
    if any(p.ndim > 2 and max(p.shape[:2]) >= MIN_CHANNELS for p in weights):
        return True
    wide = sum(p.numel() for p in weights if min(p.shape) >= MIN_WIDTH)
    return 2 * wide > sum(p.numel() for p in model.parameters())


class Bf16Copies:
    """bf16 copies of a piece of the flat weights, which stand in for parameters while gradients are computed.

    Steps are small beside weights: added to eight bits most of them would be lost, so the weights themselves stay in
    float32 (Micikevicius et al., 2018). bf16 has the range of float32, so no loss needs to be scaled.

    Args:
        parameters: in their order in the buffer.
        weights: their values in float32, end to end.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], weights: Tensor):
        self.parameters, self.weights = parameters, weights
        self.low = weights.to(torch.bfloat16)
        self.stand_in()

    def _become(self, flat: Tensor) -> None:
        pieces = flat.split([p.numel() for p in self.parameters])
        for parameter, piece in zip(self.parameters, pieces):
            parameter.grad = None  # of another dtype
            parameter.data = piece.view(parameter.shape)

    def stand_in(self) -> None:
        """Let the parameters be the copies."""
        self._become(self.low)

    def step_aside(self) -> None:
        """Let the parameters be the weights in float32."""
        self._become(self.weights)

    def renew(self) -> None:
        """Copy the weights anew, after they have changed."""
        self.low.copy_(self.weights)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Compute in float32 inside the context."""
        self.step_aside()
        try:
            yield
        finally:
            self.stand_in()
