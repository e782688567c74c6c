"""What the package shows of itself: names, documentation, types."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import pydoc
import re
from importlib.resources import files
from pathlib import Path

import pytest

import isthmus
from isthmus.cli.main import main
from isthmus.model_registry import OTHER_PURPOSES, models
from isthmus.train.runtime import pick_device
from models import NAMES


def test_dir_shows_what_is_ours_and_nothing_else():
    shown = set(dir(isthmus))
    assert shown == {"__version__", "callbacks", "plot", *isthmus._MODULE_OF, *models()}
    assert set(isthmus.__all__) == shown - {"__version__"}
    for name in shown:  # also once all modules are loaded
        assert getattr(isthmus, name) is not None
    assert set(dir(isthmus)) == shown


@pytest.mark.parametrize("name", NAMES)
def test_help_lists_every_field_with_its_text(name):
    model = getattr(isthmus, name)
    text = pydoc.plain(pydoc.render_doc(model))
    words = " ".join(text.replace("|", " ").split())
    head, _, parameters = (model.__doc__ or "").partition("Parameters\n----------\n")
    assert head.splitlines()[0] == models()[name].doc
    entries = dict(re.findall(r"^(\w+) : (.*)$", parameters, re.MULTILINE))
    assert list(entries) == [field.name for field in dataclasses.fields(model)]
    for field in models()[name].fields.values():
        assert entries[field.name].endswith(f"default={field.default!r}")
        assert field.doc
        assert " ".join(field.doc.replace("|", " ").split()) in words
    assert max(map(len, parameters.splitlines())) <= 80


def test_a_class_of_the_user_documents_what_it_inherits():
    class VAE(isthmus.VAE):  # of a public name, which is not the public class
        """A VAE of mine."""

        share: float = 0.5

    assert (VAE.__doc__ or "").startswith("A VAE of mine.\n\nParameters\n")
    assert models()["VAE"].fields["beta"].doc.split(":")[0] in (VAE.__doc__ or "")
    assert "\nshare : default=0.5\n" in (VAE.__doc__ or "")


def test_types_are_marked_as_public():
    assert files("isthmus").joinpath("py.typed").is_file()


def test_a_device_of_apple_is_not_forbidden(monkeypatch):
    with pytest.raises(isthmus.InputError, match="device must be 'cpu' or 'auto' where there is no GPU, got 'mps'"):
        pick_device("mps")
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert pick_device("mps").type == "mps"


def test_type_checkers_see_the_public_names():
    stub = ast.parse((Path(isthmus.__file__).parent / "__init__.pyi").read_text())
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom) and node.module != "__future__"]
    seen = {alias.name: node.module for node in imports for alias in node.names}
    assert {"__version__", *seen} == set(dir(isthmus))
    for name, module in seen.items():
        assert getattr(isthmus, name) is getattr(importlib.import_module(module), name), name


def test_every_model_is_listed_under_its_purpose(capsys):
    main(["models"])
    printed = capsys.readouterr().out
    groups = [block.splitlines() for block in printed.split("\n\n")[:-1]]
    listed = {line.split()[0]: heading.rstrip(":") for heading, *lines in groups for line in lines}
    assert listed == {model.command: model.purpose for model in models().values()}
    assert OTHER_PURPOSES not in listed.values()
