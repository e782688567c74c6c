"""A loss is a sum of weighted, named terms: `nll + 4.0 * kl` reads, and logs, like the equation."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.batch import Batch
from isthmus.errors import InputError
from isthmus.latent_model import LatentModel, Pass


class Schedule:
    """A weight that follows the run: a function of progress in [0, 1], which multiplies like a number."""

    def __init__(self, value: Callable[[Tensor], Tensor]):
        self.value = value

    def __call__(self, progress: Tensor) -> Tensor:
        return self.value(progress)

    def __mul__(self, other):
        if isinstance(other, Schedule):
            return Schedule(lambda progress: self(progress) * other(progress))
        if isinstance(other, int | float):
            return Schedule(lambda progress: self(progress) * other)
        return NotImplemented

    __rmul__ = __mul__


def warmup(fraction: float) -> Schedule | float:
    """A weight that rises linearly from 0 to 1 over the first `fraction` of the run; 1 throughout for 0."""
    if not 0 <= fraction <= 1:
        raise InputError(f"a warm-up over {fraction} of the run came; a share from 0 to 1 is wanted")
    return Schedule(lambda progress: (progress / fraction).clamp(max=1.0)) if fraction else 1.0


class Term(nn.Module):
    """One named, weighted summand of a loss: a function of (model, batch, run) to (B,) values or one.

    `draws` is how many draws of the code it needs.
    """

    def __init__(self, fn: Callable[[LatentModel, Batch, Pass], Tensor], name: str, draws: int = 1):
        super().__init__()
        self.fn, self.name, self.draws = fn, name, draws
        self.weight: float | Schedule = 1.0

    def forward(self, model: LatentModel, batch: Batch, run: Pass) -> Tensor:
        """The unweighted value, averaged over the batch."""
        return self.fn(model, batch, run).mean()

    def __mul__(self, weight: float | Schedule) -> Term:
        if not isinstance(weight, int | float | Schedule):
            return NotImplemented
        new = copy.copy(self)
        new.weight = weight * self.weight
        return new

    __rmul__ = __mul__

    def __add__(self, other: Term | Objective) -> Objective:
        return Objective([self]) + other


class Objective(nn.Module):
    """A sum of terms; two terms of one name are an error."""

    terms: Any

    def __init__(self, terms: list[Term]):
        super().__init__()
        names = [term.name for term in terms]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise InputError(f"two terms are named {twice!r}; a loss has one of each name: add their weights")
        self.terms = nn.ModuleList(terms)

    def __add__(self, other: Term | Objective) -> Objective:
        if not isinstance(other, Term | Objective):
            return NotImplemented
        return Objective([*self.terms, *(other.terms if isinstance(other, Objective) else [other])])

    @property
    def names(self) -> list[str]:
        return [term.name for term in self.terms]

    @property
    def draws(self) -> int:
        return max(term.draws for term in self.terms)

    def forward(self, model: LatentModel, batch: Batch, run: Pass, progress: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The weighted sum, and each term's unweighted mean in the order of `names`."""
        total, values = None, []
        for term in self.terms:
            value = term(model, batch, run)
            values.append(value)
            weight = term.weight(progress) if isinstance(term.weight, Schedule) else term.weight
            weighted = value if isinstance(weight, float | int) and weight == 1 else weight * value
            total = weighted if total is None else total + weighted
        assert total is not None
        return total, values


def as_objective(loss: Term | Objective) -> Objective:
    """A single term is a loss too."""
    return Objective([loss]) if isinstance(loss, Term) else loss


def at(weight: float | Schedule, progress: float) -> float:
    """The number that a weight is at some progress."""
    return float(weight(torch.tensor(progress))) if isinstance(weight, Schedule) else float(weight)
