"""`isthmus diagnose RUN [DATA]`."""

from __future__ import annotations

import argparse
import dataclasses

from isthmus.cli.common import evaluation_parser, load_run, run_evaluation
from isthmus.cli.parser import EXIT_ERROR_FOUND, Parser, emit


def build_parser(argv: list[str]) -> Parser:
    return evaluation_parser("diagnose")


def run(args: argparse.Namespace) -> int:
    from isthmus.diagnosis.context import RunRef
    from isthmus.diagnosis.diagnose import diagnose
    from isthmus.evaluation.evaluate import has_finite_weights

    loaded = load_run(args)
    model, examples, failure = loaded.model, loaded.examples, loaded.training_failure
    command = RunRef(args.run, loaded.data, loaded.roles, loaded.options) if loaded.data else None
    evaluation = run_evaluation(loaded, args) if not failure and has_finite_weights(model) else None
    findings = diagnose(model, examples, train=loaded.train, evaluation=evaluation, command=command, failure=failure)
    values = {
        "run": args.run,
        "evaluated_on": loaded.description,
        "findings": [dataclasses.asdict(finding) for finding in findings],
    }
    lines = list(map(str, findings)) or ["no problems found"]
    emit(args, values, "\n".join([loaded.description, *lines, *loaded.notes]))
    return EXIT_ERROR_FOUND if any(finding.severity == "error" for finding in findings) else 0
