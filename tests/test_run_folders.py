"""Folders of runs and output files: who may write there, and what is left when writing is interrupted."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import isthmus
from isthmus.cli.main import main
from isthmus.estimators.training_setup import TrainingJob
from isthmus.persistence import run_lock
from isthmus.persistence.run_files import REPLACEMENT
from isthmus.persistence.run_lock import RunLock
from isthmus.report.page import GENERATOR, write_page
from isthmus.report.summary import Summary
from models import small, table, without_page, without_slow_measures

FAST = ["--epochs", "2", "--hidden", "8", "--latent-dim", "2", "--random-state", "0", "--threads", "1"]


def run(capsys, *words) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command in this process."""
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    without_slow_measures(monkeypatch)
    without_page(monkeypatch)


@pytest.fixture
def rows(tmp_path) -> Path:
    np.save(tmp_path / "x.npy", table())
    return tmp_path / "x.npy"


# ------------------------------------------------------------------ locks


def test_one_process_at_a_time_writes_to_a_run(capsys, rows, tmp_path):
    folder, model = tmp_path / "r", small("VAE", epochs=1).fit(table())
    assert run(capsys, "fit", "vae", rows, "-o", folder, *FAST)[0] == 0
    before = contents(folder)
    with RunLock(folder):
        for words in (["fit", "vae", rows, "-o", folder, "--force", *FAST], ["fit", "--resume", folder]):
            code, _, err = run(capsys, *words)
            assert (code, err.count("\n")) == (2, 1)
            assert f"{folder} is in use" in err
        with pytest.raises(isthmus.InputError, match="is in use"):
            model.save(folder)
        assert contents(folder) == before
        assert isthmus.load(folder).transform(table()).shape == (90, 2)  # reading needs no lock
    assert run(capsys, "fit", "--resume", folder)[0] == 0


def test_a_second_fit_is_refused_while_the_first_trains(capsys, rows, tmp_path, monkeypatch):
    second, train = [], TrainingJob.train

    def train_twice(self, *args, **kwargs):
        if not second:
            second.append(main(["fit", "vae", str(rows), "-o", str(tmp_path / "r"), "--force", *FAST]))
        return train(self, *args, **kwargs)

    monkeypatch.setattr(TrainingJob, "train", train_twice)
    code, _, err = run(capsys, "fit", "vae", rows, "-o", tmp_path / "r", *FAST)
    assert (code, second) == (0, [2])
    assert "is in use" in err
    assert len((tmp_path / "r" / "history.jsonl").read_text().splitlines()) == 2


def test_two_comparisons_in_one_folder(tmp_path):
    with RunLock(tmp_path), pytest.raises(isthmus.InputError, match="is in use"):
        isthmus.compare(table(), models="pca", seeds=1, draws=5, folder=tmp_path)


def test_a_killed_process_leaves_no_lock(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from isthmus.persistence.run_lock import RunLock\n"
        "RunLock(Path(sys.argv[1])).__enter__(); print('locked', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"locked\n"
    with pytest.raises(isthmus.InputError, match="is in use"), RunLock(tmp_path):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    with RunLock(tmp_path):
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("reason", ["no module", "no locks", "no descriptor"])
def test_where_the_system_has_no_locks_there_is_none(tmp_path, monkeypatch, reason):
    def refused(*args):
        raise OSError(errno.ENOLCK, "no locks available")

    if reason == "no module":
        monkeypatch.setattr(run_lock, "fcntl", None)
    elif reason == "no locks":
        monkeypatch.setattr(run_lock.fcntl, "flock", refused)
    else:
        monkeypatch.setattr(run_lock.os, "open", refused)
    with RunLock(tmp_path), RunLock(tmp_path):
        pass


# ------------------------------------------------------------------ replacing a run

CHANGES = ((os, "replace"), (os, "rmdir"), (os, "fsync"), (Path, "unlink"), (shutil, "copyfile"))
"""What changes the disk."""


def stopped_before(change: int, how: str, argv: list[str]) -> int:
    """Run a command that is killed, or interrupted, before its change of the disk of this number; its exit code."""
    if how == "kill" and (child := os.fork()):
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left = [change]

    def counted(function):
        def changing(*args, **kwargs):
            left[0] -= 1
            if left[0] != -1:
                return function(*args, **kwargs)
            if how == "kill":
                os._exit(9)
            raise KeyboardInterrupt

        return changing

    with pytest.MonkeyPatch.context() as patch:
        for module, name in CHANGES:
            patch.setattr(module, name, counted(getattr(module, name)))
        code = main(argv)
        if how == "kill":
            os._exit(code)
        return code


@pytest.mark.parametrize(
    ("how", "stride"),
    [("interrupt", 5), *(pytest.param(how, 1, marks=pytest.mark.grid) for how in ("interrupt", "kill"))],
)
def test_a_replaced_run_is_the_old_one_until_the_new_one_is_complete(rows, tmp_path, monkeypatch, how, stride):
    """At every point where replacing it may stop, the folder holds a model, and `--resume` goes on with the new one."""
    monkeypatch.setattr("isthmus.report.summary.summarise", lambda *args: Summary({}, ""))
    if stride == 1:
        monkeypatch.setattr("isthmus.train.checkpoint.CHECKPOINT_INTERVAL_SECONDS", 0.0)
    old, new, folder = (tmp_path / name for name in ("old", "new", "run"))
    other = [word if word != "2" else "3" for word in FAST]
    codes = {}
    for made, words in ((old, FAST), (new, other)):
        assert main(["fit", "vae", str(rows), "-o", str(made), *words]) == 0
        codes[made.name] = isthmus.load(made).transform(table()).tolist()

    def held() -> str:
        found = isthmus.load(folder).transform(table()).tolist()
        return next(name for name, value in codes.items() if value == found)

    outcomes, change, code = [], 0, -1
    while code:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(old, folder)
        code = stopped_before(change, how, ["fit", "vae", str(rows), "-o", str(folder), "--force", *other])
        assert code in (0, 9 if how == "kill" else 130)
        before = held()
        assert main(["fit", "--resume", str(folder)]) == 0
        outcomes.append((before, held()))
        assert contents(folder).keys() <= contents(old).keys() | contents(new).keys()
        change += stride
    before, after = zip(*outcomes)
    assert list(before) == sorted(before, reverse=True)  # "old" up to a point, then "new"
    assert before.count("old") >= 10 / stride
    assert before.count("new") >= 10 / stride
    assert list(after) == sorted(after, reverse=True)
    assert after.count("old") <= 2  # before the configuration of the new one was there


def test_training_that_fails_keeps_the_model_from_before(capsys, rows, tmp_path, monkeypatch):
    folder = tmp_path / "r"
    assert run(capsys, "fit", "vae", rows, "-o", folder, *FAST)[0] == 0
    before = contents(folder)

    def broken(self, keep=None, show=None):
        raise isthmus.TrainingError("training stopped at step 7.")

    with monkeypatch.context() as patched:
        patched.setattr(TrainingJob, "train", broken)
        code, _, err = run(capsys, "fit", "vae", rows, "-o", folder, "--force", *FAST)
    assert (code, err) == (2, f"isthmus: training stopped at step 7. {folder} still holds the model from before.\n")
    assert {name: data for name, data in contents(folder).items() if name in before} == before
    assert isthmus.load(folder).transform(table()).shape == (90, 2)
    code, _, err = run(capsys, "fit", "--resume", folder)
    assert (code, err.count("\n")) == (2, 1)
    assert "Start over with other fields" in err
    assert run(capsys, "fit", "ae", rows, "-o", folder, "--force", *FAST)[0] == 0
    assert type(isthmus.load(folder)) is isthmus.Autoencoder
    assert not (folder / REPLACEMENT).exists()


def test_a_model_that_is_saved_takes_the_place_of_a_replacement(rows, capsys, tmp_path, monkeypatch):
    folder = tmp_path / "r"
    assert run(capsys, "fit", "vae", rows, "-o", folder, *FAST)[0] == 0

    def stopped(self, keep=None, show=None):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(TrainingJob, "train", stopped)
        assert run(capsys, "fit", "vae", rows, "-o", folder, "--force", *FAST)[0] == 130
    assert (folder / REPLACEMENT / "config.json").exists()
    other = small("Autoencoder", epochs=1).fit(table())
    for model in (other, isthmus.load(folder)):
        before = contents(folder)
        with pytest.raises(isthmus.InputError, match=r"r holds a run of `isthmus fit`.* pass force=True to replace it"):
            model.save(folder)
        assert contents(folder) == before
    other.save(folder, force=True)
    assert not (folder / REPLACEMENT).exists()
    assert "nothing to resume" in run(capsys, "fit", "--resume", folder)[1]


@pytest.mark.parametrize("name", ["checkpoint", REPLACEMENT])
def test_nothing_is_removed_or_written_through_a_link(capsys, rows, tmp_path, name):
    folder, other = tmp_path / "r", tmp_path / "other"
    assert run(capsys, "fit", "vae", rows, "-o", folder, *FAST)[0] == 0
    other.mkdir()
    for file in ("state.safetensors", "config.json", ".part-x.safetensors"):
        (other / file).write_text("MINE")
    (folder / name).symlink_to(other)
    before = contents(other)
    for words in (["fit", "vae", rows, "-o", folder, "--force", *FAST], ["fit", "--resume", folder]):
        code, _, err = run(capsys, *words)
        assert (code == 0) == ("nothing to resume" in _)
        assert code == 0 or (err.count("\n") == 1 and "got a link" in err)
    with pytest.raises(isthmus.InputError, match="got a link"):
        small("VAE", epochs=1).fit(table()).save(folder, force=True)
    assert contents(other) == before


def test_links_in_the_place_of_files_are_replaced_and_not_followed(tmp_path):
    (tmp_path / "mine").write_text("MINE")
    model = small("VAE", epochs=1).fit(table())
    model.save(tmp_path / "r")
    for name in ("report.html", "samples.png", "history.jsonl"):
        (tmp_path / "r" / name).unlink(missing_ok=True)
        (tmp_path / "r" / name).symlink_to(tmp_path / "mine")
    model.save(tmp_path / "r", force=True)
    assert (tmp_path / "mine").read_text() == "MINE"
    assert isthmus.load(tmp_path / "r").history_ == model.history_


# ------------------------------------------------------------------ output files


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    small("VAE", epochs=1).fit(table()).save(folder / "r")
    return folder / "r"


COMMANDS = {
    "encode": lambda trained, rows, codes: ["encode", trained, rows],
    "reconstruct": lambda trained, rows, codes: ["reconstruct", trained, rows],
    "decode": lambda trained, rows, codes: ["decode", trained, codes],
    "sample": lambda trained, rows, codes: ["sample", trained, "-n", "3"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_file_that_exists_is_replaced_only_with_force(capsys, trained, rows, tmp_path, command):
    np.save(tmp_path / "z.npy", np.zeros((4, 3)))
    words = COMMANDS[command](trained, rows, tmp_path / "z.npy")
    out = tmp_path / "out.csv"
    assert run(capsys, *words, "-o", out)[0] == 0
    out.write_text("MINE")
    code, _, err = run(capsys, *words, "-o", out)
    assert (code, err) == (
        2,
        f"isthmus: {out} exists already. Pass --force to replace it, or another file with -o.\n",
    )
    assert out.read_text() == "MINE"
    assert run(capsys, *words, "-o", out, "--force")[0] == 0
    assert len(pd.read_csv(out)) in (3, 4, 90)
    (tmp_path / "link.csv").symlink_to(out)
    before = out.read_bytes()
    assert run(capsys, *words, "-o", tmp_path / "link.csv")[0] == 2
    assert run(capsys, *words, "-o", tmp_path / "link.csv", "--force")[0] == 0
    assert out.read_bytes() == before  # the link was replaced, and not followed
    assert run(capsys, *words, "-o", tmp_path, "--force")[0] == 2


@pytest.mark.parametrize("command", ["encode", "reconstruct", "decode"])
@pytest.mark.parametrize("way", ["itself", "another path", "hard link", "link"])
def test_what_is_read_is_never_written(capsys, trained, rows, tmp_path, command, way):
    codes = tmp_path / "z.npy"
    np.save(codes, np.zeros((4, 3)))
    source = codes if command == "decode" else rows
    before = source.read_bytes()
    out = source
    if way == "another path":
        out = tmp_path / "sub" / ".." / source.name
        (tmp_path / "sub").mkdir()
    elif way == "hard link":
        out = tmp_path / "same.npy"
        os.link(source, out)
    elif way == "link":
        out = tmp_path / "same.npy"
        out.symlink_to(source)
    for force in ([], ["--force"]):
        code, _, err = run(capsys, *COMMANDS[command](trained, rows, codes), "-o", out, *force)
        assert (code, err.count("\n")) == (2, 1)
        assert "the output must not be the file that is read" in err
    assert source.read_bytes() == before


def test_a_page_replaces_pages_only(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("<html>MINE</html>")
    with pytest.raises(isthmus.InputError, match="is not a report of isthmus and would be lost"):
        write_page("", path)
    assert path.read_text() == "<html>MINE</html>"
    path.write_text(f"<html>{GENERATOR.decode()}old</html>")
    write_page("new", path)
    assert path.read_text() == "new"
