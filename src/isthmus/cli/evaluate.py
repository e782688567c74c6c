"""`isthmus evaluate RUN [DATA]`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from isthmus.cli import use
from isthmus.cli.main import Parser, command_parser, tell


def parser(words: list[str]) -> Parser:
    made = command_parser("evaluate")
    made.add_argument("run", metavar="RUN", help="the folder of a trained model")
    made.add_argument("data", metavar="DATA", nargs="?", help="other data than the run's own test or validation rows")
    made.add_argument("--condition", metavar="COLUMN", help="the column of DATA that holds the condition")
    made.add_argument("--part", default="all", choices=("all", "train", "valid", "test"), help="which rows of DATA")
    made.add_argument("--draws", type=int, default=1000, metavar="K", help="draws a row for log p(x) (default 1000)")
    return made


def run(arguments: argparse.Namespace) -> None:
    from isthmus.assessment.evaluate import evaluate
    from isthmus.assessment.held import held_out
    from isthmus.errors import InputError
    from isthmus.estimators import runs
    from isthmus.estimators.store import load

    train, lacking = None, ""
    try:
        opened = runs.reopen(Path(arguments.run))
        model, train = opened.estimator, opened.job.train_rows
    except InputError as error:
        if arguments.data is None:
            raise
        model, lacking = load(arguments.run), f"\nno baselines, for {error}"
    if arguments.data is None:
        held = held_out(opened)
        part, which = held.part, held.which
        more: dict[str, Any] = {} if part.lengths is None else {"lengths": part.lengths}
        if model.schema_.condition is not None:
            more["condition"] = part.y
    else:
        part, more = use.rows_of(arguments, model)
        which = f"{len(part.x):,} rows of {arguments.data}"
    found = evaluate(model, part.x, part.y, **more, draws=arguments.draws, train=train)
    facts = {"run": arguments.run, "which": which, **found.to_dict()}
    tell(arguments, facts, f"{which}\n{found}{lacking}")
