"""The `isthmus` command: finds the subcommand and turns errors into one line."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Any, NoReturn

from isthmus import __version__
from isthmus.errors import InputError, Interrupted, TrainingError, unknown

COMMANDS = {
    "check": "what the data are, what would be chosen for them, what is wrong with them",
    "fit": "train a model; a progress bar, pictures and a summary in words",
    "evaluate": "log p(x) with its error, the parts of its bound, latent dimensions in use, beside linear models",
    "report": "one page in words and pictures about a trained model, to open in a browser",
    "compare": "several models on the same rows, budget and seeds, beside PCA; who is better, where it can be told",
    "diagnose": "what is wrong with a trained model, and the line that mends it; exit 3 if its numbers cannot be used",
    "sample": "draw new examples from a trained model",
    "encode": "data to codes",
    "decode": "codes to data",
    "reconstruct": "data to what the model makes of them; a denoising one cleans them",
    "models": "what models there are, a line each",
    "data": "what data sets are built in, a line each",
}
MENDABLE, BROKEN, STOPPED = 2, 1, 130
"""Exit codes: the user can mend it; we have to; Ctrl-C."""


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors, the nearest name for an unknown option, and no abbreviations."""

    def __init__(self, **arguments: Any):
        super().__init__(allow_abbrev=False, **arguments)

    def error(self, message: str) -> NoReturn:
        raise InputError(message)

    def parse_args(self, args=None, namespace=None):
        parsed, rest = self.parse_known_args(args, namespace)
        option = next((word for word in rest if word.startswith("-")), None)
        if option:
            known = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
            raise unknown("option", option.split("=")[0], known)
        if rest:
            raise InputError(f"{rest[0]!r} is one argument too many; see `{self.prog} --help`")
        return parsed


def usage() -> str:
    """The help of the whole program."""
    lines = "\n".join(f"  {name:<12} {what}" for name, what in COMMANDS.items())
    return (
        "usage: isthmus COMMAND ...\n\nAutoencoders of every kind: train, check, explain and use them.\n\n"
        f"{lines}\n\n`isthmus COMMAND --help` tells more; `isthmus --version` the version.\n"
        "Start with: isthmus fit vae digits -o runs/digits"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    words = sys.argv[1:] if argv is None else argv
    # Threads that wait must not spin: with another process on one of the cores, training would fall to a quarter.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    try:
        if not words or words[0] in ("-h", "--help", "help"):
            print(usage())
            return 0
        if words[0] in ("-V", "--version"):
            print(f"isthmus {__version__}")
            return 0
        if words[0] not in COMMANDS:
            raise unknown("command", words[0], COMMANDS)
        command = importlib.import_module(f"isthmus.cli.{words[0]}")
        return run(command, words[1:])
    except Interrupted as error:
        return report(str(error), STOPPED)
    except KeyboardInterrupt:
        return report("stopped", STOPPED)
    except (InputError, TrainingError) as error:
        return report(str(error), MENDABLE)
    except BrokenPipeError:  # `isthmus models | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("ISTHMUS_TRACEBACK"):
            raise
        what = " ".join(str(error).split())[:300]
        return report(f"internal error, {type(error).__name__}: {what} (ISTHMUS_TRACEBACK=1 shows where)", BROKEN)


def run(command: Any, words: list[str]) -> int:
    """Parse a command's words and run it, with warnings in one line each."""
    import warnings

    def show(message, category, filename, lineno, file=None, line=None):
        if issubclass(category, UserWarning):
            report(f"warning: {' '.join(str(message).split())}", 0)

    with warnings.catch_warnings():
        warnings.showwarning = show
        # scikit-learn's word on a table for an array or the reverse; what matters of it comes as an error.
        warnings.filterwarnings("ignore", message="X (has|does not have valid) feature names")
        return command.run(command.parser(words).parse_args(words)) or 0


def report(message: str, code: int) -> int:
    """One line on stderr."""
    print(f"isthmus: {message}", file=sys.stderr)
    return code


def note(message: str) -> None:
    """A word on stderr about what takes a while, where somebody is watching."""
    if sys.stderr.isatty():
        print(message, file=sys.stderr)


def command_parser(name: str, **more: Any) -> Parser:
    """The parser of a subcommand, with what every one of them takes."""
    parser = Parser(prog=f"isthmus {name}", description=COMMANDS[name.split()[0]], **more)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of words")
    return parser


def tell(arguments: argparse.Namespace, facts: dict[str, Any], words: str) -> None:
    """Print facts as JSON, or words."""
    import json

    print(json.dumps(told(facts)) if arguments.json else words)


def told(value: Any) -> Any:
    """Facts as JSON can hold them: numbers that are none become null."""
    if isinstance(value, dict):
        return {key: told(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [told(item) for item in value]
    return None if isinstance(value, float) and (value != value or abs(value) == float("inf")) else value


if __name__ == "__main__":
    raise SystemExit(main())
