"""What the recipe of a model gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from isthmus.latent_model import LatentModel
from isthmus.objective import Objective, Term


@dataclass(frozen=True)
class Recipe:
    """What `compose` gives: a model, its loss, and a closed form where one is known."""

    model: LatentModel
    objective: Objective | Term
    solve: Callable[[Iterator[Tensor], np.ndarray | None], None] | None = None
    """Sets the best weights, instead of training, given all rows in blocks (m, *X), and how much rows count (n,)."""
