"""`isthmus evaluate RUN [DATA]`."""

from __future__ import annotations

import argparse

from isthmus.cli.common import evaluation_parser, load_run, run_evaluation
from isthmus.cli.parser import Parser, emit


def build_parser(argv: list[str]) -> Parser:
    return evaluation_parser("evaluate")


def run(args: argparse.Namespace) -> None:
    loaded = load_run(args)
    evaluation = run_evaluation(loaded, args)
    values = {"run": args.run, "evaluated_on": loaded.description, **evaluation.to_dict()}
    emit(args, values, "\n".join([loaded.description, str(evaluation), *loaded.notes]))
