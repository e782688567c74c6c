"""What a finding reads: the model, its evaluation, its training history, and the remedies it can suggest."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.distributions import Distribution

from isthmus.atomic_io import next_path
from isthmus.batch import Batch
from isthmus.data.column_roles import NO_ROLES, ColumnRoles
from isthmus.diagnosis.code_value import CodeValue
from isthmus.diagnosis.loss_convention import LossConvention
from isthmus.distributions.independent import is_differentiable, is_evaluable
from isthmus.estimators.auto_fields import AUTO_FIELDS
from isthmus.estimators.hyperparameters import is_auto
from isthmus.estimators.parts_by_name import code_space
from isthmus.evaluation.result import Evaluation
from isthmus.finding import Finding
from isthmus.fitted import FittedModel
from isthmus.metrics.metric import Metric
from isthmus.model_registry import models
from isthmus.wording import shell_line

OWN_CODE = "in your training code: "
"""Start of a remedy for a model that was trained outside isthmus."""
SUM_OVER_FEATURES = (
    f"{OWN_CODE}sum the reconstruction loss over features instead of averaging it (look for reduction='mean')"
)
"""The first thing to check if a user-defined loss leads to a collapsed posterior."""
LONGER = f"{OWN_CODE}train for more epochs, until the loss of held-out rows stops falling"
"""How to go on with a user's own loop."""
MANY_DRAWS = 10_000
"""Draws per row that a remedy for a loose bound suggests: ten times the default."""
MANY_TIMES = 10
"""Times as many epochs as were made that a remedy suggests where their number is not chosen automatically."""
CLOSED_FORM_FIELDS = ("latent_dim", "scaling")
"""Hyperparameters that matter to a model whose weights have a closed form."""
CONDITIONAL = "ConditionalVAE"
"""The model whose `fit` always takes a condition."""
KL_FIELDS = {"beta", "warmup", "bound"}
"""Hyperparameters of the KL term, which a loss without this term, such as an importance-weighted bound, lacks."""


@dataclass(frozen=True)
class RunRef:
    """A run on disk and its data, so that a remedy can be a command.

    Args:
        run: folder of the run.
        data: name or path of the data set.
        roles: of the columns of a table.
        options: further options of `isthmus fit` that say how the data are read.
    """

    run: str
    data: str
    roles: ColumnRoles = NO_ROLES
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class DiagnosisContext:
    """A model under diagnosis.

    Args:
        fitted: the model.
        evaluation: what `evaluate` measured; None if the model could not be evaluated.
        command: the run that the model comes from; remedies are then commands instead of Python.
        convention: how the loss was reduced, of a wrapped model.
        failure: why training failed; empty if it did not.
        code_value: what the codes cost and save on training rows if they are known, of a wrapped model.
        data_findings: what `check` says of the rows.
        corrections: hyperparameters that are the cause of what is wrong, at better values: every remedy has them.
        incomplete: whether the training rows have missing values; if these are unknown, whether the measured rows do.
    """

    fitted: FittedModel
    evaluation: Evaluation | None = None
    command: RunRef | None = None
    convention: LossConvention | None = None
    failure: str = ""
    code_value: CodeValue | None = None
    data_findings: tuple[Finding, ...] = ()
    corrections: dict[str, Any] = field(default_factory=dict)
    incomplete: bool = False

    @property
    def has_density(self) -> bool:
        """Whether the model gives log p(x), exactly or as a bound."""
        return self.fitted.capabilities.has_density

    @property
    def is_generative(self) -> bool:
        """Whether x can be drawn from the model: it has log p(x), or at least a prior."""
        return self.has_density or self.fitted.capabilities.samples

    @property
    def density_is_unbounded(self) -> bool:
        """Whether columns take few values, whose density rises without end: floats of a scale that is learned."""
        one_for_all = len(self.fitted.schema.columns) == 1 and not self.fitted.schema.discrete
        repeated = any(finding.code == "repeated-values" for finding in self.data_findings)
        return self.has_density and one_for_all and repeated and not self.value("residuals.fixed")

    @property
    def code_size(self) -> int:
        """Numbers in one code; 0 for a model without a code."""
        return self.fitted.code_size

    @property
    def latent_dim(self) -> int | None:
        """The hyperparameter that sets the size of the code; None for codes that are no vectors of that size."""
        latent_dim, code = self.fitted.fields.get("latent_dim"), self.fitted.model.code
        return latent_dim if code.shape == (latent_dim,) and not code.discrete else None

    @property
    def beta(self) -> float:
        """The largest weight of a KL term at the end of training; of a loss without one, the hyperparameter, or 1."""
        weights = [self.fitted.loss_weights[name] for name in self.fitted.kl_terms]
        return float(max(weights) if weights else self.fitted.fields.get("beta", 1.0))

    @property
    def hidden(self) -> tuple[int, ...]:
        """Widths of the hidden layers; none are known of networks of the user's own."""
        widths = self.fitted.fields.get("hidden", ())
        return () if is_auto(widths) else tuple(widths)

    @property
    def warmup(self) -> float:
        """Share of training over which the KL weight rises."""
        return float(self.fitted.fields.get("warmup", 0.0)) if self.is_generative else 0.0

    @property
    def rows(self) -> int:
        """Number of rows that were evaluated."""
        return 0 if self.evaluation is None else self.evaluation.rows

    def metric(self, name: str) -> Metric | None:
        """A metric by its dotted name, for example "baselines.ppca.margin"; None if not measured."""
        return None if self.evaluation is None else self.evaluation.get(name)

    def value(self, name: str) -> Any:
        """The value of a metric; None if not measured."""
        return None if self.evaluation is None else self.evaluation.value(name)

    def error(self, name: str) -> float:
        """The standard error of a metric; 0 if it has none."""
        return 0.0 if self.evaluation is None else self.evaluation.error(name)

    # --------------------------------------------------------------- remedies

    def first_effective(self, *options: dict[str, Any]) -> str:
        """Retrain with the first of `options` (hyperparameters) that differs from those of the model."""
        current = self.fitted.fields
        effective = [params for params in options if any(current.get(name) != value for name, value in params.items())]
        return self.retrain(**(effective or options)[0])

    def retrain(self, **params: Any) -> str:
        """How to train the model again with other hyperparameters: a command, or a line of Python."""
        params = {**self.corrections, **params}
        space = code_space(self.fitted.model.parts().get("posterior"))
        if params.get("prior", "uniform") != "uniform" and space != "vectors":
            params["posterior"] = "normal"  # other priors are over vectors
        if self.convention is not None and {"warmup", "epochs"} & set(params) and self.convention.may_average:
            return SUM_OVER_FEATURES  # neither a warm-up nor longer training corrects a wrong weight
        if self.convention is not None and "epochs" in params:  # how many were made is unknown
            return LONGER
        if self.convention is not None:
            return OWN_CODE + ", ".join(f"{name} = {value}" for name, value in params.items())
        if self.fitted.name not in models():  # a user-defined class, whose defaults are unknown
            if not self.fitted.fields and params.get("epochs") == "auto":  # of `isthmus.fit`, which has no such word
                params["epochs"] = MANY_TIMES * max(1, len(self.fitted.history))
            return f"train {self.fitted.name} again with {python_arguments(params)}"
        if not set(params) <= self.effective_fields:  # which a VAE has
            shared = self.effective_fields & set(models()["VAE"].fields)
            kept = {name: value for name, value in self.nondefault_params().items() if name in shared}
            return self.other_model("VAE", **(kept | params))
        params = self.nondefault_params() | params
        if self.command is None:
            return f"isthmus.{self.fitted.name}({python_arguments(params)}).fit({self.fit_arguments()})"
        return self.cli_command(self.fitted.name, params)

    def less_kl_weight(self) -> str:
        """How to give the KL term of a user's loss less weight, or less at first."""
        assert self.convention is not None
        if self.convention.may_average:
            return SUM_OVER_FEATURES
        high = self.convention.effective_beta > 1
        longer = "train for more epochs; if the code stays out of use, raise beta from 0 over the first of them"
        return f"{OWN_CODE}{'lower beta' if high else longer}"

    @property
    def given_fields(self) -> list[str]:
        """The hyperparameters that would be chosen from the data, had they not been given."""
        known = models()[self.fitted.name].fields if self.fitted.name in models() else {}
        requested = self.fitted.requested_fields
        return [
            name
            for name in AUTO_FIELDS
            if name in known and is_auto(known[name].default) and not is_auto(requested.get(name))
        ]

    def reweight_kl(self, weight: float) -> str:
        """How to train the model again with another weight of the KL term; a user's class may set it in its own way."""
        if self.fitted.name in models() or self.fitted.fields.get("beta") == self.beta or not self.fitted.kl_terms:
            return self.retrain(beta=weight)
        term = max(self.fitted.kl_terms, key=lambda name: self.fitted.loss_weights[name])
        return f"train {self.fitted.name} again with weight {weight:g} instead of {self.beta:g} on its term {term!r}"

    def other_model(self, name: str, **params: Any) -> str:
        """How to train another model on the same data: a command, or a line of Python."""
        conditional = name == CONDITIONAL or params.get("prior") == "conditional"
        if self.convention is not None or self.command is None:
            return f"isthmus.{name}({python_arguments(params)}).fit({self.fit_arguments(conditional=conditional)})"
        return self.cli_command(name, params, conditional=conditional)

    def tighter_bound(self) -> str:
        """How to estimate log p(x) better: by annealed importance sampling if the model allows it, or with more draws.

        A command, or a line of Python.
        """
        ais = self.can_anneal
        if self.command is not None:
            options = ["--ais"] if ais else ["--draws", str(MANY_DRAWS)]
            return shell_line(["isthmus", "evaluate", self.command.run, *options])
        model = "model" if self.convention is None else "wrapped.on(X)"
        return f"isthmus.evaluate({model}, X, {'ais=100' if ais else f'draws={MANY_DRAWS}'})"

    @property
    def can_anneal(self) -> bool:
        """Whether chains can follow the density of the prior, as annealed importance sampling requires."""
        prior = self.prior
        discrete = self.fitted.model.code.discrete
        return prior is not None and is_evaluable(prior) and is_differentiable(prior) and not discrete

    @property
    def prior(self) -> Any:
        """p(z), or p(z given c) of one condition; None for a model without a prior."""
        schema, model = self.fitted.schema, self.fitted.model
        x = torch.zeros(1, *schema.event_shape, device=self.fitted.device, dtype=self.fitted.dtype)
        c = x.new_zeros(1, schema.condition_width) if schema.condition is not None else None
        mask = x.new_ones(1, schema.event_shape[0], dtype=torch.bool) if schema.sequence else None
        with torch.no_grad():
            return model.prior_for(Batch(x, c, mask))

    def fit_arguments(self, *, conditional: bool | None = None) -> str:
        """The arguments of `fit` as text, of a model that takes a condition or not; by default as this one does."""
        schema = self.fitted.schema
        given = schema.condition is not None if conditional is None else conditional
        arguments = ["X"]
        arguments += ["condition=y"] if given else []
        arguments += ["y=y"] if schema.labels is not None else []
        arguments += ["lengths=lengths"] if schema.sequence else []
        arguments += ["target=target"] if schema.paired else []
        arguments += ["observed=observed"] if self.incomplete else []
        return ", ".join(arguments)

    def cli_command(self, name: str, params: dict[str, Any], *, conditional: bool = True) -> str:
        """The command that trains model `name` into a new folder; parts that are objects cannot be expressed."""
        assert self.command is not None
        run = self.command.run.rstrip("/")
        folder = next_path(run) if name == self.fitted.name else f"{run}-{name.lower()}"
        if os.path.lexists(folder):
            folder = next_path(folder)
        argv = ["isthmus", "fit", name.lower(), self.command.data, "-o", folder]
        roles = self.command.roles
        argv += (roles if conditional else roles.without_condition()).options()
        argv += self.command.options
        for key, value in params.items():
            if isinstance(value, str | int | float | tuple | None):
                text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
                argv.append(f"--{key.replace('_', '-')}={text}")
        return shell_line(argv)

    @property
    def effective_fields(self) -> set[str]:
        """The hyperparameters that make a difference to the model."""
        if self.fitted.closed_form:
            return set(CLOSED_FORM_FIELDS)
        fields = set(models()[self.fitted.name].fields)
        if not getattr(self.fitted.model.parts().get("prior"), "of_field", True):  # it belongs to the model's codes
            fields -= {"prior"}
        return fields if self.fitted.kl_terms else fields - KL_FIELDS

    def nondefault_params(self) -> dict[str, Any]:
        """The hyperparameters that differ from the defaults of the model's class."""
        current, known = self.fitted.requested_fields, models()[self.fitted.name].fields
        return {key: current[key] for key in known if key in current and current[key] != known[key].default}


def with_own_folders(findings: list[Finding]) -> list[Finding]:
    """Findings whose commands each train into a folder of their own, so that all of them can be run one after another.

    Of two commands for one folder the later one gets the next that is free; consequences come after all causes.
    """
    taken: set[str] = set()

    def renamed(line: str) -> str:
        if not line.startswith("isthmus fit ") or "$'" in line:  # control characters, which only bash reads
            return line
        words = shlex.split(line)
        place = words.index("-o") + 1
        if words[place] in taken:
            words[place] = next_path(words[place], taken)
        taken.add(words[place])
        return shell_line(words)

    def apart(finding: Finding) -> Finding:
        return replace(finding, remedy="\n".join(map(renamed, finding.remedy.splitlines())))

    causes = [apart(finding) for finding in findings]
    return [replace(cause, consequences=list(map(apart, cause.consequences))) for cause in causes]


def python_arguments(params: dict[str, Any]) -> str:
    """Keyword arguments as Python; a user's module or distribution appears as a variable of the parameter's name.

    >>> python_arguments({"hidden": (), "prior": "mixture(50)", "encoder": nn.Linear(2, 2)})
    "hidden=(), prior='mixture(50)', encoder=encoder"
    """
    own = {key: isinstance(value, nn.Module | Distribution) for key, value in params.items()}
    return ", ".join(f"{key}={key if own[key] else repr(value)}" for key, value in params.items())
