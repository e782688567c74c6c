"""`check`: all checks of a data set, and the report they make."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from isthmus.data import Dataset
from isthmus.data_checks.defaults import explain_likelihood, explain_network, explain_scaling
from isthmus.data_checks.findings import check_held_out, examine, unusable
from isthmus.data_checks.table_view import inspect, shape_summary
from isthmus.finding import Finding, ranked
from isthmus.inputs import as_parts
from isthmus.wording import pluralize

if TYPE_CHECKING:
    from isthmus.estimators.base import Estimator


@dataclass(frozen=True)
class DataReport:
    """What the data are, which defaults apply and why, and what is wrong.

    Args:
        rows: number of rows.
        shape: shape of a row.
        dtype: type of the values.
        findings: what is wrong, most severe first.
        kind: "binary", "levels", "counts", "unit" or "real"; empty, like the fields that follow, for unusable data.
        likelihood: the default likelihood.
        likelihood_reason: why.
        network: the default network.
        network_reason: why.
        scaling: the default scaling.
        scaling_reason: why.
    """

    rows: int
    shape: tuple[int, ...]
    dtype: str
    findings: list[Finding]
    kind: str = ""
    likelihood: str = ""
    likelihood_reason: str = ""
    network: str = ""
    network_reason: str = ""
    scaling: str = ""
    scaling_reason: str = ""

    @property
    def usable(self) -> bool:
        """Whether no finding is an error."""
        return all(finding.severity != "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "shape": list(self.shape), "usable": self.usable}

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.shape)) or "1"
        lines = [f"{pluralize(self.rows, 'row')} of {shape}, {self.dtype}" + (f", {self.kind}" if self.kind else "")]
        for name in ("likelihood", "network", "scaling"):
            if value := getattr(self, name):
                lines.append(f"{name + ':':<12}{value}: {getattr(self, f'{name}_reason')}")
        lines += map(str, self.findings)
        return "\n".join(lines if self.findings else [*lines, "no problems found"])


def check(
    X: Any,
    *,
    lengths: Any = None,
    observed: Any = None,
    likelihood: Any = "auto",
    scaling: str = "auto",
    levels: int | None = None,
) -> DataReport:
    """Check data before training. Bad data are reported, not raised.

    Args:
        X: (n, *X) rows of any kind that `fit` takes; of a `Dataset` or a path the held-out rows are checked too.
        lengths: (n,) number of steps of each padded sequence; X is then (n, t, d).
        observed: (n, *X) booleans, False where a value of X is missing; such values are not checked.
        likelihood: check against this likelihood, or one name for each column of a table, instead of the default.
        scaling: check with this scaling instead of the default.
        levels: number of grey levels of integer data.

    Raises:
        InputError: if the likelihood or the scaling is unknown, for impossible levels, and for `lengths` or `observed`
            beside `Examples`.
    """
    import numpy as np

    from isthmus.estimators.param_validation import check_fields
    from isthmus.estimators.variational import VAE

    data = as_parts(X, numeric=False, lengths=lengths, observed=observed)
    levels = levels if levels is not None else data.levels
    model = VAE(likelihood=likelihood, scaling=scaling, levels=levels)
    check_fields(model)
    with np.errstate(all="ignore"):  # variances of huge numbers overflow; a finding reports them
        return check_dataset(data, model)


def check_dataset(data: Dataset, model: Estimator) -> DataReport:
    """All checks of `data`, with the defaults that follow from the hyperparameters of `model`."""
    view, findings = inspect(data.train, "X")
    if view is None:
        return DataReport(*shape_summary(data.train.x), findings)
    findings += unusable(view)
    size = (len(view.x), tuple(view.x.shape[1:]), str(view.x.dtype))
    apart = isinstance(model.likelihood, tuple | list)  # names of columns that are not all there cannot be matched
    fatal = ("wrong-shape", "empty", *(("non-numeric-column",) if apart else ()))
    if any(finding.code in fatal for finding in findings):
        return DataReport(*size, findings)
    view, defaults, problems = examine(view, model)
    findings += problems
    for label, examples in (("x_valid", data.valid), ("x_test", data.test)):
        if examples is not None:
            findings += check_held_out(examples, label, defaults)
    return DataReport(
        *size,
        ranked(findings),
        kind=defaults.schema.kind,
        likelihood=defaults.likelihood,
        likelihood_reason=explain_likelihood(model, view, defaults),
        network=defaults.network,
        network_reason=explain_network(model, defaults),
        scaling=defaults.scaling,
        scaling_reason=explain_scaling(model, defaults),
    )
