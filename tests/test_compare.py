"""Comparing models: known winners, the same rows for all, and continuing what was interrupted."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest

import isthmus
from isthmus.cli.main import main
from isthmus.comparison import compare as module
from isthmus.comparison.paired_stats import Scores, combine, estimate, paired_difference
from isthmus.comparison.ranking import find_elbows, margin, rank_column
from isthmus.comparison.results import Column, Conditions, RunResult, Score
from isthmus.comparison.specs import build_entries, read_field, read_sweep
from isthmus.comparison.split import split
from isthmus.comparison.table import Table, build_table
from isthmus.data import Dataset
from isthmus.errors import InputError, Interrupted
from isthmus.examples import Examples
from models import images, small, table

QUICK = {"hidden": (8,), "epochs": 2, "latent_dim": 2, "threads": 1, "draws": 10}


def planted(n: int = 300, rank: int = 3, d: int = 8) -> np.ndarray:
    """Rows of a linear model of so many dimensions."""
    random = np.random.default_rng(0)
    axes, _ = np.linalg.qr(random.normal(size=(d, d)))
    return 3 * random.normal(size=(n, rank)) @ axes[:rank] + random.normal(size=(n, d))


def run_result(
    model: str, seed: int, log_px: np.ndarray, value: object = None, kind: str = "density", given: str = ""
) -> RunResult:
    """A run as it is saved."""
    columns = [
        Column(f"log_px{given}: {kind}", "log p(x)", f"nats, {kind}", True, 0),
        Column(f"squared_error{given}", "squared error", "summed", False, 1),
    ]
    scores = [Score(column, (sign * log_px).tolist(), 0.0) for column, sign in zip(columns, (1, -1))]
    return RunResult(model, value, seed, latent_dim=2, epochs=1, batch_size=1, scores=scores)


CONDITIONS = Conditions(
    data="X", rows={}, features=9, unequal_scales=False, split="rows", fingerprint="", budget="none", seeds=3
)


def build(*results: RunResult) -> Table:
    return build_table(list(results), CONDITIONS, "latent_dim")


def winner(table: Table, key: str) -> str | None:
    return next(one for one in table.to_dict()["winners"] if one["column"] == key)["winner"]


def without_clock(table: Table) -> dict:
    """A table without training times."""
    values = json.loads(json.dumps(table.to_dict()))
    for model in values["models"]:
        model["cells"].pop("seconds", None)
    values["winners"] = [one for one in values["winners"] if one["column"] != "seconds"]
    return values


# ---------------------------------------------------------------------- numbers


def test_confidence_intervals_have_their_coverage():
    random, hits = np.random.default_rng(0), 0
    for _ in range(400):
        rows, seeds = random.normal(size=(1, 40)), random.normal(size=(4, 1))
        result = combine(rows + 0.5 * seeds + 0.3 * random.normal(size=(4, 40)))
        hits += abs(result.mean) <= result.half_width
    # 95 %, which 400 trials determine to about a hundredth; what counts twice errs on the safe side
    assert 0.93 <= hits / 400 <= 0.99


def test_paired_differences_have_smaller_errors_than_means():
    random = np.random.default_rng(0)
    rows = random.normal(scale=10, size=200)
    a = Scores({s: rows + 1 + 0.1 * random.normal(size=200) for s in range(3)})
    b = Scores({s: rows + 0.1 * random.normal(size=200) for s in range(3)})
    gap = paired_difference(a, b)
    assert gap is not None
    assert gap.above_zero
    assert gap.half_width < 0.05 * estimate(a).half_width
    assert paired_difference(a, a).half_width == 0
    assert not paired_difference(a, a).above_zero
    assert paired_difference(a, Scores({7: rows})) is None
    solved = Scores({0: rows}, closed_form=True)
    assert paired_difference(solved, b).standard_error == paired_difference(b, solved).standard_error


def test_the_winner_beats_every_other_model_not_only_the_second():
    column, rows = Column("log_px", "log p(x)", "nats", True, 0), np.zeros(100)
    wide = np.random.default_rng(0).normal(scale=100, size=100)
    result = build(
        *[run_result("best", s, rows + 1) for s in range(3)],
        *[run_result("second", s, rows + 0.5) for s in range(3)],
        *[run_result("vague", s, rows + wide - wide.mean()) for s in range(3)],
    )
    assert winner(result, "log_px: density") is None
    clear = rank_column(
        [row._replace(scores={column: row.scores[next(iter(row.scores))]}) for row in result.rows[:2]], column, None
    )
    assert clear.clear
    assert clear.best == "best"


def test_different_kinds_of_log_px_never_share_a_column():
    rows = np.random.default_rng(0).normal(size=50)
    kinds = [run_result("a", 0, rows), run_result("b", 0, rows - 9, kind="probability"), run_result("c", 0, rows)]
    kinds.append(run_result("d", 0, rows, given=" given c"))
    values = build(*kinds).to_dict()
    keys = [column["key"] for column in values["columns"] if column["key"].startswith("log_px")]
    assert keys == ["log_px given c: density", "log_px: density", "log_px: probability"]
    assert all(sum(key in model["cells"] for key in keys) == 1 for model in values["models"])
    assert "cannot be compared" in str(build(*kinds))


def test_the_elbow_is_the_smallest_value_within_one_standard_error():
    random = np.random.default_rng(0)
    rows = random.normal(size=400)
    at = {1: -2.0, 2: -0.02, 4: 0.0, 8: -0.5}
    noise = {value: random.normal(scale=0.5, size=400) for value in at}  # its mean is known to 0.035 for a pair
    runs = [run_result("a", s, rows + mean + noise[v] - noise[v].mean(), v) for v, mean in at.items() for s in range(3)]
    (elbow,) = find_elbows(build(*runs).rows)
    assert (elbow.value, elbow.best) == (2, 4)
    assert "the elbow is latent_dim=2" in str(build(*runs)).replace("\n  ", " ")
    assert not find_elbows(build(*[run for run in runs if run.seed < 2]).rows)  # its error is not known


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_trained_models_are_ranked_from_three_seeds_on(seeds):
    random = np.random.default_rng(0)
    rows = random.normal(size=300)
    noise = {name: 0.01 * random.normal(size=(seeds, 300)) for name in "ab"}
    a, b = (
        [run_result(name, s, rows - at + noise[name][s]) for s in range(seeds)] for name, at in (("a", 1), ("b", 2))
    )
    table = replace(build(*a, *b), conditions=replace(CONDITIONS, seeds=seeds))
    (one, _) = table.rankings
    assert one.clear == (seeds == 3)
    assert one.best == "a"
    assert (one.to_dict()["margin"]["standard_error"] is None) == (seeds < 3)
    text = str(table).replace("\n  ", " ")
    assert ("no star and no elbow for trained models: with fewer than 3 seeds" in text) == (seeds < 3)
    assert ("-1.0" in text and "*" in text.split("±:")[0]) or seeds < 3
    # Two models with a closed form need no seeds.
    solved = [replace(run_result(name, 0, rows - at), closed_form=True) for name, at in (("c", 1), ("d", 2))]
    assert rank_column(build(*solved).rows, one.column, None).clear


def test_where_a_baseline_is_best_the_trained_models_are_ranked_too():
    rows = np.random.default_rng(0).normal(size=300)
    noise = 0.01 * np.random.default_rng(1).normal(size=(2, 3, 300))
    runs = [replace(run_result("pca", 0, rows), closed_form=True)]
    runs += [run_result(name, s, rows - 1 - i + noise[i, s]) for i, name in enumerate("ab") for s in range(3)]
    result = build_table(runs, CONDITIONS, None)
    assert winner(result, "log_px: density") == "pca"
    (second, _) = [one for one in result.to_dict()["winners"] if one["among"] == "trained"]
    assert (second["column"], second["winner"], second["rival"]) == ("log_px: density", "a", "b")
    assert second["margin"]["mean"] == pytest.approx(1, abs=0.01)
    text = str(result).replace("\n  ", " ")
    assert "among the trained models: a is best in log p(x), better than b by" in text


# -------------------------------------------------------------------- comparing


def test_pca_wins_on_linear_data_and_its_elbow_is_the_rank():
    result = isthmus.compare(planted(), models="ppca", sweep={"latent_dim": [1, 2, 3, 5]}, draws=10)
    (elbow,) = result.to_dict()["elbows"]
    assert (elbow["value"], elbow["column"]) == (3, "log_px: density")
    against = isthmus.compare(
        planted(),
        models=[isthmus.VAE(latent_dim=3, hidden=(16,), epochs=20, initialization="random")],
        seeds=3,
        draws=20,
        threads=1,
    )
    scores = {row.label: row.scores for row in against.rows}
    assert list(scores) == ["pca", "pca_best", "vae"]
    (log_px,) = [column for column in scores["vae"] if column.key == "log_px: density"]
    assert all(margin(scores[name][log_px], scores["vae"][log_px], log_px).above_zero for name in ("pca", "pca_best"))
    assert [column.key for column in scores["pca_best"] if column.key.startswith("squared")] == []
    assert winner(against, "squared_error") == "pca"


def test_other_seeds_of_a_model_do_not_beat_it():
    models = ["vae", "vae(random_state=50)"]
    fields = QUICK | {"epochs": 5, "initialization": "random"}
    result = isthmus.compare(table(200), models=models, seeds=3, **fields)
    rows = [row for row in result.rows if row.label.startswith("vae")]
    assert [row.label for row in rows] == models
    for column in rows[0].scores:
        if column.key not in ("parameters", "seconds"):
            one = rank_column(rows, column, None)
            assert not one.clear
            assert one.margin.mean != 0  # they are not the same runs


def test_all_models_and_seeds_see_the_same_rows(tmp_path):
    isthmus.compare(images(), models="ae,conditionalvae", y=np.arange(90) % 3, seeds=2, folder=tmp_path, **QUICK)
    runs = [json.loads(path.read_text()) for path in (tmp_path / "runs").iterdir()]
    assert len(runs) == 6
    for part in ("train_rows", "test_rows"):
        assert len({run[part] for run in runs}) == 1
    scores = [score for run in runs for score in run["scores"] if score["column"]["key"].startswith("squared")]
    assert [len(score["values"]) for score in scores] == [18] * 5


def test_pca_of_integers_gives_a_lower_bound():
    result = isthmus.compare(images(), models="vae", seeds=1, **QUICK)
    cells = {model["model"]: model["cells"]["log_px: probability"] for model in result.to_dict()["models"]}
    assert cells["pca"]["lower_bound"]
    assert not cells["vae"]["lower_bound"]
    assert "because there is one seed" in str(result).replace("\n  ", " ")
    assert ">=" in str(result)


def test_a_data_sets_own_parts_are_used():
    data = Dataset("mine", Examples(table()), Examples(table(20, seed=1)), Examples(table(30, seed=2)))
    rows = split(data, 0.1)
    assert [len(part.x) for part in (rows.train, rows.valid, rows.test)] == [90, 20, 30]
    np.testing.assert_array_equal(rows.test.x, table(30, seed=2))
    rows = split(Dataset("mine", Examples(table())), 0.1)
    assert [len(part.x) for part in (rows.train, rows.valid, rows.test)] == [65, 7, 18]
    assert split(Dataset("mine", Examples(table())), 0.0).valid is None


def test_a_failed_run_gives_its_reason_and_the_others_continue(monkeypatch):
    real = module.train_and_score

    def failing(entry, rows, seed, *args):
        return real(entry._replace(estimator=entry.estimator.set_params(beta=1e38)), rows, seed, *args)

    monkeypatch.setattr(
        module, "train_and_score", lambda entry, *args: (failing if entry.label == "vae" else real)(entry, *args)
    )
    result = isthmus.compare(1e3 * table(), models="ae,vae", seeds=2, **QUICK | {"scaling": "none"})
    values = {model["model"]: model for model in result.to_dict()["models"]}
    assert set(values["vae"]["failed"]) == {"0", "1"}
    assert not values["vae"]["cells"]
    assert "not finite" in values["vae"]["failed"]["0"]
    assert values["ae"]["runs"] == 2
    assert "vae failed (seed 0, 1)" in str(result)


def test_pca_of_sequences_is_included_only_on_request():
    x, lengths = table(60, 12).reshape(60, 4, 3), np.arange(60) % 3 + 2
    result = isthmus.compare(x, lengths=lengths, models="vae", seeds=1, **QUICK)
    assert [row["model"] for row in result.to_dict()["models"]] == ["vae"]
    result = isthmus.compare(x, lengths=lengths, models="pca,vae", seeds=1, **QUICK)
    assert "lengths must be None for ProbabilisticPCA" in str(result).replace("\n  ", " ")
    assert result.to_dict()["models"][1]["runs"] == 1


# --------------------------------------------------------------------- continuing


def test_an_interrupted_comparison_continues_to_the_same_result(tmp_path, monkeypatch):
    kwargs = {"models": "ae", "seeds": 2, "sweep": {"latent_dim": [1, 2]}, **QUICK}
    kwargs.pop("latent_dim")
    whole = isthmus.compare(table(), **kwargs)
    done, real = [], module.train_and_score

    def stopping(entry, rows, seed, *args):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append((entry.label, entry.value, seed))
        return real(entry, rows, seed, *args)

    monkeypatch.setattr(module, "train_and_score", stopping)
    with pytest.raises(Interrupted, match="3 of 7 runs are finished"):
        isthmus.compare(table(), folder=tmp_path / "c", **kwargs)
    before = list(done)
    monkeypatch.setattr(module, "train_and_score", lambda *a: done.append((a[0].label, a[0].value, a[2])) or real(*a))
    result = isthmus.compare(table(), folder=tmp_path / "c", **kwargs)
    assert len(done) == len(set(done)) == 7
    assert done[:3] == before
    resumed = without_clock(result)
    assert resumed.pop("figure") == str(tmp_path / "c" / "curve.png")
    assert resumed == without_clock(whole)
    assert (tmp_path / "c" / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "c" / "unfinished").exists()
    isthmus.compare(table(), folder=tmp_path / "c", **kwargs)
    assert len(done) == 7


def test_seeds_may_be_added_but_data_and_fields_must_stay_the_same(tmp_path):
    kwargs = {"models": "ae", "seeds": 1, "folder": tmp_path / "c", **QUICK}
    isthmus.compare(table(), **kwargs)
    isthmus.compare(table(), **kwargs | {"seeds": 2})
    assert len(list((tmp_path / "c" / "runs").iterdir())) == 4
    with pytest.raises(InputError, match=r"other rows. Pass --force"):
        isthmus.compare(table(seed=1), **kwargs)
    with pytest.raises(InputError, match=r"other fields. Pass --force"):
        isthmus.compare(table(), **kwargs | {"epochs": 3})
    isthmus.compare(table(), force=True, **kwargs | {"epochs": 3})
    assert len(list((tmp_path / "c" / "runs").iterdir())) == 3
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="do not belong to a comparison"):
        isthmus.compare(table(), force=True, **kwargs | {"folder": tmp_path / "other"})


# ------------------------------------------------------------------------ parsing


def test_parsing_of_models_and_fields():
    result = build_entries("ae, vae(beta=4,hidden=(8,8),prior=mixture(3))", {"epochs": 7}, None)
    assert [entry.label for entry in result] == ["pca", "pca_best", "ae", "vae(beta=4,hidden=(8,8),prior=mixture(3))"]
    assert result[3].estimator.hidden == (8, 8)
    assert result[3].estimator.prior == "mixture(3)"
    assert [entry.estimator.epochs for entry in result] == ["auto", "auto", 7, 7]
    assert result[0].estimator.scaling == "auto"  # as the models
    assert build_entries("ae", {"scaling": "none"}, None)[0].estimator.scaling == "none"
    assert build_entries("pca(scaling=standard),ae", {}, None)[0].estimator.scaling == "standard"
    swept = build_entries("vae(beta=2)", {}, ("beta", [1, 4]))
    labels = [("pca", None), ("pca_best", None), ("vae(beta=2)", 1), ("vae(beta=2)", 4)]
    assert [(entry.label, entry.value) for entry in swept] == labels
    assert read_field("hidden=64,32") == ("hidden", (64, 32))
    assert read_field("hidden=(64,32)") == ("hidden", (64, 32))
    assert read_field("batch-size=5") == ("batch_size", 5)
    assert read_field("prior=mixture(5)") == ("prior", "mixture(5)")
    assert read_field("binarize=true") == ("binarize", True)
    assert read_field("hidden=none") == ("hidden", ())
    assert read_sweep("hidden=(64,32),(8,)") == ("hidden", [(64, 32), (8,)])
    assert read_sweep("hidden=64,8") == ("hidden", [(64,), (8,)])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"models": "vea"}, "model must be one of .*, got 'vea'. Did you mean 'vae'"),
        ({"models": "vae(bta=4)"}, "field of vae must be one of .*, got 'bta'. Did you mean 'beta'"),
        ({"models": "vae(4)"}, "written with their names"),
        ({"models": "ae,pca_best(latent_dim=2)"}, "pca_best must have no fields"),
        ({"models": "vae(beta=__import__('os'))"}, "beta must be a number"),
        ({"models": "vae(validation_fraction=0.5)"}, "must be the same for all models"),
        ({"models": "ae,ae"}, "got ae twice"),
        ({"models": ""}, "at least one model"),
        ({"models": [3]}, "estimators, got int"),
        ({"seeds": 0}, "seeds must be an integer >= 1, got 0"),
        ({"draws": 0}, "draws must be an integer >= 2, got 0"),
        ({"epochs": "x"}, "ae: epochs must be an integer"),
        ({"bta": 1}, "field must be one of .*, got 'bta'"),
        ({"random_state": -1}, "random_state must be an integer >= 0.*got -1"),
        ({"sweep": {"latent_dim": [2]}}, "at least two different values"),
        ({"sweep": {"latent_dim": [2, 2]}}, "at least two different values"),
        ({"sweep": {"latent_dim": [2, 0]}}, "latent_dim must be an integer >= 1 or 'auto', got 0"),
        ({"sweep": {"random_state": [1, 2]}}, "are the same for all"),
        ({"sweep": {"epochs": [1, 2], "beta": [1, 2]}}, "must have one field"),
    ],
)
def test_invalid_arguments_raise_one_line_errors(kwargs, message):
    with pytest.raises(InputError, match=message) as error:
        isthmus.compare(table(), **{"models": "ae", **kwargs})
    assert "\n" not in str(error.value)


def test_models_may_be_names_classes_and_estimators():
    models = ["ae", isthmus.VAE, isthmus.BetaVAE(beta=2.0)]
    table_of = isthmus.compare(Examples(table(), np.arange(90) % 3), models=models, seeds=1, **QUICK)
    assert [row.label for row in table_of.rows] == ["pca", "pca_best", "ae", "vae", "betavae"]
    assert all(("probe" in row["cells"]) == (row["model"] != "pca_best") for row in table_of.to_dict()["models"])


def test_a_class_of_the_users_that_is_called_pca_is_no_baseline():
    pca = type("PCA", (isthmus.Autoencoder,), {})
    table_of = isthmus.compare(table(), models=[pca], seeds=1, **QUICK)
    assert [row.label for row in table_of.rows][:2] == ["pca", "pca_best"]
    own = table_of.rows[-1]
    assert own.label.endswith(".PCA")
    assert not own.closed_form


def test_too_few_rows():
    with pytest.raises(InputError, match="at least 10 rows"):
        isthmus.compare(table(9), models="ae")


def test_the_command(tmp_path, capsys, monkeypatch):
    folder = str(tmp_path / "c")
    argv = ["compare", "wine", "--models", "ae,vae(beta=2)", "--seeds", "1", "--epochs", "2", "--latent-dim", "2"]
    argv += ["--set", "hidden=8", "--set", "threads=1", "--draws", "10", "-o", folder]
    assert main(argv) == 0
    out, err = capsys.readouterr()
    assert "vae(beta=2)" in out
    assert "nats, density" in out
    assert "at most 2 epochs in batches of 128" in out
    assert err.count("run ") == 4
    assert max(map(len, out.splitlines())) <= 120
    assert main([*argv, "--json"]) == 0
    out, err = capsys.readouterr()
    values = json.loads(out)
    assert [model["model"] for model in values["models"]] == ["pca", "pca_best", "ae", "vae(beta=2)"]
    assert values["rows"] == {"train": 128, "validation": 14, "test": 36}
    assert all(math.isfinite(cell["mean"]) for model in values["models"] for cell in model["cells"].values())
    assert main([*argv, "--draws", "11"]) == 2
    assert "--force" in capsys.readouterr().err

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "train_and_score", stopped)
    assert main([*argv, "--draws", "11", "--force"]) == 130
    err = capsys.readouterr().err.splitlines()[-1]
    assert "0 of 4 runs are finished" in err
    assert "continue with: isthmus compare wine" in err
    assert "--force" not in err


def test_a_condition_that_codes_reveal_is_no_merit():
    table_of = isthmus.compare(Examples(table(), np.arange(90) % 3), models="cvae,vae", seeds=1, **QUICK)
    assert "linear probe" not in str(table_of)
    assert "condition read from codes: how well" in str(table_of)
    columns = {column["key"]: column for column in table_of.to_dict()["columns"]}
    assert columns["condition_probe"]["better"] == "lower"
    assert columns["condition_probe"]["heading"] == "condition read from codes"


def test_data_are_warned_of_once_and_not_for_the_baseline_alone():
    x = np.random.default_rng(0).poisson([2.0, 3.0, 4.0], (60, 3))
    x[:, 0] *= 1000
    x = np.r_[x, x[:20]]
    for models, fields, uneven in (("vae,ae", QUICK, False), ("pca", {"draws": 10}, True)):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            isthmus.compare(x, models=models, seeds=1, **fields)
        texts = [str(warning.message) for warning in said]
        assert any("otherwise the large columns dominate" in text for text in texts) == uneven, texts
        assert len(texts) == len(set(texts))


def test_trained_models_alone_are_described_as_such():
    x = table(120)
    trained = {"mine": small("VAE", epochs=1).fit(x).fitted_}
    found = isthmus.compare(x, models=trained, draws=20)
    assert "have a closed form or were trained before" in str(found)
    with pytest.raises(InputError, match=r"^epochs must be left out, got epochs=\.\.\.: none of the models"):
        isthmus.compare(x, models=trained, epochs=2)


def test_no_pca_stands_beside_a_trained_model_of_sequences():
    songs = [np.full((i % 4 + 1, 2), i + 0.25) for i in range(60)]
    found = isthmus.compare(songs, models={"mine": small("VAE", epochs=1).fit(songs).fitted_}, draws=20)
    assert [row.label for row in found.rows] == ["mine"]


def test_labels_that_are_the_condition_of_a_trained_model_are_no_merit_of_codes():
    y = np.arange(120) % 2
    x = table(120) + 3 * y[:, None]
    trained = small("ConditionalVAE", epochs=1).fit(x, condition=y).fitted_
    found = isthmus.compare(x, y, models={"mine": trained, "other": small("VAE", epochs=1)}, seeds=1, draws=20)
    assert "condition read from codes" in str(found)
