"""Lightweight distributions, draws with their log-densities, and independent elements as one event."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch import distributions as D

from isthmus.errors import InputError
from isthmus.random_streams import generator


class Drawn(NamedTuple):
    """Draws of codes, with their log-density where drawing computes it."""

    z: Tensor
    """(K, B, *Z) draws; where each draw enumerates E values, these are adjacent and K is E times as many."""
    log_q: Tensor | None = None
    """(K, B) log-density of the draws, nats; None if `log_prob` is to be asked for it."""
    log_weight: Tensor | None = None
    """(K, B) log of weights that sum to one over K; None for equal weights."""


class LightDistribution(D.Distribution):
    """A distribution whose constructor only notes its shapes."""

    arg_constraints = {}
    has_rsample = False
    evaluable = True
    """Whether `log_prob` is defined at any point, not only at the distribution's own draws."""
    differentiable = True
    """Whether `log_prob` has a gradient in its argument, so that Hamiltonian Monte Carlo may run on it."""
    path_gradient = True
    """Whether the gradient of a draw is exact, and not that of something near it."""
    has_density = True
    """Whether there is a density at all; a point mass has none."""
    is_one_code = False
    """Whether each row has one code among finitely many: then log p(x, z) of it is all that draws tell of log p(x)."""
    row_parameters: tuple[str, ...] | None = None
    """The tensors that hold one entry for each row of the batch, where the distribution consists of these and of what
    all rows share. None: rows cannot be taken out of it, and who wants some infers them again."""
    is_diagonal_normal = False
    """Whether its elements are independent normals with parameters `loc` and `log_scale`."""

    def __init__(self, batch_shape: torch.Size, event_shape: torch.Size):
        self._batch_shape, self._event_shape = batch_shape, event_shape
        self._validate_args = False

    def expand(self, batch_shape, _instance=None):
        raise NotImplementedError("these distributions broadcast; they are not expanded")

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)

    @property
    def centre(self) -> Tensor:
        """(*batch, *event) the point that stands for the distribution, its mean unless a subclass says otherwise."""
        return self.mean

    @property
    def point(self) -> Tensor:
        """(*batch, *event) the point prediction of x: the mean, or the mode of unordered categories."""
        return self.mean

    @property
    def location(self) -> Tensor:
        """(*batch, *event) a point near the mean that is fast to differentiate."""
        return self.point

    @property
    def std(self) -> Tensor | None:
        """(*batch, *event) standard deviation of each element; None where it is not known in closed form."""
        return None

    def noise(self, draws: int, rows: int) -> Tensor:
        """(draws, rows, ...) random numbers for `draw`; one row serves all rows of the batch alike."""
        raise NotImplementedError(f"{type(self).__name__} cannot be drawn from by noise")

    def draw(self, noise: Tensor) -> Drawn:
        """Noise (K, B or 1, ...) to draws, differentiable in the parameters."""
        raise NotImplementedError(f"{type(self).__name__} cannot be drawn from by noise")

    def draw_one(self, rows: int) -> Tensor:
        """(rows, *event) one draw for each row; of enumerated values, one by their weights."""
        return self.draw_equal(1, rows)[0]

    def draw_equal(self, draws: int, rows: int) -> Tensor:
        """(draws, rows, *event) draws of equal weight; of enumerated values, one for each draw by their weights."""
        z, _, log_weight = self.draw(self.noise(draws, rows))
        if log_weight is None:
            return z
        enumerated = z.unflatten(0, (draws, -1)).movedim(1, 2)  # (K, B, E, *event)
        weight = log_weight.exp().unflatten(0, (draws, -1)).movedim(1, 2)  # (K, B, E)
        index = torch.multinomial(weight.flatten(0, 1), 1, generator=generator(z.device))[:, 0]  # (K * B,)
        flat = enumerated.flatten(0, 1)
        return flat[torch.arange(len(flat), device=z.device), index].unflatten(0, (draws, rows))

    def stopped(self) -> Self:
        """The same distribution with its parameters held fixed: no gradient reaches them."""
        new = copy.copy(self)
        vars(new).update({name: without_gradient(value) for name, value in vars(self).items()})
        return new

    def rows(self, index: Tensor) -> Self | None:
        """The distributions of some rows of the batch (B,), or None if rows cannot be taken out of it."""
        if not self._batch_shape:
            return self
        declared, built = defining_class(type(self), "row_parameters"), defining_class(type(self), "__init__")
        if self.row_parameters is None or not issubclass(declared, built):  # a subclass may hold more than is declared
            return None
        depth = len(self._batch_shape) + len(self._event_shape)
        new = copy.copy(self)
        for name in self.row_parameters:
            value = getattr(self, name)
            # A tensor of fewer dimensions, or of one row, is shared by all rows.
            if isinstance(value, Tensor) and value.ndim >= depth and len(value) == self._batch_shape[0]:
                setattr(new, name, value[index])
        new._batch_shape = torch.Size((len(index), *self._batch_shape[1:]))
        return new


def defining_class(cls: type, name: str) -> type:
    """The class among a class and its bases that defines an attribute."""
    return next(base for base in cls.__mro__ if name in vars(base))


def without_gradient(value: Any) -> Any:
    """A tensor, a distribution, or a collection of these, detached.

    Raises:
        NotImplementedError: for a module with parameters, which cannot be detached.
    """
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, LightDistribution):
        return value.stopped()
    if isinstance(value, tuple) and hasattr(value, "_make"):  # a named tuple
        return value._make(map(without_gradient, value))
    if isinstance(value, tuple | list):
        return type(value)(map(without_gradient, value))
    if isinstance(value, dict):
        return {key: without_gradient(part) for key, part in value.items()}
    if isinstance(value, nn.Module) and any(True for _ in value.parameters()):
        raise NotImplementedError(f"a distribution that holds {type(value).__name__} must define stopped() itself")
    return value


def point_of(distribution: Any) -> Tensor:
    """(*batch, *event) the point prediction; for a distribution of PyTorch the mean."""
    return distribution.point if isinstance(distribution, LightDistribution) else distribution.mean


def location_of(distribution: Any) -> Tensor:
    """(*batch, *event) a point near the mean that is fast to differentiate; for a distribution of PyTorch the mean."""
    return distribution.location if isinstance(distribution, LightDistribution) else distribution.mean


def is_evaluable(distribution: Any) -> bool:
    """Whether its density is known at any point; that of a distribution of PyTorch is."""
    return getattr(distribution, "evaluable", True)


def is_differentiable(distribution: Any) -> bool:
    """Whether its log-density has a gradient in its argument."""
    return getattr(distribution, "differentiable", True)


def has_path_gradient(distribution: Any) -> bool:
    """Whether the gradient of its draws is exact."""
    return getattr(distribution, "path_gradient", True)


class Independent(LightDistribution):
    """Elements are independent: `log_prob` sums their log-densities over the last `event_dim` dimensions."""

    def __init__(self, shape: torch.Size, event_dim: int):
        split = len(shape) - event_dim
        super().__init__(shape[:split], shape[split:])
        self.event_dim = event_dim

    @abstractmethod
    def element_log_prob(self, x: Tensor) -> Tensor:
        """(*batch, *event) log-density or log-probability of each element, nats."""

    def log_prob(self, x: Tensor) -> Tensor:
        """(*batch,) nats, summed over the event."""
        return self.sum_event(self.element_log_prob(x))

    def sum_event(self, elements: Tensor) -> Tensor:
        """(*batch, *event) to (*batch,)."""
        return elements.sum(-1) if self.event_dim == 1 else elements.flatten(-self.event_dim).sum(-1)

    def shape_of(self, sample_shape) -> torch.Size:
        return torch.Size((*sample_shape, *self._batch_shape, *self._event_shape))


class Masked(LightDistribution):
    """Independent elements of which only those count where `mask` (B, *event, or broadcastable to it) is True."""

    def __init__(self, base: Independent, mask: Tensor):
        if not isinstance(base, Independent):
            raise InputError(
                f"the likelihood must be of independent elements where rows are padded or have missing values, got "
                f"{type(base).__name__}. Fit complete rows."
            )
        super().__init__(base.batch_shape, base.event_shape)
        self.base, self.mask = base, mask

    @property
    def mean(self) -> Tensor:
        return self.base.mean

    @property
    def point(self) -> Tensor:
        return self.base.point

    @property
    def location(self) -> Tensor:
        return self.base.location

    def element_log_prob(self, x: Tensor) -> Tensor:
        """(*batch, *event) nats; 0 where the mask is False, whatever x holds there."""
        x = torch.where(self.mask, x, 0.0)
        return torch.where(self.mask, self.base.element_log_prob(x), 0.0)

    def log_prob(self, x: Tensor) -> Tensor:
        """(*batch,) nats, summed over the elements that count."""
        return self.base.sum_event(self.element_log_prob(x))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return torch.where(self.mask, self.base.sample(sample_shape), 0.0)


def over_steps(mask: Tensor, event_dim: int) -> Tensor:
    """A mask of steps (B, T) as one of elements, (B, T, 1, ...), for events of `event_dim` dimensions."""
    return mask.reshape(*mask.shape, *[1] * (event_dim - 1))
