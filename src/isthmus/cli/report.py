"""`isthmus report RUN`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from isthmus.cli.main import Parser, command_parser, tell


def parser(words: list[str]) -> Parser:
    made = command_parser("report")
    made.add_argument("run", metavar="RUN", help="the folder of a trained model, whose data are still there")
    made.add_argument("--draws", type=int, default=1000, metavar="K", help="draws a row for log p(x) (default 1000)")
    return made


def run(arguments: argparse.Namespace) -> None:
    from isthmus.assessment.evaluate import evaluate
    from isthmus.assessment.held import held_out
    from isthmus.estimators import runs, store
    from isthmus.finding import Finding
    from isthmus.report.page import page, write_page
    from isthmus.report.shown import held_rows

    folder = Path(arguments.run)
    opened = runs.reopen(folder)
    model, train, rows = opened.estimator, opened.job.train_rows, held_out(opened)
    part = rows.part
    condition = part.y if model.schema_.condition is not None else None
    more: dict[str, Any] = {"condition": condition, "lengths": part.lengths}
    found = evaluate(model, part.x, part.y, **more, draws=arguments.draws, train=train)
    findings: list[Finding] = []
    about = {
        "run": folder.name,
        "data": opened.dataset.source,
        "which": rows.which,
        "epochs": len(model.history_),
        "epochs_planned": opened.job.plan.epochs,
        "versions": store.read_config(folder).get("versions"),
    }
    held = held_rows(part.x, part.y, condition, part.lengths, rows.name)
    text = page(model, held, found, findings, train=train, about=about, seed=model.seed_ % 2**31)
    path = write_page(text, folder)
    size = len(text.encode())
    facts = {"run": str(folder), "file": str(path), "bytes": size, "rows": len(held)}
    tell(arguments, facts, f"The report on {rows.which}: {path} ({size / 1e6:.1f} MB)")
