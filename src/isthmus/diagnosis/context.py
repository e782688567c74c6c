"""What a finding reads: the model, its evaluation, its training history, and the remedies it can suggest."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any

from sklearn.base import clone

from isthmus.diagnosis.loss_convention import LossConvention
from isthmus.estimators.base import Estimator
from isthmus.estimators.ppca import ProbabilisticPCA
from isthmus.evaluation.result import Evaluation
from isthmus.metrics.metric import Metric

OWN_CODE = "in your training code: "
"""Start of a remedy for a model that was trained outside isthmus."""
SUM_OVER_FEATURES = (
    f"{OWN_CODE}sum the reconstruction loss over features instead of averaging it (look for reduction='mean')"
)
"""The first thing to check if a loss of the user's own leads to a collapsed posterior."""


@dataclass(frozen=True)
class RunRef:
    """A run on disk and its data, so that a remedy can be a command.

    Args:
        run: folder of the run.
        data: name or path of the data set.
        condition: column that is the condition.
    """

    run: str
    data: str
    condition: str | None = None


@dataclass(frozen=True)
class DiagnosisContext:
    """A model under diagnosis.

    Args:
        model: the fitted model.
        evaluation: what `evaluate` measured; None if the model could not be evaluated.
        history: one record for each epoch of training.
        command: the run that the model comes from; remedies are then commands instead of Python.
        convention: how the loss was reduced, of a wrapped model.
        failure: why training failed; empty if it did not.
    """

    model: Estimator
    evaluation: Evaluation | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    command: RunRef | None = None
    convention: LossConvention | None = None
    failure: str = ""

    @property
    def density(self) -> bool:
        """Whether the model has a density."""
        return self.model.capabilities.has_density

    def value(self, name: str) -> Any:
        """The value of a metric by its dotted name, for example "baselines.ppca.margin"; None if not measured."""
        return None if self.evaluation is None else self.evaluation.value(name)

    def error(self, name: str) -> float:
        """The standard error of a metric; 0 if it has none."""
        return 0.0 if self.evaluation is None else self.evaluation.error(name)

    def metric(self, name: str) -> Metric | None:
        """A metric by its dotted name; None if not measured."""
        return None if self.evaluation is None else self.evaluation.get(name)

    @property
    def rows(self) -> int:
        """Number of rows that were evaluated."""
        return 0 if self.evaluation is None else self.evaluation.rows

    # --------------------------------------------------------------- remedies

    def first_effective(self, *options: dict[str, Any]) -> str:
        """Retrain with the first of `options` (hyperparameters) that differs from those of the model."""
        current = self.model.get_params(deep=False)
        effective = [params for params in options if any(current.get(name) != value for name, value in params.items())]
        return self.retrain(**(effective or options)[0])

    def retrain(self, **params: Any) -> str:
        """The command, or line of Python, that trains the model again with other hyperparameters."""
        if self.convention is not None and {"warmup", "epochs"} & set(params):
            return SUM_OVER_FEATURES  # neither a warm-up nor longer training corrects a wrong weight
        if self.convention is not None:
            return OWN_CODE + ", ".join(f"{name} = {value}" for name, value in params.items())
        if isinstance(self.model, ProbabilisticPCA) and set(params) - {"latent_dim", "scaling"}:
            # A model with a closed form has no other hyperparameters; a VAE has.
            kept = {key: value for key, value in self.nondefault_params().items() if key in ("latent_dim", "scaling")}
            return self.other_model("VAE", **(kept | params))
        if self.command is None:
            changed = " ".join(repr(clone(self.model).set_params(**params)).split())
            return f"isthmus.{changed}.fit({self.fit_arguments(conditional=False)})"
        return self.cli_command(type(self.model).__name__, self.command.run, self.nondefault_params() | params)

    def other_model(self, name: str, **params: Any) -> str:
        """The command, or line of Python, that trains another model on the same data."""
        if self.convention is not None or self.command is None:
            arguments = ", ".join(f"{key}={value!r}" for key, value in params.items())
            return f"isthmus.{name}({arguments}).fit({self.fit_arguments(conditional=name == 'ConditionalVAE')})"
        return self.cli_command(name, f"{self.command.run}-{name.lower()}", params)

    def ais(self) -> str:
        """The command, or line of Python, that estimates log p(x) by annealed importance sampling."""
        if self.convention is not None:
            return "isthmus.evaluate(wrapped.on(X), X, ais=100)"
        if self.command is None:
            return "isthmus.evaluate(model, X, ais=100)"
        return shlex.join(["isthmus", "evaluate", self.command.run, "--ais"])

    def fit_arguments(self, *, conditional: bool) -> str:
        """The arguments of `fit` as text."""
        schema = self.model.schema_
        condition = ", condition=y" if conditional or schema.condition is not None else ""
        return f"X{condition}{', lengths=lengths' if schema.sequence else ''}"

    def cli_command(self, name: str, run: str, params: dict[str, Any]) -> str:
        """The command that trains model `name` into folder `run`; parts that are objects cannot be expressed."""
        assert self.command is not None
        argv = ["isthmus", "fit", name.lower(), self.command.data, "-o", run]
        if self.command.condition:
            argv += ["--condition", self.command.condition]
        for key, value in params.items():
            if isinstance(value, str | int | float | tuple | None):
                text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
                argv.append(f"--{key.replace('_', '-')}={text}")
        return shlex.join([*argv, "--force"])

    def nondefault_params(self) -> dict[str, Any]:
        """The hyperparameters that differ from their defaults."""
        defaults = type(self.model)().get_params(deep=False)
        return {name: value for name, value in self.model.get_params(deep=False).items() if value != defaults[name]}
