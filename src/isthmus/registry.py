"""What models there are, read from the source of `estimators`: nothing is imported, so a command starts at once."""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.errors import unknown

FOLDER = Path(__file__).parent / "estimators"


@dataclass(frozen=True)
class Field:
    """A parameter of a model: its name, type in the source, default and one line of help."""

    name: str
    annotation: str
    default: Any
    doc: str


@dataclass(frozen=True)
class Model:
    """A public class: its name, the module that holds it, what it is in a line, and its fields by name."""

    name: str
    module: str
    doc: str
    fields: dict[str, Field]

    @property
    def command(self) -> str:
        """The name on the command line, in lower case."""
        return self.name.lower()


@functools.cache
def models() -> dict[str, Model]:
    """Public models by class name, in the order of the source."""
    classes: dict[str, tuple[str, ast.ClassDef]] = {}
    for path in sorted(FOLDER.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                classes[node.name] = (f"isthmus.estimators.{path.stem}", node)

    def parents(name: str) -> list[str]:
        bases = [b.id for b in classes[name][1].bases if isinstance(b, ast.Name) and b.id in classes]
        return [name] + [ancestor for base in bases for ancestor in parents(base)]

    found = {}
    for name, (module, node) in classes.items():
        line = parents(name)
        if name == "Estimator" or "Estimator" not in line:
            continue
        fields: dict[str, Field] = {}
        for ancestor in reversed(line):
            fields |= fields_of(classes[ancestor][1])
        found[name] = Model(name, module, (ast.get_docstring(node) or "").splitlines()[0], fields)
    return found


def fields_of(node: ast.ClassDef) -> dict[str, Field]:
    """Annotated names with a default and the string after each, as written in the source."""
    fields = {}
    for item, after in zip(node.body, [*node.body[1:], None]):
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name) or item.value is None:
            continue
        annotation = ast.unparse(item.annotation)
        if "ClassVar" in annotation:
            continue
        doc = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            doc = after.value.value
        fields[item.target.id] = Field(item.target.id, annotation, ast.literal_eval(item.value), doc)
    return fields


def model_named(name: str) -> Model:
    """A model by its name in any case, with or without dashes; InputError names the nearest for an unknown one."""
    by_command = {model.command: model for model in models().values()}
    by_command |= {short: by_command[long] for short, long in ALIASES.items()}
    key = name.lower().replace("-", "").replace("_", "")
    if key not in by_command:
        raise unknown("model", name, by_command)
    return by_command[key]


ALIASES = {"ae": "autoencoder", "ppca": "probabilisticpca", "cvae": "conditionalvae"}
"""Short names of the field."""
