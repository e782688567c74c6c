"""`isthmus fit MODEL DATA -o RUN` and `isthmus fit --resume RUN`."""

from __future__ import annotations

import argparse
from pathlib import Path

from isthmus.cli.flags import add_fields, fields_given, flag_of
from isthmus.cli.main import Parser, command_parser, note, tell
from isthmus.errors import InputError, Interrupted
from isthmus.registry import Model, find_model, models


def parser(words: list[str]) -> Parser:
    if any(word == "--resume" or word.startswith("--resume=") for word in words):
        return resuming(words)
    model = model_in(words)
    if model is None and any(word.split("=")[0] in flags_of_models() for word in words):
        raise InputError("which model? It comes first: isthmus fit MODEL DATA -o RUN ...; `isthmus models` lists them")
    epilog = None if model else "`isthmus fit MODEL --help` lists the fields of a model; `isthmus models` the models"
    made = command_parser(f"fit {model.command}" if model else "fit", epilog=epilog)
    made.add_argument("model", metavar="MODEL", help="a name that `isthmus models` lists")
    made.add_argument("data", metavar="DATA", help="a built-in name (`isthmus data`) or a path")
    made.add_argument("-o", "--output", metavar="RUN", help="the run's folder")
    made.add_argument("--force", action="store_true", help="replace the run that is there")
    made.add_argument("--condition", metavar="COLUMN", help="the column of a table to condition on")
    made.add_argument("--resume", metavar="RUN", help="go on with a run that was broken off")
    if model:
        add_fields(made, model)
    return made


def resuming(words: list[str]) -> Parser:
    """The parser of `--resume RUN`, which nothing else goes with."""
    made = command_parser("fit")
    made.add_argument("--resume", metavar="RUN", help="go on with a run that was broken off")
    given, rest = made.parse_known_args(words)
    if rest:
        raise InputError(f"a resumed run keeps its model, data and fields; only: isthmus fit --resume {given.resume}")
    return made


def model_in(words: list[str]) -> Model | None:
    """The model that is named: by the first word, or after options by the first that is neither one nor its value."""
    value = False
    for i, word in enumerate(words):
        if word.startswith("-"):
            value = "=" not in word and word not in ("--force", "--json", "-h", "--help")
        elif value:
            value = False
        elif i == 0 or is_model(word):
            return find_model(word)
    return None


def is_model(word: str) -> bool:
    try:
        find_model(word)
    except InputError:
        return False
    return True


def flags_of_models() -> set[str]:
    """Every flag that some model has."""
    return {flag_of(name) for model in models().values() for name in model.fields}


def run(arguments: argparse.Namespace) -> None:
    import torch

    torch.set_flush_denormal(True)  # before the first parallel operation: then it holds on every thread
    from isthmus.data import read
    from isthmus.persistence import run_dir
    from isthmus.report.summary import summarise
    from isthmus.train.progress import ProgressBar

    if arguments.resume is not None:
        folder = Path(arguments.resume)
        started = run_dir.resume(folder)
        if started is None:
            tell(arguments, {"run": str(folder), "finished": True}, f"{folder} is finished; there is nothing to resume")
            return
    else:
        if not arguments.output:
            raise InputError("no folder for the run; say where it shall lie: -o runs/NAME")
        folder = Path(arguments.output)
        estimator = run_dir.make(find_model(arguments.model), fields_given(arguments))
        if estimator.prior == "conditional" and not (estimator.conditional or arguments.condition):
            raise InputError(
                "--prior conditional needs a condition: train a conditionalvae, which takes the data's labels, or name "
                "a column with --condition"
            )
        dataset = read(arguments.data, condition=arguments.condition)
        started = run_dir.start(estimator, dataset, folder, condition=arguments.condition, force=arguments.force)
    try:
        if not started.trained:
            with ProgressBar() as show:
                run_dir.finish(started, show)
    except Interrupted as stopped:
        raise Interrupted(f"{stopped}; go on with: isthmus fit --resume {folder}") from None
    note("measuring rows that were kept aside")
    try:
        summary = summarise(started)
    except KeyboardInterrupt:
        raise Interrupted(
            f"the model is saved, not all pictures are; draw them: isthmus fit --resume {folder}"
        ) from None
    tell(arguments, summary.facts, summary.words)
