"""A loss is a sum of weighted, named terms: `nll + 4.0 * kl` reads, and is logged, like the equation."""

from __future__ import annotations

import copy
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.batch import Batch
from isthmus.errors import InputError
from isthmus.forward_pass import Pass
from isthmus.latent_model import Model


class Schedule:
    """A weight that depends on training progress in [0, 1]; schedules multiply with numbers and with each other.

    Args:
        value: a function of progress, a 0-dimensional tensor, to the weight.
        factors: schedules that the function calls.
    """

    def __init__(self, value: Callable[[Tensor], Tensor], factors: Sequence[Schedule] = ()):
        self.value = value
        self.functions: list[Callable[..., Any]] = [value, *(each for factor in factors for each in factor.functions)]
        """All functions that a value comes from."""

    def __call__(self, progress: Tensor) -> Tensor:
        return self.value(progress)

    def __mul__(self, other):
        if isinstance(other, Schedule):
            return Schedule(lambda progress: self(progress) * other(progress), [self, other])
        if isinstance(other, int | float):
            return Schedule(lambda progress: self(progress) * other, [self])
        return NotImplemented

    __rmul__ = __mul__


def warmup(fraction: float, cycles: int = 1) -> Schedule | float:
    """A weight that rises linearly from 0 to 1 over the first `fraction` of training; the number 1 for a fraction of 0.

    With several cycles it begins at 0 again in each of them, and rises over the first half of each (Fu et al., 2019).

    Raises:
        InputError: if `fraction` is not in [0, 1], or `cycles` no integer >= 1.
    """
    if not 0 <= fraction <= 1:
        raise InputError(f"warmup must be a fraction from 0 to 1, got {fraction}.")
    if isinstance(cycles, bool) or not isinstance(cycles, numbers.Integral) or cycles < 1:
        raise InputError(f"cycles must be an integer >= 1, got {cycles!r}.")
    if not fraction:
        return 1.0
    if cycles == 1:
        return Schedule(lambda progress: (progress / fraction).clamp(max=1.0))

    def rising(progress: Tensor) -> Tensor:
        of_cycles = progress / fraction * cycles
        return torch.where(of_cycles < cycles, (2 * (of_cycles - of_cycles.floor())).clamp(max=1.0), 1.0)

    return Schedule(rising)


@dataclass(frozen=True)
class Player:
    """Optimizer settings of the critics; the model's own are those of the training configuration.

    Args:
        clip: largest gradient norm, in units of its running mean.
        beta1: decay rate of Adam's first moment; adversarial games need less momentum than likelihoods.
        rate: learning rate, as a multiple of the model's.
    """

    clip: float = 10.0
    beta1: float = 0.5
    rate: float = 1.0

    def __post_init__(self):
        if not self.clip > 0:
            raise InputError(f"clip must be a positive number, got {self.clip}. Pass float('inf') for no clipping.")
        if not 0 <= self.beta1 < 1:
            raise InputError(f"beta1 must be in [0, 1), got {self.beta1}.")
        if not self.rate > 0:
            raise InputError(f"rate must be a positive number, got {self.rate}.")


Loss = Callable[[Model, Batch, Pass], Tensor]
"""(model, batch, out) to (B,) values or one, nats."""


class Term(nn.Module):
    """One named, weighted summand of a loss.

    A term may be a game between the model and a critic. One backward pass then serves both players, so each of the
    two losses must hold the other player fixed: `fn` calls the critic as `frozen(critic)`, and `aside` calls the
    critic itself on detached tensors of the pass:

        critic = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 1))

        def fool(model, batch, out):  # the model's loss
            return -F.logsigmoid(frozen(critic)(out.z)).mean(0).squeeze(-1)

        def separate(model, batch, out):  # the critic's loss
            real, fake = torch.randn_like(out.z), out.z.detach()
            return F.softplus(-critic(real)).mean() + F.softplus(critic(fake)).mean()

        loss = nll + 10.0 * Term(fool, "adversarial", critic=critic, aside=separate)

    Args:
        fn: the value, a function of (model, batch, out) to (B,) values or one.
        name: the name it has in the history.
        draws: number of posterior draws that it needs.
        is_kl: whether it is a KL divergence of q(z given x) from the prior, by whatever name; diagnosis reads the
            weight of such terms.
        row_by_row: whether the values of rows do not depend on the other rows of the batch.
        critic: the second player's network, optimized by the settings `player` and without a running average.
        aside: a loss that is minimised beside the objective, outside the term's weight. Asides and terms with a critic
            are no part of the loss by which weights are selected.
        player: optimizer settings of the critic; all critics of an objective share them.
        target: what the value is kept at: its distance from that enters the loss. The history has the value itself.
    """

    critic: nn.Module | None

    def __init__(
        self,
        fn: Loss,
        name: str,
        draws: int = 1,
        *,
        is_kl: bool = False,
        row_by_row: bool = True,
        critic: nn.Module | None = None,
        aside: Loss | None = None,
        player: Player | None = None,
        target: float | Schedule | None = None,
    ):
        super().__init__()
        self.fn, self.name, self.draws, self.is_kl = fn, name, draws, is_kl
        self.row_by_row = row_by_row
        self.critic, self.aside, self.player = critic, aside, player or Player()
        self.target = target
        self.weight: float | Schedule = 1.0

    @property
    def functions(self) -> list[Callable[..., Any]]:
        """All functions that the term, its weight, its target and its aside come from."""
        schedules = [each for each in (self.weight, self.target) if isinstance(each, Schedule)]
        scheduled = [function for schedule in schedules for function in schedule.functions]
        return [self.fn, *scheduled, *([] if self.aside is None else [self.aside])]

    @property
    def is_scheduled(self) -> bool:
        """Whether its part in the loss depends on training progress."""
        return isinstance(self.weight, Schedule) or isinstance(self.target, Schedule)

    def forward(self, model: Model, batch: Batch, out: Pass) -> Tensor:
        """The unweighted value, averaged over the batch."""
        return mean_over_batch(self.fn(model, batch, out), batch)

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
    """A weighted sum of terms with distinct names.

    Raises:
        InputError: if two terms have the same name.
    """

    terms: Any

    def __init__(self, terms: list[Term]):
        super().__init__()
        names = [term.name for term in terms]
        duplicate = next((name for name in names if names.count(name) > 1), None)
        if duplicate:
            raise InputError(f"names of terms must be distinct, got {duplicate!r} twice. Add the two terms' weights.")
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
        """The largest number of posterior draws that a term needs."""
        return max(term.draws for term in self.terms)

    @property
    def row_by_row(self) -> bool:
        """Whether the loss of a row does not depend on the other rows of the batch."""
        return all(term.row_by_row and term.target is None for term in self.terms)

    @property
    def has_aside(self) -> bool:
        return any(term.aside is not None for term in self.terms)

    @property
    def critics(self) -> list[nn.Module]:
        return [term.critic for term in self.terms if term.critic is not None]

    @property
    def player(self) -> Player:
        """The critics' optimizer settings.

        Raises:
            InputError: if critics differ in them: there are exactly two players.
        """
        players = list(dict.fromkeys(term.player for term in self.terms if term.critic is not None))
        if len(players) > 1:
            raise InputError(f"all critics must share one player, got {players[0]} and {players[1]}.")
        return players[0] if players else Player()

    def forward(self, model: Model, batch: Batch, out: Pass, progress: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The weighted sum, and each term's unweighted mean over the batch in the order of `names`.

        Args:
            model: the model that made the pass.
            batch: its input.
            out: the pass.
            progress: 0-dimensional, from 0 to 1, at which schedules are evaluated.
        """
        total, values = None, []
        for term in self.terms:
            value = term(model, batch, out)
            values.append(value)
            total = _add_weighted(total, term, value, progress)
        assert total is not None
        return total, values

    def selection_loss(self, values: list[Tensor], progress: Tensor) -> Tensor:
        """The weighted sum of the terms without a critic: comparable over training, because no critic enters it.

        Args:
            values: the terms' means, as `forward` returns them.
            progress: 0-dimensional, from 0 to 1.

        Raises:
            InputError: if every term has a critic.
        """
        total = None
        for term, value in zip(self.terms, values):
            if term.critic is None:
                total = _add_weighted(total, term, value, progress)
        if total is None:
            raise InputError("an objective must have a term without a critic, by which weights are selected.")
        return total

    def asides(self, model: Model, batch: Batch, out: Pass) -> Tensor | None:
        """The sum of the asides, each averaged over the batch; None if no term has one."""
        asides = [term.aside for term in self.terms if term.aside is not None]
        losses = [mean_over_batch(aside(model, batch, out), batch) for aside in asides]
        return sum(losses[1:], start=losses[0]) if losses else None


def mean_over_batch(values: Tensor, batch: Batch) -> Tensor:
    """The mean of values (B,) by the rows' weights; one value, which `fn` formed of all rows itself, as it is."""
    if batch.weight is None or values.shape != batch.weight.shape:
        return values.mean()
    return (values * batch.weight).mean()


def _add_weighted(total: Tensor | None, term: Term, value: Tensor, progress: Tensor) -> Tensor:
    if term.target is not None:
        value = (value - (term.target(progress) if isinstance(term.target, Schedule) else term.target)).abs()
    weight = term.weight(progress) if isinstance(term.weight, Schedule) else term.weight
    weighted = value if isinstance(weight, float | int) and weight == 1 else weight * value
    return weighted if total is None else total + weighted


def as_objective(loss: Term | Objective) -> Objective:
    """A single term as an objective; an objective unchanged."""
    return Objective([loss]) if isinstance(loss, Term) else loss


def weight_at(weight: float | Schedule, progress: float) -> float:
    """The value of a weight at some training progress in [0, 1]."""
    return float(weight(torch.tensor(progress))) if isinstance(weight, Schedule) else float(weight)


def frozen(module: nn.Module) -> Callable[..., Any]:
    """The module as a function whose gradient reaches its inputs, but not its parameters.

    Parameters are read when the function is called, so that it sees those of a compiled step too.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        detached = {name: parameter.detach() for name, parameter in module.named_parameters()}
        return torch.func.functional_call(module, detached, args, kwargs)

    return call
