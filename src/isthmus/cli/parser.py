"""What all commands share: the argument parser, output as text or JSON, and exit codes."""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any, NoReturn

from isthmus.cli.config_file import with_settings
from isthmus.errors import InputError, unknown
from isthmus.wording import one_line

EXIT_INTERNAL_ERROR = 1
EXIT_USER_ERROR = 2
EXIT_ERROR_FOUND = 3
"""`check` or `diagnose` found an error in the data or the model."""
EXIT_INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """An argparse parser with one-line errors, the nearest name for an unknown option, and no abbreviations."""

    def __init__(self, **kwargs: Any):
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise InputError(message)

    def parse_args(self, args=None, namespace=None):
        parsed, rest = self.parse_known_args(with_settings(self, args), namespace)
        option = next((arg for arg in rest if arg.startswith("-")), None)
        if option:
            options = [action.option_strings[-1] for action in self._actions if action.option_strings]
            raise unknown("option", option.split("=")[0], options)
        if rest:
            raise InputError(f"unexpected argument {rest[0]!r}. See `{self.prog} --help`.")
        return parsed


def command_parser(name: str, **kwargs: Any) -> Parser:
    """The parser of the command `isthmus NAME`, with the options that every command has."""
    parser = Parser(prog=f"isthmus {name}", **kwargs)
    parser.add_argument(
        "--json", action="store_true", help='print one JSON object instead of text; of an error, {"error": ...}'
    )
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="show no progress, and say nothing of files that were written"
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="show every step, and the traceback of an internal error"
    )
    parser.add_argument(
        "--config", metavar="FILE", help="arguments by name from a .toml or .yaml file; those given here win"
    )
    return parser


def report(message: str) -> None:
    """Print an error or a warning as one line on stderr, without the control characters that names may hold."""
    print(f"isthmus: {one_line(message, max(len(message), 4))}", file=sys.stderr)


def log(args: argparse.Namespace, message: str, *, detail: bool = False) -> None:
    """Announce a slow step on stderr, if that is a terminal; always with --verbose, never with --quiet.

    Args:
        args: of the command.
        message: what is done.
        detail: whether it is announced with --verbose alone.
    """
    if args.verbose or (sys.stderr.isatty() and not args.quiet and not detail):
        print(message, file=sys.stderr)


def emit(args: argparse.Namespace, values: dict[str, Any], text: str, *, quiet: str | None = None) -> None:
    """Print what a command has to say on stdout.

    Args:
        args: of the command.
        values: printed as one JSON object with --json.
        text: printed otherwise.
        quiet: printed instead of the text with --quiet, unless it is empty; None for results, which are the text.
    """
    if args.json:
        print_json(values)
    elif not args.quiet or quiet is None:
        print(text)
    elif quiet:
        print(quiet)


def print_json(values: dict[str, Any]) -> None:
    """Print one JSON object on stdout."""
    import json

    print(json.dumps(nonfinite_to_null(values)))


def nonfinite_to_null(value: Any) -> Any:
    """The value with NaN and infinity replaced by None, because JSON has no such numbers.

    >>> nonfinite_to_null({"mean": 1.0, "ends": [float("-inf"), 2.0]})
    {'mean': 1.0, 'ends': [None, 2.0]}
    """
    if isinstance(value, dict):
        return {key: nonfinite_to_null(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [nonfinite_to_null(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
