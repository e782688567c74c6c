"""Habits of the command line: scores, quiet and verbose, settings in a file, completion, names from elsewhere."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import isthmus
from isthmus.cli import fit
from isthmus.cli.main import COMMANDS, main
from isthmus.comparison.specs import read_field
from isthmus.model_registry import models
from isthmus.synonyms import SYNONYMS
from isthmus.train.progress import ProgressBar
from models import small, table, without_page, without_slow_measures

FAST = ["--epochs", "2", "--hidden", "16", "--latent-dim", "2", "--prior", "normal", "--threads", "1"]
FAST += ["--random-state", "0"]


def run(capsys, *argv) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command in this process."""
    code = main([str(word) for word in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    without_slow_measures(monkeypatch)
    without_page(monkeypatch)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A model of a table with named columns, one without a density, and the table."""
    folder = tmp_path_factory.mktemp("saved")
    frame = pd.DataFrame(table(), columns=list("abcde"))
    frame.to_csv(folder / "t.csv", index=False)
    for name in ("VAE", "Autoencoder"):
        small(name, epochs=1).fit(frame).save(folder / name)
    return folder


# ------------------------------------------------------------------ score


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz"])
def test_scores_are_those_of_the_model_in_the_order_of_the_file(capsys, saved, suffix):
    code, out, _ = run(capsys, "score", saved / "VAE", saved / "t.csv", "-o", f"s.{suffix}", "--per-feature")
    assert code == 0
    model, x = isthmus.load(saved / "VAE"), table()
    scores, elements = model.score_samples(x), model.score_samples(x, per_feature=True)
    close = {"rtol": 1e-5, "atol": 1e-5}
    if suffix == "npz":
        with np.load("s.npz") as file:
            np.testing.assert_allclose(file["log_likelihood"], scores, **close)
            np.testing.assert_allclose(file["distortion"], elements, **close)
            np.testing.assert_array_equal(file["row"], np.arange(90))
    else:
        frame = pd.read_csv("s.csv") if suffix == "csv" else pd.read_parquet("s.parquet")
        assert list(frame) == ["row", "log_likelihood", "error", *(f"distortion_{name}" for name in "abcde")]
        np.testing.assert_allclose(frame["log_likelihood"], scores, **close)
        np.testing.assert_allclose(frame.iloc[:, 3:], elements, **close)
    lowest = np.argsort(scores)[:5]
    above = elements[lowest[0]] - elements.mean(0)
    printed = [line.split() for line in out.splitlines()[3:]]
    assert [int(line[0]) for line in printed] == lowest.tolist()
    assert printed[0][2] == "abcde"[above.argmax()]


def test_scores_under_a_mixture_say_that_it_may_hold_unusual_rows(capsys, tmp_path, saved):
    small("VAE", prior="mixture(2)", epochs=1).fit(isthmus.read(saved / "t.csv").train.x).save(tmp_path / "mixed")
    for name, said in (("VAE", False), ("mixed", True)):
        folder = (saved if name == "VAE" else tmp_path) / name
        code, out, _ = run(capsys, "score", folder, saved / "t.csv", "-o", f"{name}.csv", "--draws", "5")
        assert (code, "fit with --prior normal" in out) == (0, said)


def test_scores_as_json(capsys, saved):
    code, out, _ = run(capsys, "score", saved / "VAE", saved / "t.csv", "-o", "s.csv", "--json", "--draws", "10")
    facts = json.loads(out)
    assert code == 0
    assert facts["rows"] == 90
    frame = pd.read_csv("s.csv")
    assert list(frame) == ["row", "log_likelihood", "error"]
    assert facts["unusual"][0]["row"] == frame["log_likelihood"].argmin()
    assert facts["log_likelihood"]["mean"] == pytest.approx(frame["log_likelihood"].mean())


def test_rows_of_a_model_without_a_density_are_scored_by_their_error(capsys, saved):
    assert run(capsys, "score", saved / "Autoencoder", saved / "t.csv", "-o", "s.csv")[0] == 0
    errors = isthmus.load(saved / "Autoencoder").fitted_.squared_errors(table())
    np.testing.assert_allclose(pd.read_csv("s.csv")["squared_error"], errors, rtol=1e-5)
    code, _, err = run(capsys, "score", saved / "Autoencoder", saved / "t.csv", "-o", "s2.csv", "--per-feature")
    assert (code, err.count("\n")) == (2, 1)
    assert "no density" in err


def test_a_file_that_cannot_hold_scores_is_refused_before_the_work(capsys, saved):
    code, _, err = run(capsys, "score", "no-run", saved / "t.csv", "-o", "s.png")
    assert (code, err) == (2, "isthmus: the output file must end in one of .csv, .parquet, .npz, got 's.png'.\n")


# ------------------------------------------------------------------ draws


def test_draws_of_codes(capsys, saved):
    argv = ("encode", saved / "VAE", saved / "t.csv", "--draws", "3", "--random-state", "1")
    for name in ("z.npz", "z.csv"):
        code, out, _ = run(capsys, *argv, "-o", name, "--json")
        assert code == 0
        assert json.loads(out)["rows"] == 90
    z = isthmus.load(saved / "VAE").transform(table(), draws=3, random_state=1)
    with np.load("z.npz") as file:
        np.testing.assert_allclose(file["z"], z, rtol=1e-6)
    frame = pd.read_csv("z.csv")
    np.testing.assert_allclose(frame[frame.draw == 2].sort_values("row").iloc[:, :3], z[2], rtol=1e-5)
    code, _, err = run(capsys, "encode", saved / "Autoencoder", saved / "t.csv", "--draws", "3", "-o", "z.npz")
    assert (code, err.count("\n")) == (2, 1)


# ------------------------------------------------------------------ quiet, verbose, runs without a name


def test_a_run_without_a_folder_takes_the_next_number(capsys):
    code, _, err = run(capsys, "fit", "vae", "wine", *FAST)
    assert code == 0
    assert "the run is in runs/vae-wine-1" in err
    (Path("runs") / "vae-wine-7").mkdir()
    code, out, err = run(capsys, "fit", "vae", "wine", *FAST, "--quiet")
    assert (code, out) == (0, "runs/vae-wine-8\n")
    assert all(line.startswith("isthmus: warning: ") for line in err.splitlines())
    assert run(capsys, "evaluate", "runs/vae-wine-8", "--draws", "2")[0] == 0
    np.save("my data (1).npy", table())
    assert run(capsys, "fit", "ppca", "my data (1).npy", "-q")[1] == "runs/probabilisticpca-my_data_1_-1\n"


def test_a_run_that_cannot_start_leaves_no_folder(capsys):
    np.save("x.npy", np.full((4, 3), np.nan))
    assert run(capsys, "fit", "vae", "x.npy", *FAST)[0] == 2
    assert not list(Path("runs").iterdir())
    assert run(capsys, "fit", "vae", "missing.npy", *FAST)[0] == 2
    assert not list(Path("runs").iterdir())


@pytest.mark.parametrize("command", ["encode", "reconstruct", "score"])
def test_quiet_commands_that_write_a_file_say_nothing(capsys, saved, command):
    argv = (command, saved / "VAE", saved / "t.csv", "-o", "out.csv", "--force")
    assert run(capsys, *argv, "-q") == (0, "", "")
    assert run(capsys, *argv)[1].startswith("wrote ")
    assert json.loads(run(capsys, *argv, "-q", "--json")[1])["rows"] == 90


def test_quiet_does_not_hide_results_or_errors(capsys, saved):
    assert "log p(x)" in run(capsys, "evaluate", saved / "VAE", saved / "t.csv", "-q", "--draws", "2")[1]
    assert run(capsys, "evaluate", "no-run", "-q")[2].count("\n") == 1


def test_verbose_shows_steps_and_the_traceback_of_an_internal_error(capsys, monkeypatch):
    assert "reading wine\n" in run(capsys, "fit", "ppca", "wine", "-v")[2]
    assert "reading" not in run(capsys, "fit", "ppca", "wine")[2]
    monkeypatch.setattr("isthmus.cli.models.models", lambda: 1 / 0)
    code, _, err = run(capsys, "models")
    assert (code, err.count("\n")) == (1, 1)
    assert "--verbose" in err
    assert "Traceback" in run(capsys, "models", "-v")[2]


def test_no_color_is_respected(monkeypatch):
    for value, colored in ((None, True), ("1", False)):
        monkeypatch.delenv("NO_COLOR", raising=False)
        if value:
            monkeypatch.setenv("NO_COLOR", value)
        file = io.StringIO()
        with ProgressBar("scoring", Console(file=file, force_terminal=True, color_system="standard")) as bar:
            bar.show(0.5)
        assert ("\x1b[3" in file.getvalue()) == colored


# ------------------------------------------------------------------ errors as JSON, help


@pytest.mark.parametrize(
    ("argv", "kind"),
    [
        (["evaluate", "no-run", "--json"], "InputError"),
        (["fit", "vea", "digits", "--json"], "InputError"),
        (["encode", "--json"], "InputError"),
        (["fti", "--json"], "InputError"),
    ],
)
def test_an_error_with_json_is_an_object_on_stdout_and_a_line_on_stderr(capsys, argv, kind):
    code, out, err = run(capsys, *argv)
    error = json.loads(out)["error"]
    assert (code, error["type"], error["exit_code"]) == (2, kind, 2)
    assert err == f"isthmus: {error['message']}\n"
    assert run(capsys, *[word for word in argv if word != "--json"]) == (2, "", err)


def test_an_internal_error_and_an_interrupt_as_json(capsys, monkeypatch):
    for error, code in ((ZeroDivisionError, 1), (KeyboardInterrupt, 130)):

        def fails(error=error):
            raise error

        monkeypatch.setattr("isthmus.cli.models.models", fails)
        got, out, _ = run(capsys, "models", "--json")
        assert (got, json.loads(out)["error"]["type"]) == (code, error.__name__)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(capsys, command):
    helps = []
    for argv in (["help", command], [command, "--help"]):
        with pytest.raises(SystemExit) as stopped:
            main(argv)
        assert stopped.value.code == 0
        helps.append(capsys.readouterr().out)
    assert helps[0] == helps[1]
    assert "--quiet" in helps[0]


def test_help_of_what_does_not_exist(capsys):
    code, _, err = run(capsys, "help", "fti")
    assert code == 2
    assert "Did you mean 'fit'?" in err
    with pytest.raises(SystemExit):
        main(["help", "fit", "vae"])
    assert "--beta" in capsys.readouterr().out


# ------------------------------------------------------------------ settings in a file

SETTINGS = {"model": "vae", "data": "wine", "output": "r", "epochs": 2, "hidden": [16, 8], "learning-rate": 1e-2}


def write_settings(suffix: str, settings: dict) -> str:
    name = f"s.{suffix}"
    sign = " = " if suffix == "toml" else ": "
    Path(name).write_text("".join(f"{key}{sign}{json.dumps(value)}\n" for key, value in settings.items()))
    return name


@pytest.mark.parametrize("suffix", ["toml", "yaml", "yml"])
def test_settings_of_a_file_are_those_of_the_options(suffix):
    rest = {"binarize": False, "latent_dim": "auto", "threads": 1, "quiet": True, "force": False, "levels": None}
    settings = SETTINGS | (rest if suffix != "toml" else {key: rest[key] for key in rest if key != "levels"})
    from_file = ["--config", write_settings(suffix, settings)]
    typed = ["vae", "wine", "-o", "r", "--epochs", "2", "--hidden", "16,8", "--learning-rate", "1e-2", "--threads", "1"]
    typed += ["--binarize", "false", "--latent-dim", "auto", "-q", *(["--levels", "none"] if suffix != "toml" else [])]
    one, two = (vars(fit.build_parser(argv).parse_args(argv)) for argv in (from_file, typed))
    assert one.pop("config") == from_file[1]
    assert two.pop("config") is None
    assert one == two


def test_the_command_line_wins_over_the_file(capsys):
    name = write_settings("toml", SETTINGS | {"threads": 1})
    argv = ("autoencoder", "iris", f"--config={name}", "--epochs", "1", "-o", "other", "--hidden", "4", "-q")
    assert run(capsys, "fit", *argv)[0] == 0
    config = json.loads(Path("other/config.json").read_text())
    assert (config["class"], config["source"]["data"]) == ("Autoencoder", "iris")
    assert (config["fields"]["epochs"], config["fields"]["hidden"]) == (1, [4])
    assert config["fields"]["learning_rate"] == 1e-2
    assert run(capsys, "fit", "ppca", "--config", write_settings("toml", {"data": "wine", "output": "p"}), "-q")[0] == 0


def test_every_command_takes_settings(capsys, saved):
    name = write_settings("toml", {"draws": 2, "output": "s.csv", "per_feature": True, "run": str(saved / "VAE")})
    with open(name, "a") as file:
        file.write(f"data = {json.dumps(str(saved / 't.csv'))}\n")
    assert run(capsys, "score", "--config", name, "-q") == (0, "", "")
    assert len(pd.read_csv("s.csv").columns) == 8
    name = write_settings("toml", {"set": ["epochs=1", "hidden=8"], "seeds": 2, "models": ["ae"], "output": "c"})
    assert run(capsys, "compare", "wine", "--config", name, "-q", "--draws", 2)[0] == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epoch = 3", "Did you mean 'epochs'?"),
        ("lr = 3", "Did you mean 'learning_rate'?"),
        ("epochs = 'many'", "epochs must be an integer >= 1 or 'auto', got 'many'."),
        ("epochs = ", "cannot read s.toml"),
        ("force = 3", "force in s.toml must be true or false, got 3."),
        ("hidden = [[1], [2]]", "hidden in s.toml must be"),
        ("[hidden]\na = 3", "hidden in s.toml must be"),
        ("help = true", "name in s.toml must be one of"),
        ("config = 'x.toml'", "name in s.toml must be one of"),
    ],
)
def test_settings_that_cannot_be_used(capsys, text, says):
    Path("s.toml").write_text(text)
    code, _, err = run(capsys, "fit", "vae", "wine", "--config", "s.toml")
    assert (code, err.count("\n")) == (2, 1)
    assert says in err


@pytest.mark.parametrize("name", ["missing.toml", "s.json", "folder.toml", "", "text.yaml", "bad.yaml"])
def test_files_that_are_no_settings(capsys, name):
    Path("folder.toml").mkdir()
    Path("text.yaml").write_text("epochs")
    Path("bad.yaml").write_text("a: [")
    code, _, err = run(capsys, "fit", "vae", "wine", "--config", name)
    assert (code, err.count("\n")) == (2, 1)


def test_yaml_without_its_library(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    code, _, err = run(capsys, "fit", "vae", "wine", "--config", write_settings("yaml", {"epochs": 1}))
    assert code == 2
    assert "pip install pyyaml" in err


def test_resuming_takes_no_settings(capsys):
    code, _, err = run(capsys, "fit", "--resume", "r", "--config", "s.toml")
    assert code == 2
    assert "Use only: isthmus fit --resume r" in err


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"resume": "g", "data": "wine"}, "--resume takes no other arguments, got 'data'"),
        ({"continue": "g", "data": "wine", "model": "ppca"}, "--continue must come without a model, got 'ppca'"),
        ({"latent_dim": 2, "latent-dim": 3}, "must be given once, got 'latent_dim' and 'latent-dim'"),
        ({"o": "a", "output": "b"}, "must be given once, got 'o' and 'output'"),
    ],
)
def test_settings_that_exclude_one_another(capsys, settings, says):
    line = ["fit", *(["vae", "wine"] if "latent_dim" in settings or "o" in settings else [])]
    for suffix in ("toml", "yaml"):
        code, _, err = run(capsys, *line, "--config", write_settings(suffix, settings))
        assert (code, err.count("\n")) == (2, 1)
        assert says in err


def test_a_name_twice_in_yaml(capsys):
    Path("s.yaml").write_text("epochs: 1\nepochs: 2\n")
    code, _, err = run(capsys, "fit", "vae", "wine", "--config", "s.yaml")
    assert (code, err) == (2, "isthmus: each name in the file must be given once, got 'epochs' twice. Leave one out.\n")


def test_a_file_resumes_and_continues_as_if_typed(capsys):
    assert run(capsys, "fit", "ae", "iris", "-o", "g", "-q", *FAST[:4])[0] == 0
    code, out, _ = run(capsys, "fit", "--config", write_settings("toml", {"resume": "g", "quiet": True}))
    assert (code, out) == (0, "g\n")
    settings = {"continue": "g", "epochs": 1, "output": "h", "quiet": True}
    assert run(capsys, "fit", "--config", write_settings("yaml", settings), "-o", "i")[0] == 0
    assert len(isthmus.load("i").history_) == 1
    assert not Path("h").exists()


def test_a_list_on_the_command_line_takes_the_place_of_one_in_the_file(capsys, saved):
    name = write_settings("toml", {"drop": ["a", "b"]})
    for typed, columns in (([], 3), (["--drop", "a"], 4), (["--drop=c", "--drop=d"], 3)):
        code, out, _ = run(capsys, "check", saved / "t.csv", "--config", name, "--json", *typed)
        assert (code, json.loads(out)["shape"]) == (0, [columns])


@pytest.mark.parametrize("names", ["normal,normal,poisson,categorical(3)", " normal, normal,poisson , categorical(3)"])
def test_a_likelihood_for_each_column_is_a_flag(names):
    expected = ("normal", "normal", "poisson", "categorical(3)")
    typed = ["vae", "wine", "--likelihood", names]
    assert fit.build_parser(typed).parse_args(typed).field_likelihood == expected
    from_file = ["vae", "wine", "--config", write_settings("yaml", {"likelihood": list(expected)})]
    assert fit.build_parser(from_file).parse_args(from_file).field_likelihood == expected
    one = ["vae", "wine", "--likelihood", "student_t(2,3)"]
    assert fit.build_parser(one).parse_args(one).field_likelihood == "student_t(2,3)"
    assert read_field("likelihood=normal,categorical(3)") == ("likelihood", ("normal", "categorical(3)"))


def test_usage_says_what_continuing_and_resuming_need(capsys):
    for words in (["fit"], ["fit", "vae"]):
        with pytest.raises(SystemExit):
            main(["help", *words])
        out = capsys.readouterr().out
        assert "isthmus fit --continue RUN [DATA]" in out
        assert "isthmus fit --resume RUN\n" in out


# ------------------------------------------------------------------ completion


def completions(line: str) -> list[str]:
    """What bash offers at the end of a line."""
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    typed = f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}"
    script = f"source ./completion.sh; {typed}; _shtab_isthmus; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_completes_commands_models_and_options(capsys):
    pytest.importorskip("shtab")
    code, out, _ = run(capsys, "--print-completion", "bash")
    assert code == 0
    Path("completion.sh").write_text(out)
    assert set(completions("isthmus ")) >= {*COMMANDS, "help"}
    assert set(completions("isthmus fit ")) >= {model.command for model in models().values()} | {"vae"}
    assert completions("isthmus fit vae wine --learning") == ["--learning-rate"]
    assert completions("isthmus score --per") == ["--per-feature"]
    assert completions("isthmus evaluate RUN --part v") == ["valid"]


def test_completion_of_other_shells(capsys, monkeypatch):
    pytest.importorskip("shtab")
    assert "isthmus" in run(capsys, "--print-completion=zsh")[1]
    for argv in (("--print-completion", "cmd"), ("--print-completion",)):
        code, _, err = run(capsys, *argv)
        assert (code, err.count("\n")) == (2, 1)
        assert "bash" in err
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert "pip install shtab" in run(capsys, "--print-completion", "bash")[2]


# ------------------------------------------------------------------ names from elsewhere


@pytest.mark.parametrize(
    ("argv", "meant"),
    [
        (["--seed", "3"], "--random-state"),
        (["--lr=0.1"], "--learning-rate"),
        (["--epoch", "3"], "--epochs"),
        (["--n-epochs", "3"], "--epochs"),
        (["--batch", "3"], "--batch-size"),
        (["--z-dim", "3"], "--latent-dim"),
        (["--latent", "3"], "--latent-dim"),
        (["--layers", "3"], "--hidden"),
        (["--gpu"], "--device cuda"),
        (["--cuda"], "--device cuda"),
        (["--cpu"], "--device cpu"),
        (["--val-split", "0.2"], "--validation-fraction"),
        (["--early-stopping"], "--patience"),
        (["--num-workers", "3"], "--threads"),
        (["--out", "r"], "--output"),
        (["--overwrite"], "--force"),
        (["--loss", "mse"], "--likelihood"),
        (["--latent-dims", "3"], "--latent-dim"),
    ],
)
def test_words_of_habit_on_the_command_line(capsys, argv, meant):
    code, _, err = run(capsys, "fit", "vae", "wine", *argv)
    assert (code, err.count("\n")) == (2, 1)
    assert f"Did you mean {meant}?" in err.replace("'", "")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("latent_dims", "'latent_dim'"),
        ("seed", "'random_state'"),
        ("lr", "'learning_rate'"),
        ("n_epochs", "'epochs'"),
        ("gpu", "device='cuda'"),
        ("hidden_dims", "'hidden'"),
    ],
)
def test_words_of_habit_in_python(name, meant):
    with pytest.raises(TypeError, match=f"field of VAE must be one of .* got '{name}'. Did you mean {meant}\\?"):
        isthmus.VAE(**{name: 3})
    with pytest.raises(TypeError, match=r"got 'qqqq'\.$"):
        isthmus.VAE(qqqq=3)
    with pytest.raises(isthmus.InputError, match=f"Did you mean {meant}"):
        isthmus.compare(table(), models=f"vae({name}=3)")


def test_a_class_of_ones_own_may_have_its_own_arguments():
    class Own(isthmus.VAE):
        """VAE with a constructor of its own."""

        def __init__(self, seed: int = 0):
            super().__init__(random_state=seed)

    assert Own(seed=3).random_state == 3
    with pytest.raises(TypeError, match="field of Own must be one of seed, got 'latent_dim'"):
        Own(latent_dim=3)


def test_no_field_is_a_synonym_of_another():
    fields = {field for model in models().values() for field in model.fields}
    assert not fields & {name for names in SYNONYMS.values() for name in names.split()}
