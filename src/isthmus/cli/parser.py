"""What all commands share: the argument parser, output as text or JSON, and exit codes."""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any, NoReturn

from isthmus.errors import InputError, unknown

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
        parsed, rest = self.parse_known_args(args, namespace)
        option = next((arg for arg in rest if arg.startswith("-")), None)
        if option:
            options = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
            raise unknown("option", option.split("=")[0], options)
        if rest:
            raise InputError(f"unexpected argument {rest[0]!r}. See `{self.prog} --help`.")
        return parsed


def command_parser(name: str, **kwargs: Any) -> Parser:
    """The parser of the command `isthmus NAME`, with the options that every command has."""
    parser = Parser(prog=f"isthmus {name}", **kwargs)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return parser


def report(message: str) -> None:
    """Print an error or a warning as one line on stderr."""
    print(f"isthmus: {message}", file=sys.stderr)


def log(message: str) -> None:
    """Announce a slow step on stderr, if that is a terminal."""
    if sys.stderr.isatty():
        print(message, file=sys.stderr)


def emit(args: argparse.Namespace, values: dict[str, Any], text: str) -> None:
    """Print the values as one JSON object with --json, else the text."""
    import json

    print(json.dumps(nonfinite_to_null(values)) if args.json else text)


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
