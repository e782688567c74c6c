"""Findings about the rows: training rows among them, rows from elsewhere, and what `check` says of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from isthmus.diagnosis.context import DiagnosisContext
from isthmus.evaluation.row_comparison import MIN_SHIFT
from isthmus.finding import SEVERITIES, Finding
from isthmus.wording import join_names, pluralize

MIN_LEAKED_SHARE = 0.02
"""Share of the rows that are training rows, beyond what equal rows explain, that is worth a finding."""
MIN_LEAKED_ROWS = 2
"""Such rows that chance may explain."""
LEAKED_SHARE_ERROR = 0.1
"""Share of such rows from which metrics on these rows cannot be used."""
MIN_FAR_SHARE = 0.5
"""Share of the rows that must lie far outside of the training rows for all of them to come from elsewhere."""
MIN_COLUMN_ROWS = 20
"""Rows from which a column that differs shows it by its own distribution."""
REPEATED = {
    "leak": "warning",
    "duplicate-rows": "warning",
    "zeros": "warning",
    "channels-first": "warning",
    "few-rows": "info",
    "constant-columns": "info",
    "repeated-values": "info",
}
"""Findings of `check` that bear on a trained model, and how severe they are there at most."""


def leak(context: DiagnosisContext) -> Iterator[Finding]:
    """Training rows are among the measured rows."""
    count, share = context.value("train_overlap"), context.value("train_overlap.share")
    if not count or count <= MIN_LEAKED_ROWS:
        return
    doubled, by_chance = (context.value(f"train_overlap.{name}") for name in ("doubled", "by_chance"))
    if share - by_chance < MIN_LEAKED_SHARE:
        return
    compared = context.value("train_overlap.compared")
    of = pluralize(compared, "row") + ("" if compared == context.rows else " of enough observed values")
    copies = f"; {pluralize(doubled, 'training row')} are copies of others" if doubled else ""
    yield Finding(
        "leak",
        "error" if share >= LEAKED_SHARE_ERROR else "warning",
        f"{count:,} of {of} are also training rows ({share:.0%}){copies}",
        "drop duplicate rows before splitting (numpy.unique(X, axis=0)), and measure on rows that are not in train",
        {"rows": count, "of": compared, "share": share, "doubled": doubled},
        "metrics on training rows say what was remembered, not what was learned",
    )


def unlike_training(context: DiagnosisContext) -> Iterator[Finding]:
    """The measured rows come from elsewhere, or are scaled otherwise than the training rows."""
    difference = context.value("column_shift")
    jointly, far = (context.value(f"column_shift.{name}") for name in ("jointly", "far"))
    if difference is None or (max(difference, jointly) < MIN_SHIFT and far <= MIN_FAR_SHARE):
        return
    columns = list(context.value("column_shift.columns"))
    names = context.fitted.feature_names
    shown = [names[j] if j < len(names) else str(j) for j in columns]
    if columns:
        where = f"column {join_names(shown)} {'has' if len(shown) == 1 else 'have'} another distribution"
        where = where.replace("column", "columns", 1) if len(shown) > 1 else where
    elif jointly >= MIN_SHIFT and not difference and context.rows >= MIN_COLUMN_ROWS:
        where = "no single column differs, but columns go together otherwise"
    elif far > MIN_FAR_SHARE:
        which = "they lie" if far == 1 else f"{far:.0%} of them lie"
        where = f"{which} far outside of them, farther than the training rows compared"
    else:
        where = "no single column differs much, but columns go together otherwise"
    yield Finding(
        "unlike-training",
        "warning",
        f"these rows are unlike the training rows: {where}",
        "scale both sets of rows alike and shuffle before splitting, or measure on rows like those of training",
        {"columns": shown, "largest_difference": difference, "jointly": jointly, "far": far},
        "these rows come from another source, time or scale than the training rows, so that metrics on them do not "
        "measure what was learned",
    )


def data_problems(context: DiagnosisContext) -> Iterator[Finding]:
    """What `check` says of the rows."""
    for finding in context.data_findings:
        if finding.code == "repeated-values" and not context.density_is_unbounded:
            continue
        if finding.code in REPEATED:
            severity = max(finding.severity, REPEATED[finding.code], key=SEVERITIES.index)
            yield replace(finding, severity=severity)


def not_measured(context: DiagnosisContext) -> Iterator[Finding]:
    """What `evaluate` refused to measure, and why."""
    declined = {} if context.evaluation is None else context.evaluation.declined
    if not declined:
        return
    reasons = sorted(set(declined.values()))
    yield Finding(
        "not-measured",
        "info",
        f"not measured: {join_names(name.replace('_', ' ') for name in declined)}",
        " ".join(reasons),
        {"declined": dict(declined)},
    )
