"""A measured number with its words, unit, kind and standard error: what text, JSON, pages and findings are made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isthmus.metrics.estimate import Estimate

SETTING = "setting"
"""Kind of a number that describes a measurement (rows, draws, components): JSON holds it as a plain number."""

Value = float | int | bool | str | tuple[float, ...] | None


@dataclass(frozen=True)
class Metric:
    """One measured number.

    Args:
        name: dotted path, for example `baselines.ppca.margin`; it is the place of the number in JSON.
        label: what it is, in words; the only place where these words stand.
        unit: nats, dimensions, share of rows, ...
        kind: what may be compared: density, probability, divergence, squared error, ratio, share, ...
        value: a number, or several (one per latent dimension, one per step of a path); None if there is none.
        standard_error: of `value`, in the same unit; None if it has none.
        digits: format of `value` and `standard_error` in text.
        note: words after the number in text, for example "50 rows".
        details: numbers that belong to this one, such as its number of draws or a reference value; their names start
            with this one's.
    """

    name: str
    label: str
    unit: str
    kind: str
    value: Value
    standard_error: float | None = None
    digits: str = ".2f"
    note: str = ""
    details: tuple[Metric, ...] = ()

    @property
    def key(self) -> str:
        """The last part of the name."""
        return self.name.rpartition(".")[2]

    def walk(self) -> Iterator[Metric]:
        """This metric, then all its details, depth first."""
        yield self
        for detail in self.details:
            yield from detail.walk()

    def named(self, prefix: str) -> Metric:
        """The same under `prefix`, details included."""
        return replace(
            self, name=f"{prefix}.{self.name}", details=tuple(detail.named(prefix) for detail in self.details)
        )

    def __str__(self) -> str:
        """Value, standard error and unit as text.

        >>> print(Metric("elbo", "ELBO", "nats", "density", -79.571, 0.8934))
        -79.57 ± 0.89 nats
        """
        return f"{number(self.value, self.digits, self.standard_error)}{f' {self.unit}' if self.unit else ''}"


def number(value: Value, digits: str = ".2f", standard_error: float | None = None) -> str:
    """A value with its standard error as text; several values are joined by commas.

    >>> number(0.25, ".0%"), number((1.0, 2.0), ".1f"), number(3), number(None)
    ('25%', '1.0, 2.0', '3', 'not available')
    """
    if value is None:
        return "not available"
    if isinstance(value, str | bool):
        return str(value)
    if isinstance(value, tuple):
        return ", ".join(number(one, digits) for one in value)
    text = f"{value:,}" if isinstance(value, int) else f"{value:{digits}}"
    return text if standard_error is None else f"{text} ± {standard_error:{digits}}"


def mean_over_rows(
    name: str, label: str, unit: str, kind: str, values: np.ndarray, shared_error: float = 0.0, **kwargs: Any
) -> Metric:
    """The mean of values (n,) with its standard error over rows.

    Args:
        shared_error: standard error that all rows share, such as that of common draws.
        **kwargs: further fields of `Metric`.
    """
    error = float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else np.inf
    return Metric(name, label, unit, kind, float(values.mean()), float(np.hypot(error, shared_error)), **kwargs)


def from_estimate(name: str, label: str, unit: str, kind: str, estimate: Estimate, **kwargs: Any) -> Metric:
    """An `Estimate` with its words."""
    return Metric(name, label, unit, kind, estimate.mean, estimate.error, **kwargs)


def setting(name: str, label: str, value: Value) -> Metric:
    """A number that describes a measurement, such as its number of rows."""
    return Metric(name, label, "", SETTING, value)


def to_tree(metrics: tuple[Metric, ...]) -> dict[str, Any]:
    """Nested plain values for JSON, by the dotted names.

    >>> to_tree((Metric("a.b", "b", "nats", "density", 1.0, 0.5, details=(setting("a.b.rows", "rows", 3),)),))
    {'a': {'b': {'mean': 1.0, 'standard_error': 0.5, 'unit': 'nats', 'kind': 'density', 'rows': 3}}}
    """
    tree: dict[str, Any] = {}
    for metric in (found for top in metrics for found in top.walk()):
        *path, key = metric.name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        value = list(metric.value) if isinstance(metric.value, tuple) else metric.value
        if metric.kind == SETTING:
            node[key] = value
        else:
            measured = {"mean": value, "standard_error": metric.standard_error, "unit": metric.unit}
            node[key] = {**measured, "kind": metric.kind, **node.get(key, {})}
    return tree
