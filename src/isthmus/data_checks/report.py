"""The whole check, and the report that it makes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from isthmus.data import Dataset
from isthmus.data_checks.defaults import choose, why_likelihood, why_network, why_scaling
from isthmus.data_checks.findings import MEASURES, held_out, not_finite, unusable
from isthmus.data_checks.table_view import look, mended, outline, plural
from isthmus.examples import Examples
from isthmus.finding import Finding, ranked

if TYPE_CHECKING:
    from isthmus.estimators.base import Estimator


@dataclass(frozen=True)
class Report:
    """What the data are and what would be chosen for them; the choices are empty where the data leave none."""

    rows: int
    shape: tuple[int, ...]
    dtype: str
    findings: list[Finding]
    kind: str = ""
    likelihood: str = ""
    likelihood_why: str = ""
    network: str = ""
    network_why: str = ""
    scaling: str = ""
    scaling_why: str = ""

    @property
    def usable(self) -> bool:
        """Whether nothing that was found is an error."""
        return all(finding.severity != "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "shape": list(self.shape), "usable": self.usable}

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.shape)) or "1"
        lines = [f"{plural(self.rows, 'row')} of {shape}, {self.dtype}" + (f", {self.kind}" if self.kind else "")]
        chosen = (
            (self.likelihood, self.likelihood_why),
            (self.network, self.network_why),
            (self.scaling, self.scaling_why),
        )
        for name, (what, why) in zip(("likelihood:", "network:", "scaling:"), chosen):
            lines += [f"{name:<12}{what}: {why}"] if what else []
        lines += map(str, self.findings)
        return "\n".join(lines if self.findings else [*lines, "nothing wrong was found"])


def check(
    X: Any,
    *,
    lengths: Any = None,
    likelihood: str = "auto",
    scaling: str = "auto",
    levels: int | None = None,
) -> Report:
    """What X (n, *X) is: a `Dataset`, an array, a tensor or a table; with `lengths` (n,), padded sequences (n, t, d).

    Bad data are reported, never raised; InputError is for a likelihood or scaling that there is not.
    """
    import numpy as np

    from isthmus.estimators.variational import VAE

    data = X if isinstance(X, Dataset) else Dataset("X", Examples(X, lengths=lengths))
    levels = levels if levels is not None else data.levels
    model = VAE(likelihood=likelihood, scaling=scaling, levels=levels)
    with np.errstate(all="ignore"):  # numbers near the largest overflow in a variance: that is for `fit` to say
        return report(data, model)


def report(data: Dataset, model: Estimator) -> Report:
    """The whole of `check`, by the fields of `model`."""
    view, findings = look(data.train, "X")
    if view is None:
        return Report(*outline(data.train.x), findings)
    findings += unusable(view)
    about = (len(view.x), tuple(view.x.shape[1:]), str(view.x.dtype))
    if any(finding.code in ("wrong-shape", "empty") for finding in findings):
        return Report(*about, findings)
    findings += not_finite(view)
    rows = mended(view)
    choice, more = choose(model, rows)
    findings += more + [found for measure in MEASURES for found in measure(rows, choice)]
    for name, part in (("x_valid", data.valid), ("x_test", data.test)):
        if part is not None:
            findings += held_out(part, name, choice)
    return Report(
        *about,
        ranked(findings),
        kind=choice.schema.kind,
        likelihood=choice.likelihood,
        likelihood_why=why_likelihood(model, rows, choice),
        network=choice.network,
        network_why=why_network(model, choice),
        scaling=choice.scaling,
        scaling_why=why_scaling(model, choice),
    )
