"""`isthmus evaluate RUN [DATA]`."""

from __future__ import annotations

import argparse

from isthmus.cli.common import evaluated, measured_parser, opened
from isthmus.cli.main import Parser, tell


def parser(words: list[str]) -> Parser:
    return measured_parser("evaluate")


def run(arguments: argparse.Namespace) -> None:
    case = opened(arguments)
    found = evaluated(case, arguments)
    facts = {"run": arguments.run, "which": case.which, **found.to_dict()}
    tell(arguments, facts, f"{case.which}\n{found}{case.lacking}")
