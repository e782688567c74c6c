"""`isthmus --print-completion SHELL`: a script that completes commands, options, models and files on the tab key."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping
from typing import Any

from isthmus.cli.flags import add_fields
from isthmus.errors import InputError
from isthmus.model_registry import ALIASES, Model, models


def completion_script(shell: str | None, commands: Mapping[str, str]) -> str:
    """The script for a shell.

    Args:
        shell: one that shtab knows, such as bash, zsh or fish.
        commands: the commands with their help.

    Raises:
        InputError: for another shell, and where shtab is not installed.
    """
    try:
        import shtab
    except ImportError:
        raise InputError(
            "completion is made by shtab, which is not installed. Run pip install 'isthmus[completion]', or pip "
            "install shtab."
        ) from None
    if shell not in shtab.SUPPORTED_SHELLS:
        raise InputError(f"--print-completion must be one of {', '.join(shtab.SUPPORTED_SHELLS)}, got {shell!r}.")
    completes = {"FILE": shtab.FILE, "DATA": shtab.FILE, "CODES": shtab.FILE, "RUN": shtab.DIR, "FOLDER": shtab.DIR}
    root = argparse.ArgumentParser(prog="isthmus")
    root.add_argument("--version", action="store_true", help="show the version")
    subparsers = root.add_subparsers()
    for name, text in commands.items():
        parser = importlib.import_module(f"isthmus.cli.{name}").build_parser([])
        if name == "fit":
            add_fields(parser, every_field())
        for action in parser._actions:
            if action.metavar == "MODEL":
                action.choices = sorted([*ALIASES, *(model.command for model in models().values())])
            elif action.metavar in completes:
                action.complete = completes[action.metavar]
        subparsers.add_parser(name, parents=[parser], conflict_handler="resolve", help=text)
    subparsers.add_parser("help", help="show the options of a command").add_argument("command", choices=[*commands])
    return shtab.complete(root, shell)


def every_field() -> Model:
    """The fields of all models, as if of one."""
    fields: dict[str, Any] = {}
    for model in models().values():
        fields = model.fields | fields
    return Model("the models", "", "", "", fields)
