"""Modules of the user's own: called with what their signature takes, read in the usual forms of outputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributions as D

from isthmus.errors import InputError

Output = Tensor | tuple[Tensor, Tensor]
"""What a network returns: all its numbers in one tensor, or a pair (mean, log_variance)."""
CONDITION_NAMES = ("c", "cond", "condition", "y", "label", "labels")
"""Names of an argument that is the condition."""
CONDITION_AND_MASK = (CONDITION_NAMES, ("mask",))
MIN_PROBABILITY = 1e-6
"""A decoder's probabilities are clamped to [1e-6, 1 - 1e-6]; single precision resolves logits no further."""
PROBE_ROWS = 16
"""Rows on which a network is run to see the form of its outputs."""
PRODUCTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)
"""Layers of torch that multiply their input by their weights."""


def arguments(function: Callable[..., Any], slots: Sequence[Sequence[str]], skip: int) -> dict[int, str]:
    """Which of several values a function takes besides its first arguments, by name.

    A parameter takes the value whose names include its own. Any other one that has no default takes the next value that
    is left; one that has a default keeps it.

    >>> arguments(lambda x, temperature=1.0, mask=None: x, CONDITION_AND_MASK, 1)
    {1: 'mask'}
    >>> arguments(lambda x, speaker: x, CONDITION_AND_MASK, 1)
    {0: 'speaker'}

    Args:
        function: the function.
        slots: the usual names of each value.
        skip: first arguments, which are passed by position.

    Returns:
        The parameter's name by the number of the value.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())[skip:]
    except (TypeError, ValueError):  # compiled code without a signature
        return {}
    named = [
        p for p in parameters if p.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    ]
    taken = {slot: p.name for p in named for slot, names in enumerate(slots) if p.name in names}
    for parameter in named:
        left = [slot for slot in range(len(slots)) if slot not in taken]
        if parameter.default is inspect.Parameter.empty and parameter.name not in taken.values() and left:
            taken[left[0]] = parameter.name
    return taken


def is_full(module: nn.Module) -> bool:
    """Whether a module's forward takes condition and mask by these names, as the networks of isthmus do."""
    names = inspect.signature(module.forward).parameters
    return "c" in names and "mask" in names


def in_order(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of sequences within sequences, one that comes twice twice."""
    if type(module) is not nn.Sequential:
        yield module
        return
    for part in module:
        yield from in_order(part)


class UserModule(nn.Module):
    """A user's own module as a network of (x, c, mask): its forward takes x, and the others only if it names them.

    The module is called over one leading dimension. It returns a tensor, a pair of tensors (mean, log_variance), or a
    `torch.distributions.Normal`.

    Args:
        module: the module; called with rows (n, *input_shape).
        input_shape: shape of one row.
        condition: width of the condition, 0 if there is none.
        name: what errors call it.
        dry_run: run it on two rows of zeros, which initializes lazy layers and shows whether the shape fits.

    Raises:
        InputError: if the module cannot process rows of that shape.
    """

    def __init__(
        self,
        module: nn.Module,
        input_shape: tuple[int, ...],
        condition: int = 0,
        *,
        name: str = "network",
        dry_run: bool = True,
    ):
        super().__init__()
        if not isinstance(module, nn.Module):
            raise InputError(f"{name} must be a torch.nn.Module, got {type(module).__name__}.")
        self.module, self.input_shape, self.name = module, tuple(input_shape), name
        self.taken = arguments(module.forward, CONDITION_AND_MASK, 1)
        if dry_run:
            self.probe(torch.zeros(2, *input_shape), condition)

    def products(self) -> list[nn.Module]:
        """The dense and convolutional layers in their order, if these can compute in another precision than the rest.

        That is a `torch.nn.Sequential` of layers of torch without parts or hooks, and of further such sequences.
        """
        if type(self.module) is not nn.Sequential:
            return []
        leaves = [part for part in self.module.modules() if type(part) is not nn.Sequential]
        if any(list(part.children()) or not type(part).__module__.startswith("torch.nn.") for part in leaves):
            return []
        if any(part._forward_hooks or part._forward_pre_hooks for part in self.module.modules()):
            return []
        return [part for part in leaves if type(part) in PRODUCTS]

    def hidden_layers(self) -> list[nn.Module]:
        """The `products` before the output layer."""
        return self.products()[:-1]

    def probe(self, rows: Tensor, condition: int = 0) -> Output:
        """The output for a few rows (n, *input_shape) in evaluation mode, without a gradient.

        Raises:
            InputError: if the module cannot process them.
        """
        modes = {module: module.training for module in self.module.modules()}
        self.module.eval()
        floats = [p.dtype for p in self.module.parameters() if not isinstance(p, nn.UninitializedParameter)]
        weight = next(self.module.parameters(), rows)
        rows = rows.to(weight.device, floats[0] if floats else None)
        try:
            with torch.no_grad():
                return self(rows, rows.new_zeros(len(rows), condition) if condition else None)
        except InputError:
            raise
        except Exception as error:  # a user's module may raise anything
            why = " ".join(str(error).split())[:160]
            raise InputError(
                f"the {self.name} must accept rows of shape {tuple(rows.shape[1:])}, but raised: {why}"
                f"{self.hint(rows, condition)}"
            ) from error
        finally:
            for module, training in modes.items():
                module.training = training

    def hint(self, rows: Tensor, condition: int) -> str:
        """What may be wrong with a module that cannot process rows (n, *input_shape)."""
        if 0 in self.taken and not condition:
            return f". It takes {self.taken[0]!r}: pass condition=... to fit."
        if self.name == "decoder":
            return f". Codes have {rows[0].numel()} numbers: set latent_dim to what the decoder reads."
        if rows.ndim == 3 and any(isinstance(module, nn.Conv2d) for module in self.module.modules()):
            return f". Grey images have no channels: begin with torch.nn.Unflatten(1, (1, {rows.shape[1]}))."
        return ""

    def forward(self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Output:
        batch = x.shape[: x.ndim - len(self.input_shape)]
        flat = x.flatten(0, len(batch) - 1) if len(batch) > 1 else x
        if c is not None and 0 not in self.taken:
            raise InputError(f"the {self.name} must accept a condition. Define forward(self, x, c) or omit condition=.")
        given = [None if t is None else t.expand(*batch, t.shape[-1]).reshape(-1, t.shape[-1]) for t in (c, mask)]
        out = self.read(self.run(flat, {parameter: given[slot] for slot, parameter in self.taken.items()}))
        if len(batch) == 1:
            return out
        return tuple(part.unflatten(0, batch) for part in out) if isinstance(out, tuple) else out.unflatten(0, batch)

    def run(self, x: Tensor, given: dict[str, Tensor | None]) -> Any:
        """What the module returns; where some of its `products` are in bf16, each layer in the dtype of its weights."""
        if not any(layer.weight.dtype != x.dtype for layer in self.products()):
            return self.module(x, **given)
        for layer in in_order(self.module):
            weight = getattr(layer, "weight", None)
            x = layer(x if weight is None else x.to(weight.dtype))
        return x

    def read(self, out: Any) -> Output:
        """What the module returned as one tensor, or as a pair (mean, log_variance)."""
        if isinstance(out, Tensor):
            return out
        if isinstance(out, D.Distribution):
            base = out.base_dist if isinstance(out, D.Independent) else out
            if type(base) is D.Normal:
                return base.loc, 2 * base.scale.log()
        if isinstance(out, tuple | list) and all(isinstance(part, Tensor) for part in out):
            if len(out) == 1:
                return out[0]
            if len(out) == 2:
                return out[0], out[1]
        got = f"{len(out)} values" if isinstance(out, tuple | list) else type(out).__name__
        raise InputError(
            f"the {self.name} must return a tensor, a pair of tensors (mean, log_variance) or a "
            f"torch.distributions.Normal, got {got}."
        )


class ProbabilityToLogits(nn.Module):
    """A decoder that returns probabilities, as one that returns logits."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, z: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        return self.net(z, c, mask).clamp(MIN_PROBABILITY, 1 - MIN_PROBABILITY).logit()


def returns_probabilities(decoder: UserModule, condition: int) -> bool:
    """Whether a decoder returns numbers from 0 to 1 for codes of the standard normal; logits have both signs."""
    codes = torch.randn(PROBE_ROWS, *decoder.input_shape, generator=torch.Generator().manual_seed(0))
    out = decoder.probe(codes, condition)
    return isinstance(out, Tensor) and bool(((out >= 0) & (out <= 1)).all())
