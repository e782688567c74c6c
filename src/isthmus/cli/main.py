"""The `isthmus` command: finds the subcommand and turns errors into one line.

A command is an entry of `COMMANDS` and a module `isthmus.cli.NAME` with `build_parser(argv) -> Parser` and
`run(args) -> int | None`, the exit code. The module is imported only when the command is used.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

from isthmus import __version__
from isthmus.cli.config_file import value_of
from isthmus.cli.parser import EXIT_INTERNAL_ERROR, EXIT_INTERRUPTED, EXIT_USER_ERROR, print_json, report
from isthmus.errors import InputError, Interrupted, TrainingError, unknown

COMMANDS = {
    "check": "check data: what they are, the defaults a model would choose for them, and what is wrong with them",
    "fit": "train a model; shows progress, then saves the model, a report and figures",
    "evaluate": "measure a trained model: log p(x) with its standard error, the ELBO's terms, active units, baselines",
    "report": "write a report on a trained model as one HTML page",
    "compare": "train several models on the same data, budget and seeds, PCA among them, and rank them",
    "diagnose": "find problems of a trained model and how to fix them; exit code 3 if one of them is an error",
    "score": "score every row: its log p(x), and on request what each column costs; the most unusual rows are shown",
    "sample": "draw new examples from a trained model",
    "encode": "encode data as latent codes",
    "decode": "decode latent codes to data",
    "reconstruct": "encode and decode data; a denoising model removes the noise",
    "models": "list the available models",
    "data": "list the built-in data sets",
}
"""Commands, and the line of help of each."""

GC_THRESHOLDS = (50_000, 20, 50)
"""When Python collects garbage: seldom, for importing makes a million objects that live as long as the process, and
collecting among them takes half a second."""

USAGE = """usage: isthmus COMMAND ...

Autoencoders of every kind: train, evaluate, diagnose and use them.

{commands}

`isthmus help COMMAND` shows the options of a command, `isthmus --version` the version, and
`isthmus --print-completion bash` (or zsh, fish, tcsh) a script for the tab key.
Start with: isthmus fit vae digits -o runs/digits"""


@contextlib.contextmanager
def stopped_as_by_ctrl_c() -> Iterator[list[int]]:
    """Inside the context, SIGTERM and SIGHUP do what Ctrl-C does; the list holds those that were received.

    Schedulers and closed terminals send them. One that is ignored, as by nohup, stays ignored.
    """
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        of_ctrl_c = signal.getsignal(signal.SIGINT)  # training saves its state before it stops
        if not callable(of_ctrl_c):
            raise KeyboardInterrupt
        of_ctrl_c(signal.SIGINT, frame)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, handle)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    # By default, waiting OpenMP threads spin; with another process on one of the cores, training would be four times
    # slower.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    thresholds = gc.get_threshold()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        with stopped_as_by_ctrl_c() as signals:
            return run(argv, signals)
    finally:
        gc.set_threshold(*thresholds)


def run(argv: list[str], signals: list[int]) -> int:
    """Run the command line; `signals` are those that ask to stop, as they come."""
    try:
        if argv[:1] == ["help"] and len(argv) > 1:
            argv = [*argv[1:], "--help"]
        if not argv or argv[0] in ("-h", "--help", "help"):
            print(USAGE.format(commands="\n".join(f"  {name:<12} {text}" for name, text in COMMANDS.items())))
            return 0
        if argv[0] in ("-V", "--version"):
            print(f"isthmus {__version__}")
            return 0
        if argv[0].split("=")[0] == "--print-completion":
            from isthmus.cli.completion import completion_script

            print(completion_script(value_of("--print-completion", argv), COMMANDS))
            return 0
        if argv[0] not in COMMANDS:
            raise unknown("command", argv[0], COMMANDS)
        return run_command(argv[0], argv[1:])
    except KeyboardInterrupt as error:
        code = 128 + signals[0] if signals else EXIT_INTERRUPTED
        return fail(argv, code, error, str(error) if isinstance(error, Interrupted) else "interrupted")
    except (InputError, TrainingError) as error:
        return fail(argv, EXIT_USER_ERROR, error, str(error))
    except BrokenPipeError:  # the reader of a pipe, as in `isthmus models | head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if {"-v", "--verbose"} & set(argv):
            traceback.print_exc()
        message = " ".join(str(error).split())[:300]
        message = f"internal error, {type(error).__name__}: {message} (--verbose shows the traceback)"
        return fail(argv, EXIT_INTERNAL_ERROR, error, message)


def fail(argv: list[str], code: int, error: BaseException, message: str) -> int:
    """Report an error as one line on stderr, with --json also as an object on stdout, and return the exit code."""
    report(message)
    if "--json" in argv:
        print_json({"error": {"type": type(error).__name__, "message": message, "exit_code": code}})
    return code


def run_command(name: str, argv: list[str]) -> int:
    """Parse the arguments of a command and run it; warnings are shown as one line each."""
    import warnings

    def show_warning(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, UserWarning):
            report(f"warning: {' '.join(str(message).split())}")

    command = importlib.import_module(f"isthmus.cli.{name}")
    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        # scikit-learn warns when a table takes the place of an array or the reverse; columns are checked anyway.
        warnings.filterwarnings("ignore", message="X (has|does not have valid) feature names")
        parser = command.build_parser(argv)
        parser.description = COMMANDS[name]
        return command.run(parser.parse_args(argv)) or 0


if __name__ == "__main__":
    raise SystemExit(main())
