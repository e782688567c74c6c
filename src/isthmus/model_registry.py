"""The public models and their fields, read from the source of `isthmus.estimators` without importing it.

Command-line help must start at once, and importing the estimators would import torch.
"""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.errors import unknown

ESTIMATORS_FOLDER = Path(__file__).parent / "estimators"
BASE_CLASS = "Estimator"

OTHER_PURPOSES = "other models"
"""Purpose of a model that names none."""
ALIASES = {"ae": "autoencoder", "ppca": "probabilisticpca", "cvae": "conditionalvae"}
"""Common short names, and the command-line name that each stands for."""


@dataclass(frozen=True)
class Field:
    """A hyperparameter of a model: its name, annotation as in the source, default, and docstring."""

    name: str
    annotation: str
    default: Any
    doc: str


@dataclass(frozen=True)
class Model:
    """A public class: its name, module, first docstring line, purpose, and fields by name, inherited ones included."""

    name: str
    module: str
    doc: str
    purpose: str
    fields: dict[str, Field]

    @property
    def command(self) -> str:
        """The name on the command line: the class name in lower case."""
        return self.name.lower()


@functools.cache
def models() -> dict[str, Model]:
    """All public models by class name, in source order."""
    classes: dict[str, tuple[str, ast.ClassDef]] = {}
    for path in sorted(ESTIMATORS_FOLDER.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                classes[node.name] = (f"isthmus.estimators.{path.stem}", node)

    def lineage(name: str) -> list[str]:
        """The class and its ancestors within the package, nearest first."""
        bases = [b.id for b in classes[name][1].bases if isinstance(b, ast.Name) and b.id in classes]
        return [name] + [ancestor for base in bases for ancestor in lineage(base)]

    result = {}
    for name, (module, node) in classes.items():
        ancestors = lineage(name)
        if name == BASE_CLASS or BASE_CLASS not in ancestors:
            continue
        fields: dict[str, Field] = {}
        for ancestor in reversed(ancestors):
            fields |= declared_fields(classes[ancestor][1])
        named = (declared_purpose(classes[ancestor][1]) for ancestor in ancestors)
        purpose = next(filter(None, named), OTHER_PURPOSES)
        result[name] = Model(name, module, (ast.get_docstring(node) or "").splitlines()[0], purpose, fields)
    return result


def declared_purpose(node: ast.ClassDef) -> str:
    """The value of the class variable `purpose`; empty where a class has none of its own."""
    for item in node.body:
        targets = [item.target] if isinstance(item, ast.AnnAssign) else getattr(item, "targets", [])
        value = getattr(item, "value", None)
        if value is not None and "purpose" in map(ast.unparse, targets):
            return ast.literal_eval(value)
    return ""


def declared_fields(node: ast.ClassDef) -> dict[str, Field]:
    """The annotated class attributes that have a default; a string literal after one is its docstring."""
    fields = {}
    for item, following in zip(node.body, [*node.body[1:], None]):
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name) or item.value is None:
            continue
        annotation = ast.unparse(item.annotation)
        if "ClassVar" in annotation:
            continue
        doc = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            doc = following.value.value if isinstance(following.value.value, str) else ""
        fields[item.target.id] = Field(item.target.id, annotation, ast.literal_eval(item.value), doc)
    return fields


def find_model(name: str) -> Model:
    """The model with this class name, command-line name or alias; case, dashes and underscores do not matter.

    Raises:
        InputError: if there is no such model; the message suggests the nearest name.
    """
    by_command = {model.command: model for model in models().values()}
    by_command |= {alias: by_command[command] for alias, command in ALIASES.items()}
    key = name.lower().replace("-", "").replace("_", "")
    if key not in by_command:
        raise unknown("model", name, by_command)
    return by_command[key]
