"""`isthmus evaluate RUN [DATA]`."""

from __future__ import annotations

import argparse

from isthmus.cli.main import Parser, tell
from isthmus.cli.use import measured_parser, opened


def parser(words: list[str]) -> Parser:
    return measured_parser("evaluate")


def run(arguments: argparse.Namespace) -> None:
    from isthmus.assessment.evaluate import evaluate

    case = opened(arguments)
    found = evaluate(
        case.model,
        case.part.x,
        case.part.y,
        **case.more,
        draws=arguments.draws,
        train=case.train,
        factors=case.part.factors,
        ais=arguments.ais,
    )
    facts = {"run": arguments.run, "which": case.which, **found.to_dict()}
    tell(arguments, facts, f"{case.which}\n{found}{case.lacking}")
