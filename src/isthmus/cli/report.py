"""`isthmus report RUN`."""

from __future__ import annotations

import argparse
from pathlib import Path

from isthmus.cli.main import Parser, command_parser, note, tell


def parser(words: list[str]) -> Parser:
    made = command_parser("report")
    made.add_argument("run", metavar="RUN", help="the folder of a trained model, whose data are still there")
    made.add_argument("--draws", type=int, default=1000, metavar="K", help="draws a row for log p(x) (default 1000)")
    return made


def run(arguments: argparse.Namespace) -> None:
    from isthmus.evaluation.splits import held_out
    from isthmus.persistence import run_dir
    from isthmus.report.from_run import measure

    note("measuring rows that were kept aside")
    opened = run_dir.reopen(Path(arguments.run))
    measured = measure(opened, held_out(opened), arguments.draws)
    path = measured.write_page()
    size = path.stat().st_size
    facts = {"run": arguments.run, "file": str(path), "bytes": size, "rows": len(measured.held.part.x)}
    tell(arguments, facts, f"The report on {measured.held.which}: {path} ({size / 1e6:.1f} MB)")
