"""The encoder and the decoder of a user's networks: which methods they are, and in which form they take and return."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch import distributions as D

from isthmus.errors import InputError
from isthmus.nets.user_module import CONDITION_AND_MASK, arguments
from isthmus.random_streams import seeded

METHODS = (("encode", "decode"), ("encoder", "decoder"))
"""Names of the two halves of a whole autoencoder."""
MAX_REASON_CHARACTERS = 160
"""Characters of a network's own error, at most."""


class Method(nn.Module):
    """One method of a user's module as a network of (x, c, mask).

    Args:
        module: the module.
        name: the method.
        input_shape: shape in which it takes a row or a code; None as it comes.
        outputs: which of the tensors that it returns are meant, in order; None for the first.
        scale_output: what the second of two outputs is: "log_variance", "log_scale" or "scale".
        split: whether its one output is two of the same size.
    """

    def __init__(
        self,
        module: nn.Module,
        name: str = "forward",
        input_shape: tuple[int, ...] | None = None,
        outputs: tuple[int, ...] | None = None,
        scale_output: str = "log_variance",
        split: bool = False,
    ):
        super().__init__()
        self.module, self.name, self.input_shape = module, name, input_shape
        self.outputs, self.scale_output, self.split = outputs, scale_output, split

    def configured(self, **kwargs: Any) -> Method:
        """The same method of the same module, with other settings."""
        now = {name: getattr(self, name) for name in ("name", "input_shape", "outputs", "scale_output", "split")}
        return Method(self.module, **(now | kwargs))

    @property
    def inputs(self) -> dict[int, str]:
        """The parameters for the condition (0) and the mask (1), as far as the method has any."""
        return arguments(self.signature, CONDITION_AND_MASK, 1)

    @property
    def signature(self) -> Callable[..., Any]:
        """The function whose parameters are those of the method."""
        function = self.function
        return function.forward if isinstance(function, nn.Module) else function

    @property
    def function(self) -> Callable[..., Any]:
        """The method."""
        return self.module if self.name == "forward" else getattr(self.module, self.name)

    @property
    def takes_condition(self) -> bool:
        """Whether it has a parameter for the condition."""
        return 0 in self.inputs

    @property
    def needs_condition(self) -> bool:
        """Whether this parameter has no default."""
        taken = self.inputs
        return 0 in taken and inspect.signature(self.signature).parameters[taken[0]].default is inspect.Parameter.empty

    def tensors(self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None, seed: int = 0) -> list[Tensor]:
        """All tensors that the method returns for rows or codes; what it draws comes from `seed`."""
        taken = self.inputs
        if c is not None and 0 not in taken:
            raise InputError(f"{self.name} of the networks must accept a condition. Define {self.name}(self, x, c).")
        x = x if self.input_shape is None else x.reshape(len(x), *self.input_shape)
        given = (c, mask)
        with seeded(seed):  # it may draw codes, which are left out
            out = self.function(x, **{parameter: given[slot] for slot, parameter in taken.items()})
        found = list(tensors_of(out, self.scale_output))
        if not found:
            raise InputError(f"{self.name} of the networks must return tensors, got {type(out).__name__}.")
        return found

    def forward(self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        found = self.tensors(x, c, mask)
        if self.outputs is None:
            return found[0]
        picked = [found[index].flatten(1) for index in self.outputs]
        if self.split:
            picked = list(picked[0].chunk(2, 1))
        if len(picked) == 1:
            return picked[0]
        loc, scale = picked
        log_variance = {"log_variance": scale, "log_scale": 2 * scale}.get(self.scale_output)
        return loc, 2 * scale.log() if log_variance is None else log_variance


def tensors_of(out: Any, scale_output: str) -> Iterator[Tensor]:
    """The tensors in what a network returned; of a normal distribution its mean, and its scale as `scale_output`."""
    if isinstance(out, Tensor):
        yield out
    elif isinstance(out, D.Distribution):
        base = out.base_dist if isinstance(out, D.Independent) else out
        if type(base) is not D.Normal:
            raise InputError(f"the encoder must return a Normal of independent elements, got {type(base).__name__}.")
        scale = {"log_variance": 2 * base.scale.log(), "log_scale": base.scale.log()}.get(scale_output, base.scale)
        yield from (base.loc, scale)
    elif isinstance(out, dict):
        yield from (value for value in out.values() if isinstance(value, Tensor))
    elif isinstance(out, tuple | list):
        for part in out:
            yield from tensors_of(part, scale_output)


def methods_of(module: nn.Module) -> tuple[Method, Method]:
    """The two halves of a whole autoencoder: `encode` and `decode`, or its networks `encoder` and `decoder`.

    Where only the second half has such a name, `forward` is the encoder.

    Raises:
        InputError: for a module that has no such decoder.
    """
    for encode, decode in METHODS:
        if has_method(module, encode) and has_method(module, decode):
            return Method(module, encode), Method(module, decode)
    for decode in (decode for _, decode in METHODS):
        if has_method(module, decode):  # the mean and the log-variance are among the outputs of forward
            return Method(module), Method(module, decode)
    parts = ", ".join(name for name, _ in module.named_children()) or "none"
    raise InputError(
        f"encoder must be a module with encode and decode, or with networks encoder and decoder, got "
        f"{type(module).__name__} with the networks {parts}. Define in the class `def decode(self, z): ...`, which "
        "returns the reconstruction, and `def encode(self, x): ...`, which returns (mean, log_variance), unless "
        "forward returns (reconstruction, mean, log_variance). Or pass its two halves: isthmus.wrap(encoder, decoder)."
    )


def has_method(module: nn.Module, name: str) -> bool:
    """Whether a module has a method or a network of this name."""
    return callable(getattr(module, name, None))


class NetworkForm(NamedTuple):
    """What an encoder and a decoder take and return.

    Args:
        encoder: gives codes (n, L), or a pair (mean, log_variance) of these.
        decoder: takes codes (n, L).
        latent_dim: L, numbers in a code.
        variational: whether the encoder also returns a scale.
        wide_everywhere: whether all log-variances are positive: more than the prior's, which no row is worth.
    """

    encoder: Method
    decoder: Method
    latent_dim: int
    variational: bool
    wide_everywhere: bool = False


NETWORK_ERRORS = (RuntimeError, TypeError, ValueError, AttributeError, IndexError, NotImplementedError)
"""What a network raises for rows or codes that it cannot process."""


@dataclass(frozen=True)
class Probe:
    """Networks run on a few rows to see their form.

    Args:
        encoder, decoder: the two halves.
        rows: (n, *X) as the encoder reads them.
        c: (n, C) conditions, as networks read them.
        mask: (n, T) True where a step is real.
    """

    encoder: Method
    decoder: Method
    rows: Tensor
    c: Tensor | None = None
    mask: Tensor | None = None

    def form(self) -> NetworkForm:
        """The first form in which the decoder takes what the encoder gives.

        Rows are passed as they are, then flat, then as grey images with a channel. Where the encoder of a whole module
        gives nothing that can be decoded, the outputs of its forward are read: (reconstruction, mean, log_variance).

        Raises:
            InputError: if there is none.
        """
        shape = tuple(self.rows.shape[1:])
        shapes = [None, (math.prod(shape),), *([(1, *shape)] if len(shape) == 2 else [])]
        names = dict.fromkeys([self.encoder.name, "forward"])
        reason: Exception | None = None
        for name in names:
            for input_shape in shapes:
                encoder = self.encoder.configured(name=name, input_shape=input_shape)
                try:
                    return self.form_of(encoder)
                except NETWORK_ERRORS as error:
                    reason = reason or error
        if isinstance(reason, InputError):
            raise reason
        why = " ".join(str(reason).split())[:MAX_REASON_CHARACTERS]
        raise InputError(f"the networks must accept rows of shape {shape}, but raised: {why}") from reason

    def form_of(self, encoder: Method) -> NetworkForm:
        """The form with this encoder; raises what the networks raise, or InputError."""
        first, again = (encoder.tensors(self.rows, self.c, self.mask, seed) for seed in range(2))
        fixed = [index for index, (one, other) in enumerate(zip(first, again)) if torch.equal(one, other)]
        if not fixed:
            raise InputError(
                f"{encoder.name} must return the mean and the log-variance of codes, got draws, which differ from call "
                "to call. Return (mean, log_variance)."
            )
        whole = (
            encoder.name == "forward" and self.decoder.module is encoder.module
        )  # whose forward returns the reconstruction first
        pair = pair_in([(i, first[i].shape) for i in fixed if i]) if whole else fixed[:2]
        if len(pair) == 2 and first[pair[0]].shape == first[pair[1]].shape:
            return self.decodable(encoder.configured(outputs=tuple(pair)), first[pair[0]])
        if whole:
            raise InputError(
                "forward must return (reconstruction, mean, log_variance), or the class define encode(self, x), which "
                "returns (mean, log_variance)."
            )
        try:
            return self.decodable(encoder.configured(outputs=(fixed[0],)), first[fixed[0]])
        except NETWORK_ERRORS as error:
            try:  # means and log-variances in one tensor
                return self.decodable(encoder.configured(outputs=(fixed[0],), split=True), first[fixed[0]])
            except NETWORK_ERRORS:
                raise error from None

    def decodable(self, encoder: Method, returned: Tensor) -> NetworkForm:
        """The form, if the decoder takes the codes that are made of what was `returned`; raises what it raises."""
        out = encoder(self.rows, self.c, self.mask)
        codes = out[0] if isinstance(out, tuple) else out
        spatial = returned.ndim > 2 and not encoder.split
        decoder = self.decoder.configured(input_shape=tuple(returned.shape[1:]) if spatial else None)
        decoded = decoder(codes, self.c, self.mask)
        if decoded.shape[0] != len(self.rows):
            raise ValueError(f"{decoder.name} returned shape {tuple(decoded.shape)} for {len(self.rows)} codes")
        wide = isinstance(out, tuple) and bool((out[1] >= 0).all() and (out[1] > 0).any())  # 0: of a scale of 1
        return NetworkForm(encoder, decoder, codes.shape[1], isinstance(out, tuple), wide)


def pair_in(outputs: list[tuple[int, tuple[int, ...]]]) -> list[int]:
    """Of outputs by number and shape, the first two neighbours of one shape: forward may return more than the pair."""
    return next(([i, j] for (i, one), (j, other) in pairwise(outputs) if one == other), [])


def network_form(
    encoder: Method, decoder: Method, rows: Tensor, c: Tensor | None = None, mask: Tensor | None = None
) -> NetworkForm:
    """The form of the networks' inputs and outputs, in evaluation mode, which they leave again."""
    modules = {id(part): part for half in (encoder, decoder) for part in half.modules()}
    modes = [(part, part.training) for part in modules.values()]
    try:
        for part, _ in modes:
            part.training = False
        with torch.no_grad():
            return Probe(encoder, decoder, rows, c, mask).form()
    finally:
        for part, training in modes:
            part.training = training
