"""The wheel, in an empty environment with the versions of `constraints.txt`, runs what the README starts with."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from test_docs import ROOT, blocks

SOURCES = ("pyproject.toml", "README.md", "LICENSE", "src")
IN_WHEEL = ("isthmus/py.typed", "isthmus/report/template.html", "isthmus/plot/__init__.py")

pytestmark = [pytest.mark.grid, pytest.mark.xdist_group("wheel")]


def run(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command outside of the repository, with nothing of this process on Python's path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run([*map(str, words)], cwd=cwd, env=kept, capture_output=True, text=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of the sources: building writes beside them."""
    folder = tmp_path_factory.mktemp("wheel")
    probe = run(sys.executable, "-m", "pip", "download", "--no-deps", "--dest", "probe", "setuptools>=77", cwd=folder)
    if probe.returncode:
        pytest.skip(f"no package registry can be reached, so nothing can be installed: {probe.stderr.strip()[-200:]}")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    built = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", "dist", ".", cwd=folder)
    assert built.returncode == 0, built.stderr
    (path,) = (folder / "dist").iterdir()
    return path


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert set(IN_WHEEL) <= set(names)
    sources = {f"isthmus/{path.relative_to(ROOT / 'src/isthmus')}" for path in (ROOT / "src/isthmus").rglob("*.py")}
    assert sources <= set(names)
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"isthmus"}


def test_what_the_readme_starts_with_runs_in_an_empty_environment(wheel, tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    command = tmp_path / "env/bin"
    constraints = ("--constraint", ROOT / "constraints.txt")
    installed = run(command / "pip", "install", "--quiet", *constraints, wheel, cwd=tmp_path)
    assert installed.returncode == 0, installed.stderr
    assert run(command / "pip", "check", cwd=tmp_path).returncode == 0
    first = [shlex.split(line, comments=True) for line in blocks("README.md", "bash")[0].splitlines()]
    ours = [words for words in first if words and words[0] == "isthmus"]
    assert [words[1] for words in ours] == ["fit", "diagnose"]
    for words in ours:
        fewer = ["--epochs", "2"] if words[1] == "fit" else ["--draws", "20"]
        done = run(command / "isthmus", *words[1:], *fewer, cwd=tmp_path)
        assert done.returncode in (0, 3), done.stderr  # 3: two epochs leave something to find
    where = run(command / "python", "-c", "import isthmus; print(isthmus.__file__)", cwd=tmp_path).stdout
    assert Path(where.strip()).is_relative_to(tmp_path / "env")
    assert (tmp_path / "runs/digits/report.html").exists()
