"""`isthmus fit MODEL DATA -o RUN` and `isthmus fit --resume RUN`."""

from __future__ import annotations

import argparse
from pathlib import Path

from isthmus.cli.flags import add_fields, fields_given
from isthmus.cli.main import Parser, command_parser, tell
from isthmus.errors import InputError, Interrupted
from isthmus.registry import model_named


def parser(words: list[str]) -> Parser:
    named = bool(words) and not words[0].startswith("-")
    model = model_named(words[0]) if named else None
    epilog = None if named else "`isthmus fit MODEL --help` lists the fields of a model; `isthmus models` the models"
    made = command_parser(f"fit {model.command}" if model else "fit", epilog=epilog)
    if model or not any(word.startswith("--resume") for word in words):
        made.add_argument("model", metavar="MODEL", help="a name that `isthmus models` lists")
        made.add_argument("data", metavar="DATA", help="a built-in name (`isthmus data`) or a path")
        made.add_argument("-o", "--output", metavar="RUN", help="the run's folder")
        made.add_argument("--force", action="store_true", help="replace the run that is there")
        made.add_argument("--condition", metavar="COLUMN", help="the column of a table to condition on")
    made.add_argument("--resume", metavar="RUN", help="go on with a run that was broken off")
    if model:
        add_fields(made, model)
    return made


def run(arguments: argparse.Namespace) -> None:
    import torch

    torch.set_flush_denormal(True)  # before the first parallel operation: then it holds on every thread
    from isthmus.data import read
    from isthmus.estimators import runs
    from isthmus.report.summary import summarise
    from isthmus.train.progress import Bar

    if arguments.resume:
        folder = Path(arguments.resume)
        started = runs.resume(folder)
        if started is None:
            tell(arguments, {"run": str(folder), "finished": True}, f"{folder} is finished; there is nothing to resume")
            return
    else:
        if not arguments.output:
            raise InputError("no folder for the run; say where it shall lie: -o runs/NAME")
        folder = Path(arguments.output)
        estimator = runs.make(model_named(arguments.model), fields_given(arguments))
        dataset = read(arguments.data, condition=arguments.condition)
        started = runs.start(estimator, dataset, folder, condition=arguments.condition, force=arguments.force)
    try:
        with Bar() as show:
            runs.finish(started, show)
    except Interrupted as stopped:
        raise Interrupted(f"{stopped}; go on with: isthmus fit --resume {folder}") from None
    summary = summarise(started)
    tell(arguments, summary.facts, summary.words)
