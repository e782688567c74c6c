"""The project's shape: imports go down only, files stay small."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import isthmus

ROOT = Path(isthmus.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py"))
ORDER = [
    {"wording", "synonyms", "markup"},
    {"errors", "not_fitted", "examples", "atomic_io", "finding", "callbacks", "model_registry", "__init__"},
    {"batch", "schema", "data", "random_streams", "memory_blocks"},
    {"nets", "distributions", "scales"},
    {"families"},
    {"conditional", "priors", "user_priors", "corruption"},
    {"forward_pass"},
    {"latent_model"},
    {"objective", "model_checks", "code_free_model", "labelled_model", "ladder_model"},
    {"terms"},
    {"train", "metrics", "likelihoods", "array_checks", "inputs", "named_columns", "torch_inputs"},
    {"fitted", "score_samples"},
    {"estimators", "persistence", "data_checks"},
    {"evaluation"},
    {"diagnosis", "plot"},
    {"report", "comparison", "export"},
    {"cli", "__main__"},
]
LEVEL = {name: i for i, names in enumerate(ORDER) for name in names}


def place(module: str) -> str:
    """The top-level name of a module: `nets` for `isthmus.nets.mlp`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imported(path: Path) -> set[str]:
    """Modules of the project that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "isthmus":
            assert not node.level, "imports are absolute"
            deeper = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {
                m
                if (ROOT.parent / (m.replace(".", "/") + ".py")).exists()
                or (ROOT.parent / m.replace(".", "/")).is_dir()
                else node.module
                for m in deeper
            }
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "isthmus"}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_only(path):
    relative = path.relative_to(ROOT).with_suffix("")
    own = relative.parts[0]
    if own == "__init__":  # names are resolved there when they are used
        return
    assert own in LEVEL, f"{own} has no place in the order yet"
    for module in imported(path):
        if module == "isthmus":
            continue
        assert LEVEL[place(module)] <= LEVEL[own], f"{relative} imports {module}, which is above it"


def test_imports_have_no_circle():
    """No file imports another in a circle, imports under `TYPE_CHECKING` included."""
    names = {".".join(("isthmus", *path.relative_to(ROOT).with_suffix("").parts)): path for path in FILES}
    names |= {name.removesuffix(".__init__"): path for name, path in names.items() if name != "isthmus.__init__"}
    graph = {path: {names[module] for module in imported(path) if module in names} - {path} for path in FILES}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= 400


def test_no_public_name_is_hidden_by_a_module():
    names = {*isthmus._MODULE_OF, "evaluate", "diagnose", "compare"}
    assert not names & {path.stem for path in ROOT.iterdir()}


def test_nothing_unpickles():
    for path in FILES:
        text = path.read_text()
        assert "torch.load(" not in text
        assert "allow_pickle=True" not in text
        assert "import pickle" not in text
