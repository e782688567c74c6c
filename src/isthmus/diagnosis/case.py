"""What a finding may read: a model, what was measured of it, how it was trained."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any

from sklearn.base import clone

from isthmus.diagnosis.convention import Convention
from isthmus.estimators.base import Estimator


@dataclass(frozen=True)
class Command:
    """Where a run lies and what it was trained on, so that a remedy is a line to be typed."""

    run: str
    data: str
    condition: str | None = None


@dataclass(frozen=True)
class Case:
    """A model under diagnosis."""

    model: Estimator
    facts: dict[str, Any]
    history: list[dict[str, Any]] = field(default_factory=list)
    command: Command | None = None
    convention: Convention | None = None
    broken: str = ""
    """Why training broke off, where it did."""

    @property
    def density(self) -> bool:
        return self.model.density

    def mean(self, *path: str) -> float | None:
        """The estimate that a fact holds, found by its keys; None where it was not measured."""
        about = self.at(*path)
        return None if about is None else about["mean"]

    def error(self, *path: str) -> float:
        """Its standard error."""
        about = self.at(*path)
        return float(about.get("standard_error") or 0.0) if about else 0.0

    def at(self, *path: str) -> Any:
        """A fact by its keys, or None."""
        found: Any = self.facts
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    def again(self, **fields: Any) -> str:
        """The line that trains the model once more with other fields."""
        if self.convention is not None:
            return "in your own training: " + ", ".join(f"{name} = {value}" for name, value in fields.items())
        if self.command is None:
            changed = clone(self.model).set_params(**fields)
            return f"isthmus.{' '.join(repr(changed).split())}.fit(X)"
        kept = {name: value for name, value in self.given().items() if isinstance(value, str | int | float | tuple)}
        words = ["isthmus", "fit", type(self.model).__name__.lower(), self.command.data, "-o", self.command.run]
        if self.command.condition:
            words += ["--condition", self.command.condition]
        for name, value in (kept | fields).items():
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
            words += [f"--{name.replace('_', '-')}", text]
        return shlex.join([*words, "--force"])

    def given(self) -> dict[str, Any]:
        """The fields that differ from their defaults."""
        usual = type(self.model)().get_params(deep=False)
        return {name: value for name, value in self.model.get_params(deep=False).items() if value != usual[name]}
