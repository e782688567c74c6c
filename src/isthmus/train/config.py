"""The training configuration, the learning-rate schedule, and the record of a training by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from isthmus.schema import Schema

LR_WARMUP_FRACTION = 0.02
"""Fraction of all updates over which the learning rate rises linearly."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a training run depends on beside the model, the objective and the rows.

    Args:
        epochs: passes over the rows.
        batch_size: rows per update; all rows, if there are fewer.
        learning_rate: the peak learning rate.
        optimizer: `adamw`, or `sgd` with momentum.
        weight_decay: each update multiplies the weights of layers by 1 - learning rate * weight_decay.
        clip: largest gradient norm, in units of its running mean.
        patience: updates without a better validation loss after which training stops early; 0 never stops.
        warmup: fraction of training over which a term's weight still rises: training does not stop in it.
        start_margin: standard errors by which training must be better than the weights before it, which are kept if
            it is not; None if these are never kept.
        max_seconds: wall-clock time after which training stops, with the best weights so far.
        continued: whether training goes on from trained weights: terms then have their last weights from the begin.
        seed: seed of everything random in training.
        threads: CPU threads.
        precision: `bf16` for networks that compute gradients in it, where they can; else the model's own.
        compile: whether to compile the update.
        must_compile: whether a step that cannot be compiled is an error.
    """

    epochs: int
    batch_size: int
    learning_rate: float = 1e-3
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    clip: float = 10.0
    patience: int = 0
    warmup: float = 0.0
    start_margin: float | None = None
    max_seconds: float = math.inf
    continued: bool = False
    seed: int = 0
    threads: int = 1
    precision: str = "float32"
    compile: bool = False
    must_compile: bool = True


@dataclass(frozen=True)
class TrainingRecord:
    """How `isthmus.fit` trained a model, by which the model is evaluated, diagnosed and saved.

    Args:
        schema: what the rows are.
        config: how the model was trained.
        history: a record of every term for each epoch.
        loss_weights: the weight of each term of the loss at the end of training, by name.
        kl_terms: names of the terms that are a KL divergence from the prior.
    """

    schema: Schema
    config: TrainConfig
    history: list[dict[str, Any]]
    loss_weights: dict[str, float]
    kl_terms: tuple[str, ...]


def learning_rate_factor(progress: float, total_steps: int) -> float:
    """The learning rate in units of its peak: a linear rise, times a cosine to zero (Loshchilov & Hutter, 2017).

    Args:
        progress: fraction of the updates that were made, in [0, 1).
        total_steps: number of updates in all.
    """
    rise = max(LR_WARMUP_FRACTION, 1 / total_steps)
    return min(1.0, (progress + 1 / total_steps) / rise) * 0.5 * (1 + math.cos(math.pi * progress))
