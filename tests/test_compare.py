"""Models beside each other: who wins is known, rows are the same, and what is done is not done again."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import isthmus
from isthmus.cli.main import main
from isthmus.comparison import compare as module
from isthmus.comparison.paired_stats import Scores, difference, estimate, pooled
from isthmus.comparison.specs import entries, read_field, read_sweep
from isthmus.comparison.split import split
from isthmus.comparison.table import Column, Table, contest, knees, tabled
from isthmus.data import Dataset
from isthmus.errors import InputError, Interrupted
from isthmus.examples import Examples
from models import images, table

QUICK = {"hidden": (8,), "epochs": 2, "latent_dim": 2, "threads": 1, "draws": 10}


def planted(n: int = 300, rank: int = 3, d: int = 8) -> np.ndarray:
    """Rows of a linear model of so many dimensions."""
    random = np.random.default_rng(0)
    axes, _ = np.linalg.qr(random.normal(size=(d, d)))
    return 3 * random.normal(size=(n, rank)) @ axes[:rank] + random.normal(size=(n, d))


def record(model: str, seed: int, log_px: np.ndarray, value: object = None, **more: object) -> dict:
    """What a run leaves."""
    about = {"model": model, "value": value, "seed": seed, "failed": None, "exact": False, "latent_dim": 2}
    rows = {"log_px": log_px.tolist(), "squared_error": (-log_px).tolist()}
    facts = {"log_likelihood": {"shared_error": 0.0}}
    measured = {"kind": "density", "bound": False, "given_condition": False, "rows": rows, "facts": facts}
    return {**about, **measured, "seconds": 1.0, "parameters": 10, **more}


FACTS = {
    "data": "X", "rows": {}, "split": "rows", "features": 9, "uneven": False, "budget": "none", "seeds": 3,
}  # fmt: skip


def known(*records: dict) -> Table:
    return tabled(list(records), dict(FACTS), "latent_dim")


def winner(found: Table, key: str) -> str | None:
    return next(one for one in found.to_dict()["winners"] if one["column"] == key)["winner"]


def without_clock(found: Table) -> dict:
    """A table without what the clock said."""
    told = json.loads(json.dumps(found.to_dict()))
    for model in told["models"]:
        model["cells"].pop("seconds", None)
    told["winners"] = [one for one in told["winners"] if one["column"] != "seconds"]
    return told


# ---------------------------------------------------------------------- numbers


def test_intervals_cover_as_often_as_they_say():
    random, hits = np.random.default_rng(0), 0
    for _ in range(400):
        rows, seeds = random.normal(size=(1, 40)), random.normal(size=(4, 1))
        found = pooled(rows + 0.5 * seeds + 0.3 * random.normal(size=(4, 40)))
        hits += abs(found.mean) <= found.half_width
    # 95 %, of which 400 trials know about a hundredth; what counts twice errs on the safe side
    assert 0.93 <= hits / 400 <= 0.99


def test_a_paired_difference_is_sharper_than_its_ends():
    random = np.random.default_rng(0)
    rows = random.normal(scale=10, size=200)
    a = Scores({s: rows + 1 + 0.1 * random.normal(size=200) for s in range(3)})
    b = Scores({s: rows + 0.1 * random.normal(size=200) for s in range(3)})
    gap = difference(a, b)
    assert gap is not None
    assert gap.above_zero
    assert gap.half_width < 0.05 * estimate(a).half_width
    assert difference(a, a).half_width == 0
    assert not difference(a, a).above_zero
    assert difference(a, Scores({7: rows})) is None
    assert difference(Scores({0: rows}, exact=True), b).error == difference(b, Scores({0: rows}, exact=True)).error


def test_the_winner_parts_from_every_other_not_only_from_the_second():
    column, rows = Column("log_px", "log p(x)", "nats", True), np.zeros(100)
    wide = np.random.default_rng(0).normal(scale=100, size=100)
    found = known(
        *[record("best", s, rows + 1) for s in range(3)],
        *[record("second", s, rows + 0.5) for s in range(3)],
        *[record("vague", s, rows + wide - wide.mean()) for s in range(3)],
    )
    assert winner(found, "log_px: density") is None
    clear = contest(
        [row._replace(scores={column: row.scores[next(iter(row.scores))]}) for row in found.rows[:2]], column, None
    )
    assert clear.clear
    assert clear.best == "best"


def test_kinds_of_evidence_never_share_a_column():
    rows = np.random.default_rng(0).normal(size=50)
    kinds = [record("a", 0, rows), record("b", 0, rows - 9, kind="probability"), record("c", 0, rows)]
    kinds.append(record("d", 0, rows, given_condition=True))
    told = known(*kinds).to_dict()
    keys = [column["key"] for column in told["columns"] if column["key"].startswith("log_px")]
    assert keys == ["log_px given c: density", "log_px: density", "log_px: probability"]
    assert all(sum(key in model["cells"] for key in keys) == 1 for model in told["models"])
    assert "cannot be compared" in str(known(*kinds))


def test_the_knee_is_the_smallest_within_one_standard_error():
    random = np.random.default_rng(0)
    rows = random.normal(size=400)
    at = {1: -2.0, 2: -0.02, 4: 0.0, 8: -0.5}
    noise = {value: random.normal(scale=0.5, size=400) for value in at}  # its mean is known to 0.035 for a pair
    runs = [record("a", 0, rows + mean + noise[v] - noise[v].mean(), v) for v, mean in at.items()]
    (knee,) = knees(known(*runs).rows)
    assert (knee.value, knee.best) == (2, 4)
    assert "the knee is latent_dim=2" in str(known(*runs)).replace("\n  ", " ")


# -------------------------------------------------------------------- comparing


def test_a_linear_model_of_linear_data_is_not_beaten_and_its_knee_is_the_rank():
    found = isthmus.compare(planted(), models="ppca", sweep={"latent_dim": [1, 2, 3, 5]}, draws=10)
    (knee,) = found.to_dict()["knees"]
    assert (knee["value"], knee["column"]) == (3, "log_px: density")
    against = isthmus.compare(
        planted(), models=[isthmus.VAE(latent_dim=3, hidden=(16,), epochs=20)], seeds=2, draws=20, threads=1
    )
    assert {row.label: row.latent_dim for row in against.rows} == {"pca": 3, "vae": 3}
    assert winner(against, "log_px: density") == "pca"
    assert winner(against, "squared_error") == "pca"


def test_one_model_under_other_seeds_does_not_beat_itself():
    models = ["vae", "vae(random_state=50)"]
    found = isthmus.compare(table(200), models=models, seeds=3, **QUICK | {"epochs": 5})
    rows = [row for row in found.rows if row.label.startswith("vae")]
    assert [row.label for row in rows] == models
    for column in rows[0].scores:
        if column.key not in ("parameters", "seconds"):
            one = contest(rows, column, None)
            assert not one.clear
            assert one.lead.mean != 0  # they are not the same runs


def test_all_models_and_seeds_see_the_same_rows(tmp_path):
    isthmus.compare(images(), models="ae,conditionalvae", y=np.arange(90) % 3, seeds=2, folder=tmp_path, **QUICK)
    runs = [json.loads(path.read_text()) for path in (tmp_path / "runs").iterdir()]
    assert len(runs) == 5
    for part in ("train_rows", "test_rows"):
        assert len({run[part] for run in runs}) == 1
    assert {len(run["rows"]["squared_error"]) for run in runs} == {18}


def test_linear_models_of_whole_numbers_give_a_bound():
    found = isthmus.compare(images(), models="vae", seeds=1, **QUICK)
    cells = {model["model"]: model["cells"]["log_px: probability"] for model in found.to_dict()["models"]}
    assert cells["pca"]["lower_bound"]
    assert not cells["vae"]["lower_bound"]
    assert "one seed says nothing of another" in str(found).replace("\n  ", " ")
    assert ">=" in str(found)


def test_own_test_rows_are_used_where_there_are_any():
    data = Dataset("mine", Examples(table()), Examples(table(20, seed=1)), Examples(table(30, seed=2)))
    rows = split(data, 0.1)
    assert [len(part.x) for part in (rows.train, rows.valid, rows.test)] == [90, 20, 30]
    np.testing.assert_array_equal(rows.test.x, table(30, seed=2))
    rows = split(Dataset("mine", Examples(table())), 0.1)
    assert [len(part.x) for part in (rows.train, rows.valid, rows.test)] == [65, 7, 18]
    assert split(Dataset("mine", Examples(table())), 0.0).valid is None


def test_a_run_that_fails_says_why_and_spares_the_others(monkeypatch):
    real = module.trial

    def failing(entry, rows, seed, *more):
        return real(entry._replace(estimator=entry.estimator.set_params(beta=1e38)), rows, seed, *more)

    monkeypatch.setattr(module, "trial", lambda entry, *more: (failing if entry.label == "vae" else real)(entry, *more))
    found = isthmus.compare(1e3 * table(), models="ae,vae", seeds=2, **QUICK | {"scaling": "none"})
    told = {model["model"]: model for model in found.to_dict()["models"]}
    assert set(told["vae"]["failed"]) == {"0", "1"}
    assert not told["vae"]["cells"]
    assert "not finite" in told["vae"]["failed"]["0"]
    assert told["ae"]["runs"] == 2
    assert "vae failed (seed 0, 1)" in str(found)


def test_sequences_leave_pca_out_unless_it_is_asked_for():
    x, lengths = table(60, 12).reshape(60, 4, 3), np.arange(60) % 3 + 2
    found = isthmus.compare(x, lengths=lengths, models="vae", seeds=1, **QUICK)
    assert [row["model"] for row in found.to_dict()["models"]] == ["vae"]
    found = isthmus.compare(x, lengths=lengths, models="pca,vae", seeds=1, **QUICK)
    assert "takes no condition and no lengths" in str(found).replace("\n  ", " ")
    assert found.to_dict()["models"][1]["runs"] == 1


# --------------------------------------------------------------------- going on


def test_what_is_broken_off_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    words = {"models": "ae", "seeds": 2, "sweep": {"latent_dim": [1, 2]}, **QUICK}
    words.pop("latent_dim")
    whole = isthmus.compare(table(), **words)
    done, real = [], module.trial

    def stopping(entry, rows, seed, *more):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append((entry.label, entry.value, seed))
        return real(entry, rows, seed, *more)

    monkeypatch.setattr(module, "trial", stopping)
    with pytest.raises(Interrupted, match="3 of 6 runs are done"):
        isthmus.compare(table(), folder=tmp_path / "c", **words)
    before = list(done)
    monkeypatch.setattr(module, "trial", lambda *a: done.append((a[0].label, a[0].value, a[2])) or real(*a))
    found = isthmus.compare(table(), folder=tmp_path / "c", **words)
    assert len(done) == len(set(done)) == 6
    assert done[:3] == before
    resumed = without_clock(found)
    assert resumed.pop("curve") == str(tmp_path / "c" / "curve.png")
    assert resumed == without_clock(whole)
    assert (tmp_path / "c" / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "c" / "unfinished").exists()
    isthmus.compare(table(), folder=tmp_path / "c", **words)
    assert len(done) == 6


def test_more_seeds_may_be_added_but_other_data_or_fields_not(tmp_path):
    words = {"models": "ae", "seeds": 1, "folder": tmp_path / "c", **QUICK}
    isthmus.compare(table(), **words)
    isthmus.compare(table(), **words | {"seeds": 2})
    assert len(list((tmp_path / "c" / "runs").iterdir())) == 3
    with pytest.raises(InputError, match=r"other rows; --force"):
        isthmus.compare(table(seed=1), **words)
    with pytest.raises(InputError, match=r"other fields; --force"):
        isthmus.compare(table(), **words | {"epochs": 3})
    isthmus.compare(table(), force=True, **words | {"epochs": 3})
    assert len(list((tmp_path / "c" / "runs").iterdir())) == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="holds other files"):
        isthmus.compare(table(), force=True, **words | {"folder": tmp_path / "other"})


# ------------------------------------------------------------------------ words


def test_models_and_fields_as_typed():
    found = entries("ae, vae(beta=4,hidden=(8,8),prior=mixture(3))", {"epochs": 7}, None)
    assert [entry.label for entry in found] == ["pca", "ae", "vae(beta=4,hidden=(8,8),prior=mixture(3))"]
    assert found[2].estimator.hidden == (8, 8)
    assert found[2].estimator.prior == "mixture(3)"
    assert [entry.estimator.epochs for entry in found] == ["auto", 7, 7]
    swept = entries("vae(beta=2)", {}, ("beta", [1, 4]))
    assert [(entry.label, entry.value) for entry in swept] == [("pca", None), ("vae(beta=2)", 1), ("vae(beta=2)", 4)]
    assert read_field("hidden=64,32") == ("hidden", (64, 32))
    assert read_field("hidden=(64,32)") == ("hidden", (64, 32))
    assert read_field("batch-size=5") == ("batch_size", 5)
    assert read_field("prior=mixture(5)") == ("prior", "mixture(5)")
    assert read_field("binarize=true") == ("binarize", True)
    assert read_field("hidden=none") == ("hidden", ())
    assert read_sweep("hidden=(64,32),(8,)") == ("hidden", [(64, 32), (8,)])
    assert read_sweep("hidden=64,8") == ("hidden", [(64,), (8,)])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"models": "vea"}, "model must be one of .*, got 'vea'. Did you mean 'vae'"),
        ({"models": "vae(bta=4)"}, "field of vae must be one of .*, got 'bta'. Did you mean 'beta'"),
        ({"models": "vae(4)"}, "write its fields with names"),
        ({"models": "vae(beta=__import__('os'))"}, "beta=.* came"),
        ({"models": "vae(validation_fraction=0.5)"}, "all models share the rows"),
        ({"models": "ae,ae"}, "came twice"),
        ({"models": ""}, "no models came"),
        ({"models": [3]}, "int came among the models"),
        ({"seeds": 0}, "at least 1 is wanted"),
        ({"draws": 0}, "draws must be an integer"),
        ({"epochs": "x"}, "ae: epochs='x' came"),
        ({"bta": 1}, "field must be one of .*, got 'bta'"),
        ({"random_state": -1}, "random_state=-1"),
        ({"sweep": {"latent_dim": [2]}}, "two different values"),
        ({"sweep": {"latent_dim": [2, 2]}}, "two different values"),
        ({"sweep": {"latent_dim": [2, 0]}}, "latent_dim=0 came"),
        ({"sweep": {"random_state": [1, 2]}}, "the same for all"),
        ({"sweep": {"epochs": [1, 2], "beta": [1, 2]}}, "one field is wanted"),
    ],
)
def test_what_cannot_be_compared_is_told_in_a_line(words, message):
    with pytest.raises(InputError, match=message) as told:
        isthmus.compare(table(), **{"models": "ae", **words})
    assert "\n" not in str(told.value)


def test_too_few_rows():
    with pytest.raises(InputError, match="10 at least are wanted"):
        isthmus.compare(table(9), models="ae")


def test_the_command(tmp_path, capsys, monkeypatch):
    folder = str(tmp_path / "c")
    words = ["compare", "wine", "--models", "ae,vae(beta=2)", "--seeds", "1", "--epochs", "2", "--latent-dim", "2"]
    words += ["--set", "hidden=8", "--set", "threads=1", "--draws", "10", "-o", folder]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert "vae(beta=2)" in out
    assert "nats, density" in out
    assert "at most 2 epochs in batches of 128" in out
    assert err.count("run ") == 3
    assert max(map(len, out.splitlines())) <= 120
    assert main([*words, "--json"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert [model["model"] for model in told["models"]] == ["pca", "ae", "vae(beta=2)"]
    assert told["rows"] == {"train": 128, "validation": 14, "test": 36}
    assert all(math.isfinite(cell["mean"]) for model in told["models"] for cell in model["cells"].values())
    assert main([*words, "--draws", "11"]) == 2
    assert "--force" in capsys.readouterr().err

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "trial", stopped)
    assert main([*words, "--draws", "11", "--force"]) == 130
    err = capsys.readouterr().err.splitlines()[-1]
    assert "0 of 3 runs are done" in err
    assert "go on with: isthmus compare wine" in err
    assert "--force" not in err
