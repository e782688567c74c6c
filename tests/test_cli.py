"""The command line, from the outside."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

import isthmus
from isthmus import cli
from isthmus.cli.main import COMMANDS, main, stopped_as_by_ctrl_c
from models import bits, images, table, without_page, without_slow_measures

FAST = ["--epochs", "3", "--hidden", "16", "--latent-dim", "2", "--random-state", "0", "--threads", "1"]


def run(capsys, *argv: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command in this process."""
    code = main([str(word) for word in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "digits"
    with pytest.MonkeyPatch.context() as patch:
        without_slow_measures(patch)
        assert main(["fit", "vae", "digits", "-o", str(folder), *FAST]) == 0
    return folder


@pytest.fixture(autouse=True)
def _quick(request, monkeypatch):
    if "trained" in request.fixturenames:
        request.getfixturevalue("trained")  # with its page, before there are none
    without_slow_measures(monkeypatch)
    without_page(monkeypatch)


HELP = [["--help"], ["fit", "vae", "--help"], ["compare", "--help"], ["evaluate", "--help"]]


@pytest.mark.parametrize("argv", [*HELP, ["--version"], ["fti"], ["fit", "--help"], ["encode", "--help"], ["models"]])
def test_help_imports_neither_torch_nor_numpy(argv):
    code = (
        "import sys; from isthmus.cli.main import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "code", ["import isthmus", *(f"from isthmus.cli.main import main; main({argv})" for argv in HELP)]
)
def test_startup_takes_under_a_fifth_of_a_second(code):
    """CPU time of the fastest of several processes, which other processes disturb the least."""
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.2


def test_a_command_is_one_entry_and_one_file():
    shared = {"__init__", "main", "parser", "common", "flags", "config_file", "image_arguments", "completion"}
    assert {path.stem for path in Path(cli.__file__).parent.glob("*.py")} - shared == set(COMMANDS)


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, isthmus; sys.exit(bool({'torch', 'numpy', 'sklearn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_command_has_help(capsys):
    for command in COMMANDS:
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"])
        assert stopped.value.code == 0
        assert "--json" in capsys.readouterr().out
    code, out, _ = run(capsys)
    assert code == 0
    assert all(command in out for command in COMMANDS)


def test_fields_are_options_with_their_docstrings_as_help(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "vae", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    for flag in ("--latent-dim", "--learning-rate", "--random-state", "--device", "--beta", "--batch-size"):
        assert flag in out
    assert "Weight of the KL term" in out
    assert "--encoder" not in out


def test_files_of_a_run(trained):
    present = {path.name for path in trained.iterdir()}
    assert {"config.json", "model.safetensors", "history.jsonl"} <= present
    assert {"reconstructions.png", "samples.png", "latent.png", "curves.png"} <= present
    config = json.loads((trained / "config.json").read_text())
    assert config["class"] == "VAE"
    assert config["fields"]["latent_dim"] == 2
    assert config["schema"]["columns"][0]["levels"] == 17  # digits are pixels of 17 levels, not counts
    assert config["finished"]
    history = [json.loads(line) for line in (trained / "history.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in history] == [1, 2, 3]
    assert {"loss", "nll", "kl", "valid_loss"} <= set(history[0])
    assert not list(trained.rglob(".part-*"))


def test_fit_prints_a_summary_in_nats(capsys, tmp_path):
    code, out, _ = run(capsys, "fit", "vae", "digits", "-o", tmp_path / "r", *FAST)
    assert code == 0
    assert "180 validation rows" in out
    assert "nats" in out
    assert "dequantised" in out
    assert "of 2 latent dimensions are in use" in out


def test_fit_as_json(capsys, tmp_path):
    code, out, _ = run(capsys, "fit", "ppca", "wine", "-o", tmp_path / "r", "--json", "--latent-dim", "2")
    facts = json.loads(out)
    assert code == 0
    assert facts["log_likelihood"]["kind"] == "density"
    # The model is probabilistic PCA itself, so that it cannot differ from the baseline.
    assert facts["log_likelihood"]["mean"] == pytest.approx(facts["baselines"]["ppca"]["mean"], abs=1e-6)


def test_an_existing_run_is_not_replaced_without_force(capsys, trained):
    before = (trained / "model.safetensors").read_bytes()
    code, _, err = run(capsys, "fit", "vae", "digits", "-o", trained, *FAST)
    assert (code, err.count("\n")) == (2, 1)
    assert "--force" in err
    assert (trained / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("suffix", ["npz", "npy", "csv", "parquet"])
def test_encode_and_decode(capsys, trained, tmp_path, suffix):
    codes, back = tmp_path / f"codes.{suffix}", tmp_path / "back.npz"
    code, out, _ = run(capsys, "encode", trained, "digits", "-o", codes, "--json")
    assert code == 0
    assert json.loads(out)["shape"] == [1797, 2]
    assert run(capsys, "decode", trained, codes, "-o", back)[0] == 0
    again = tmp_path / "again.npz"
    assert run(capsys, "reconstruct", trained, "digits", "-o", again)[0] == 0
    with np.load(back) as a, np.load(again) as b:
        assert a["x"].shape == (1797, 8, 8)
        np.testing.assert_allclose(a["x"], b["x"], rtol=1e-3, atol=1e-3)  # csv keeps fewer digits


@pytest.mark.parametrize("suffix", ["npz", "csv", "png"])
def test_samples(capsys, trained, tmp_path, suffix):
    path = tmp_path / f"new.{suffix}"
    assert run(capsys, "sample", trained, "-n", "9", "-o", path, "--random-state", "1")[0] == 0
    again = tmp_path / f"again.{suffix}"
    assert run(capsys, "sample", trained, "-n", "9", "-o", again, "--random-state", "1")[0] == 0
    if suffix == "npz":  # a zip holds the time beside the numbers
        with np.load(path) as file, np.load(again) as second:
            assert file["x"].shape == (9, 8, 8)
            assert file["x"].dtype == np.uint8
            assert file["x"].max() <= 16
            np.testing.assert_array_equal(file["x"], second["x"])
        return
    if suffix == "csv":
        assert pd.read_csv(path).shape == (9, 64)
    assert path.read_bytes() == again.read_bytes()


def test_a_condition_from_a_column(capsys, tmp_path):
    frame = pd.DataFrame(table(), columns=list("abcde"))
    frame["kind"] = np.where(frame.a > frame.a.median(), "high", "low")
    frame.to_csv(tmp_path / "t.csv", index=False)
    run_folder = tmp_path / "r"
    argv = ["fit", "conditionalvae", tmp_path / "t.csv", "-o", run_folder, "--condition", "kind", *FAST]
    assert run(capsys, *argv)[0] == 0
    sampled = tmp_path / "s.csv"
    assert run(capsys, "sample", run_folder, "-n", "5", "-o", sampled, "--condition", "high")[0] == 0
    assert list(pd.read_csv(sampled).columns) == [*"abcde", "kind"]
    code, _, err = run(capsys, "sample", run_folder, "-n", "5", "-o", sampled, "--force", "--condition", "hihg")
    assert code == 2
    assert "high" in err
    code, _, err = run(capsys, "sample", run_folder, "-n", "5", "-o", sampled, "--force")
    assert code == 2
    assert "condition" in err
    codes = tmp_path / "z.npz"
    assert run(capsys, "encode", run_folder, tmp_path / "t.csv", "-o", codes, "--condition", "kind")[0] == 0
    assert run(capsys, "decode", run_folder, codes, "-o", tmp_path / "x.csv")[0] == 0


def test_check_shows_the_default_likelihood(capsys, tmp_path):
    code, out, _ = run(capsys, "check", "digits", "--json")
    facts = json.loads(out)
    assert code == 0
    assert "discretized_logistic" in json.dumps(facts)
    bad = table()
    bad[3, 1] = np.nan
    np.save(tmp_path / "bad.npy", bad)
    code, out, _ = run(capsys, "check", tmp_path / "bad.npy")
    assert code == 3
    assert "NaN" in out


def launch(*argv: str, **kwargs) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "isthmus", *map(str, argv)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs
    )


def wait_for(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


LONG = [
    "--hidden",
    "16",
    "--latent-dim",
    "2",
    "--prior",
    "normal",
    "--random-state",
    "0",
    "--threads",
    "1",
    "--epochs",
    "60",
]


OFTEN = """
import sys
from isthmus.train import checkpoint
checkpoint.CHECKPOINT_INTERVAL_SECONDS = 0.0
from isthmus.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""The program with a checkpoint after every update: a kill is likely to come while one is written."""


@pytest.mark.parametrize("lines", [pytest.param(0, marks=pytest.mark.grid), 10])
def test_a_killed_run_ends_with_the_same_weights(tmp_path, lines):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main(["fit", "vae", "wine", "-o", str(whole), *LONG]) == 0
    argv = ["fit", "vae", "wine", "-o", str(broken), *LONG]
    process = subprocess.Popen([sys.executable, "-c", OFTEN, *argv], stderr=subprocess.DEVNULL)
    history = broken / "history.jsonl"
    # Killed right after the configuration is there, and in the middle.
    wait_for(
        lambda: (
            (broken / "config.json").exists()
            if not lines
            else history.exists() and history.read_text().count("\n") > lines
        )
    )
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert (broken / "checkpoint" / "state.safetensors").exists() or not lines
    assert not (broken / "model.safetensors").exists()
    assert main(["fit", "--resume", str(broken)]) == 0
    a, b = load_file(whole / "model.safetensors"), load_file(broken / "model.safetensors")
    assert a.keys() == b.keys()
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert (whole / "history.jsonl").read_text().count("\n") == history.read_text().count("\n")
    assert not [*broken.rglob(".part-*")]


def test_ctrl_c_saves_a_checkpoint_and_prints_how_to_resume(tmp_path, monkeypatch):
    without_page(monkeypatch)
    folder = tmp_path / "r"
    process = launch("fit", "vae", "digits", "-o", folder, *LONG, "--patience", "100000")
    history = folder / "history.jsonl"
    wait_for(lambda: history.exists() and history.read_text().count("\n") > 5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"isthmus fit --resume {folder}" in err.decode()
    assert (folder / "checkpoint" / "state.safetensors").exists()
    with pytest.warns(UserWarning, match="best weights of a training that was stopped.*--resume"):
        stopped = isthmus.load(folder)
    assert np.isfinite(stopped.sample(3)).all()
    stopped.save(tmp_path / "copy")
    assert isthmus.load(tmp_path / "copy").settings_["interrupted"]
    assert main(["encode", str(folder), "digits", "-o", str(tmp_path / "codes.npy")]) == 0
    assert main(["fit", "--resume", str(folder)]) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        isthmus.load(folder)
    whole = tmp_path / "whole"
    assert main(["fit", "vae", "digits", "-o", str(whole), *LONG, "--patience", "100000"]) == 0
    a, b = load_file(whole / "model.safetensors"), load_file(folder / "model.safetensors")
    assert all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGHUP, 129, marks=pytest.mark.grid)]
)
def test_a_scheduler_or_a_closed_terminal_stops_as_ctrl_c_does(tmp_path, sent, code):
    folder = tmp_path / "r"
    process = launch("fit", "vae", "digits", "-o", folder, *LONG, "--patience", "100000")
    history = folder / "history.jsonl"
    wait_for(lambda: history.exists() and history.read_text().count("\n") > 2)
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"isthmus fit --resume {folder}" in err.decode()
    assert (folder / "checkpoint" / "state.safetensors").exists()


def test_signals_that_are_ignored_stay_ignored_and_all_handlers_come_back():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stopped_as_by_ctrl_c() as came:
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        assert came == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before[signal.SIGHUP])
    assert before == {number: signal.getsignal(number) for number in before}


def test_resuming_a_finished_run_does_nothing(capsys, trained):
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    code, out, _ = run(capsys, "fit", "--resume", trained)
    assert code == 0
    assert "nothing to resume" in out
    assert before == {path: path.stat().st_mtime_ns for path in trained.rglob("*")}


def test_resuming_with_other_data_is_refused(capsys, tmp_path):
    np.save(tmp_path / "x.npy", table())
    folder = tmp_path / "r"
    assert run(capsys, "fit", "vae", tmp_path / "x.npy", "-o", folder, *FAST)[0] == 0
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"finished": False}))
    np.save(tmp_path / "x.npy", table(seed=1))
    code, _, err = run(capsys, "fit", "--resume", folder)
    assert code == 2
    assert "has changed since" in err


@pytest.mark.parametrize("data", ["images", "bits"])
def test_fit_on_files_of_arrays(capsys, tmp_path, data):
    x = images() if data == "images" else bits()
    np.savez(tmp_path / "d.npz", x_train=x[:60], x_test=x[60:], y_train=np.arange(60) % 3, y_test=np.arange(30) % 3)
    code, out, _ = run(capsys, "fit", "vae", tmp_path / "d.npz", "-o", tmp_path / "r", *FAST)
    assert code == 0
    assert "30 test rows" in out


def test_options_may_come_before_the_model(capsys, tmp_path):
    assert run(capsys, "fit", "--json", "-o", tmp_path / "r", *FAST, "vae", "wine")[0] == 0
    assert json.loads((tmp_path / "r" / "config.json").read_text())["fields"]["latent_dim"] == 2


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--latent-dim", "8", "vea", "digits", "-o", "r"], "MODEL must be given before"),
        (["vae", "--resume", "r"], "Use only: isthmus fit --resume r"),
        (["--resume", "r", "--epochs", "5"], "Use only: isthmus fit --resume r"),
        (["vae", "digits", "-o", "r", "--prior", "conditional"], "conditionalvae"),
    ],
)
def test_arguments_of_fit_that_exclude_each_other(capsys, tmp_path, monkeypatch, argv, says):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "fit", *argv)
    assert (code, err.count("\n")) == (2, 1)
    assert says in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["npz", "npy", "csv", "parquet", "png"])
def test_zero_samples(capsys, trained, tmp_path, suffix):
    path = tmp_path / f"none.{suffix}"
    code, _, err = run(capsys, "sample", trained, "-n", "0", "-o", path)
    assert code == (2 if suffix == "png" else 0)
    assert err == (
        ""
        if code == 0
        else "isthmus: a .png must show at least one example, got none. Use .npz or .csv for empty results.\n"
    )
    assert path.exists() == (code == 0)
    if suffix == "csv":
        assert pd.read_csv(path).shape == (0, 64)


def test_a_table_with_other_columns_is_a_one_line_error(capsys, tmp_path):
    pd.DataFrame(table(), columns=list("abcde")).to_csv(tmp_path / "named.csv", index=False)
    np.save(tmp_path / "bare.npy", table(d=4))
    np.save(tmp_path / "x.npy", table())
    pd.DataFrame(table(), columns=list("abcdf")).to_csv(tmp_path / "other.csv", index=False)
    for trained_on, used in (("named.csv", "bare.npy"), ("named.csv", "other.csv"), ("x.npy", "four.csv")):
        pd.DataFrame(table(d=4), columns=list("abcd")).to_csv(tmp_path / "four.csv", index=False)
        folder = tmp_path / f"{trained_on}-run"
        assert run(capsys, "fit", "vae", tmp_path / trained_on, "-o", folder, "--force", *FAST)[0] == 0
        code, _, err = run(capsys, "encode", folder, tmp_path / used, "-o", tmp_path / "z.npy")
        assert (code, err.count("\n")) == (2, 1)
