"""What a finding may read: a model, what was measured of it, how it was trained."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any

from sklearn.base import clone

from isthmus.diagnosis.loss_convention import Convention
from isthmus.estimators.base import Estimator
from isthmus.estimators.ppca import ProbabilisticPCA

SUMMED = "in your own training: the reconstruction summed over features, not its mean (reduction='mean' if it is)"
"""What to look at first where a loss of the user's own leaves the code empty."""


@dataclass(frozen=True)
class RunRef:
    """Where a run lies and what it was trained on, so that a remedy is a line to be typed."""

    run: str
    data: str
    condition: str | None = None


@dataclass(frozen=True)
class DiagnosisContext:
    """A model under diagnosis."""

    model: Estimator
    facts: dict[str, Any]
    history: list[dict[str, Any]] = field(default_factory=list)
    command: RunRef | None = None
    convention: Convention | None = None
    broken: str = ""
    """Why training broke off, where it did."""

    @property
    def density(self) -> bool:
        return self.model.density

    def mean(self, *path: str) -> float | None:
        """The estimate that a fact holds, found by its keys; None where it was not measured."""
        about = self.at(*path)
        return about.get("mean") if isinstance(about, dict) else None

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

    def first(self, *options: dict[str, Any]) -> str:
        """The line of the first option that changes a field: what is so already mends nothing."""
        now = self.model.get_params(deep=False)
        useful = [fields for fields in options if any(now.get(name) != value for name, value in fields.items())]
        return self.again(**(useful or options)[0])

    def again(self, **fields: Any) -> str:
        """The line that trains the model once more with other fields."""
        if self.convention is not None and {"warmup", "epochs"} & set(fields):
            return SUMMED  # longer or later training mends no weight that is wrong
        if self.convention is not None:
            return "in your own training: " + ", ".join(f"{name} = {value}" for name, value in fields.items())
        if isinstance(self.model, ProbabilisticPCA) and set(fields) - {"latent_dim", "scaling"}:
            # The linear model is what it is: what it lacks a network has.
            kept = {name: value for name, value in self.given().items() if name in ("latent_dim", "scaling")}
            return self.other("VAE", **(kept | fields))
        if self.command is None:
            changed = " ".join(repr(clone(self.model).set_params(**fields)).split())
            return f"isthmus.{changed}.fit({self.arguments(conditional=False)})"
        return self.typed(type(self.model).__name__, self.command.run, self.given() | fields)

    def other(self, name: str, **fields: Any) -> str:
        """The line that trains another model on the same data."""
        if self.convention is not None or self.command is None:
            told = ", ".join(f"{field}={value!r}" for field, value in fields.items())
            return f"isthmus.{name}({told}).fit({self.arguments(conditional=name == 'ConditionalVAE')})"
        return self.typed(name, f"{self.command.run}-{name.lower()}", fields)

    def annealed(self) -> str:
        """The line that anneals log p(x)."""
        if self.convention is not None:
            return "isthmus.evaluate(wrapped.on(X), X, ais=100)"
        if self.command is None:
            return "isthmus.evaluate(model, X, ais=100)"
        return shlex.join(["isthmus", "evaluate", self.command.run, "--ais"])

    def arguments(self, *, conditional: bool) -> str:
        """What `fit` is called with."""
        schema = self.model.schema_
        given = ", condition=y" if conditional or schema.condition is not None else ""
        return f"X{given}{', lengths=lengths' if schema.sequence else ''}"

    def typed(self, name: str, run: str, fields: dict[str, Any]) -> str:
        """The command that trains a model with these fields; parts that no word expresses are left out."""
        assert self.command is not None
        words = ["isthmus", "fit", name.lower(), self.command.data, "-o", run]
        if self.command.condition:
            words += ["--condition", self.command.condition]
        for field_name, value in fields.items():
            if isinstance(value, str | int | float | tuple | None):
                text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
                words.append(f"--{field_name.replace('_', '-')}={text}")
        return shlex.join([*words, "--force"])

    def given(self) -> dict[str, Any]:
        """The fields that differ from their defaults."""
        usual = type(self.model)().get_params(deep=False)
        return {name: value for name, value in self.model.get_params(deep=False).items() if value != usual[name]}
