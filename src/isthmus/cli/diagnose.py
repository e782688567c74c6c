"""`isthmus diagnose RUN [DATA]`: exit 3 where a finding is an error."""

from __future__ import annotations

import argparse
import dataclasses

from isthmus.cli.common import evaluated, measured_parser, opened
from isthmus.cli.main import Parser, tell

GRAVE = 3
"""Exit code where something that was found makes the model's numbers unusable."""


def parser(words: list[str]) -> Parser:
    return measured_parser("diagnose")


def run(arguments: argparse.Namespace) -> int:
    from isthmus.diagnosis.context import RunRef
    from isthmus.diagnosis.diagnose import diagnose
    from isthmus.evaluation.evaluate import has_finite_weights

    case = opened(arguments)
    command = RunRef(arguments.run, case.data, case.condition) if case.data else None
    found = evaluated(case, arguments) if not case.broken and has_finite_weights(case.model) else None
    findings = diagnose(case.model, case.part.x, **case.more, evaluation=found, command=command, failure=case.broken)
    words = "\n".join(map(str, findings)) or "no problems found"
    facts = {"run": arguments.run, "which": case.which, "findings": [dataclasses.asdict(about) for about in findings]}
    tell(arguments, facts, f"{case.which}\n{words}{case.lacking}")
    return GRAVE if any(about.severity == "error" for about in findings) else 0
