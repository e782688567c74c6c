"""What cannot be used gets one clear line, and nothing is left half-written."""

from __future__ import annotations

import copy
import json
import os
import struct
import warnings
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import isthmus
from isthmus.cli.main import main
from isthmus.estimators.training_setup import setup_training
from isthmus.train.checkpoint import Checkpointer
from models import bits, counts, images, rows_of, small, table


def with_nan(x: np.ndarray, value: float = np.nan) -> np.ndarray:
    x = x.copy()
    x[3, 1] = value
    return x


X = table()
LABELS = np.arange(90) % 3


class GivenPrior(nn.Module):
    """A prior that is the distribution it was given."""

    def __init__(self, distribution):
        super().__init__()
        self.distribution = distribution

    def forward(self, c=None, mask=None, posterior=None):
        return self.distribution


def laplace(size: int, event_dims: int = 1):
    """A distribution of PyTorch over vectors, or, without event dimensions, over single numbers."""
    distribution = torch.distributions.Laplace(torch.zeros(size), torch.ones(size))
    return GivenPrior(torch.distributions.Independent(distribution, event_dims))


FITS = {
    "complex numbers": (lambda: small("VAE").fit(X + 1j), "Complex data not supported: X must be real"),
    "prior over single numbers": (
        lambda: small("VAE", prior=laplace(3, 0)).fit(X),
        r"prior must be .*Independent\(prior, 1\)",
    ),
    "prior over other codes": (
        lambda: small("VAE", prior=laplace(4)).fit(X),
        r"prior must be .* codes of shape \(3,\)",
    ),
    "NaN": (lambda: small("VAE").fit(with_nan(X)), r"NaN or infinity in column 1 \(1\)"),
    "infinity": (lambda: small("VAE").fit(with_nan(X, np.inf)), "NaN or infinity"),
    "NaN in a named column": (
        lambda: small("VAE").fit(pd.DataFrame(with_nan(X), columns=list("abcde"))),
        r"column b \(1\)",
    ),
    "NaN only in the validation part": (lambda: small("VAE").fit(X, validation=with_nan(X)), "validation rows.*NaN"),
    "strings": (lambda: small("VAE").fit(pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})), "'b'"),
    "empty": (lambda: small("VAE").fit(np.zeros((0, 5))), "0 sample"),
    "one row": (lambda: small("VAE").fit(X[:1]), "1 sample"),
    "constant": (lambda: small("VAE").fit(np.ones((50, 4))), "must vary"),
    "no columns": (lambda: small("VAE").fit(np.zeros((10, 0))), "0 feature"),
    "one dimension": (lambda: small("VAE").fit(X[:, 0]), "Reshape your data"),
    "negative counts": (lambda: small("VAE", likelihood="poisson").fit(counts() - 3), "negative"),
    "bytes for [0, 1]": (lambda: small("VAE", likelihood="continuous_bernoulli").fit(images()), r"255"),
    "bytes for bits": (lambda: small("VAE", likelihood="bernoulli").fit(images()), "binarize"),
    "floats for levels": (lambda: small("VAE", likelihood="categorical").fit(X), "categorical"),
    "levels too few": (lambda: small("VAE", likelihood="categorical(10)").fit(images()), "0..9"),
    "latent_dim=0": (lambda: small("VAE", latent_dim=0).fit(X), "latent_dim must be an integer >= 1 or 'auto', got 0"),
    "latent_dim=2.5": (lambda: small("VAE", latent_dim=2.5).fit(X), "latent_dim must be .* got 2.5"),
    "epochs=0": (lambda: small("VAE", epochs=0).fit(X), "epochs must be .* got 0"),
    "hidden": (lambda: small("VAE", hidden=16).fit(X), "hidden must be .* got 16"),
    "weight decay": (
        lambda: small("VAE", weight_decay=-1).fit(X),
        "weight_decay must be a number >= 0 or 'auto', got -1",
    ),
    "optimizer": (lambda: small("VAE", optimizer="adma").fit(X), "optimizer must be one of adamw, sgd, got 'adma'"),
    "optimizer without a rate": (
        lambda: small("VAE", optimizer="sgd", learning_rate="auto").fit(X),
        "learning_rate must be a number where optimizer is 'sgd'",
    ),
    "learning rate": (lambda: small("VAE", learning_rate=-1).fit(X), "learning_rate must be .* got -1"),
    "endless learning rate": (
        lambda: small("VAE", learning_rate=1e300).fit(X),
        r"learning_rate must be at most 1e\+30, got 1e\+300",
    ),
    "warmup": (lambda: small("VAE", warmup=3.0).fit(X), "warmup must be .* got 3.0"),
    "unknown likelihood": (lambda: small("VAE", likelihood="nromal").fit(X), "Did you mean 'normal'"),
    "unknown prior": (lambda: small("VAE", prior="mixtur(3)").fit(X), "Did you mean 'mixture'"),
    "unknown corruption": (lambda: small("VAE", corruption="msk(0.1)").fit(X), "Did you mean 'mask'"),
    "unknown sparsity": (lambda: small("Autoencoder", sparsity="topk(1)").fit(X), "Did you mean 'top_k'"),
    "unknown scaling": (lambda: small("VAE", scaling="standart").fit(X), "Did you mean 'standard'"),
    "unknown activation": (lambda: small("VAE", activation="rleu").fit(X), "Did you mean 'relu'"),
    "unknown network": (lambda: small("VAE", network="cov").fit(X), "Did you mean 'conv'"),
    "a part that is code": (lambda: small("VAE", prior="__import__('os').abort()").fit(X), "must be a name"),
    "a part with words": (lambda: small("VAE", corruption="mask('a')").fit(X), "mask"),
    "too many arguments": (lambda: small("VAE", corruption="mask(1, 2, 3)").fit(X), r"must be mask\(p\)"),
    "chance above one": (lambda: small("VAE", corruption="mask(1.5)").fit(X), "from 0 to 1"),
    "blur of a table": (lambda: small("VAE", corruption="blur(1)").fit(X), "images"),
    "conv of a table": (lambda: small("VAE", network="conv").fit(X), "images"),
    "top_k of too few": (lambda: small("Autoencoder", sparsity="top_k(9)").fit(X), "from 1 to 3"),
    "GPU": (lambda: small("VAE", device="cuda").fit(X), "no GPU"),
    "device": (lambda: small("VAE", device="tpu").fit(X), "device must be .* got 'tpu'"),
    "precision": (lambda: small("VAE", precision="half").fit(X), "precision must be .* got 'half'"),
    "prior without condition": (lambda: small("VAE", prior="conditional").fit(X), "condition"),
    "condition of wrong length": (lambda: small("VAE").fit(X, condition=LABELS[:5]), "5 rows"),
    "lengths of a table": (lambda: small("VAE").fit(X, lengths=np.ones(90, int)), "lengths"),
    "prior of codes without a density": (lambda: small("Autoencoder", prior="mixture(3)").fit(X), "no density"),
    "corruption for a closed form": (lambda: small("ProbabilisticPCA", corruption="mask(0.1)").fit(X), "corruption"),
    "doubled names": (lambda: small("VAE").fit(pd.DataFrame(X, columns=list("abcda"))), "2 columns named 'a'"),
    "an empty column": (lambda: small("VAE").fit(X * [1, np.nan, 1, 1, 1]), "Drop the columns"),
    "a list of words": (lambda: small("VAE").fit([["a", "b"], ["c", "d"]]), "'a'"),
    "numbers too close": (lambda: small("VAE").fit(X * 1e-200), "must vary"),
    "counts too large": (lambda: small("VAE").fit(counts() + 2**60), "1e15"),
    "saving to no folder": (lambda: small("VAE", epochs=1).fit(X).save(""), "name of a folder"),
    "missing labels": (
        lambda: small("ConditionalVAE").fit(X, condition=pd.Series(["a", pd.NA, "b"] * 30, dtype="string")),
        "missing labels",
    ),
    "dates as labels": (lambda: small("ConditionalVAE").fit(X, condition=[date(2020, 1, 1)] * 90), "str\\(label\\)"),
    "device=None": (lambda: small("VAE", device=None).fit(X), "device must be .* got None"),
    "too many threads": (lambda: small("VAE", threads=10**9).fit(X), "threads must be .* got 1000000000"),
    "a layer larger than memory": (
        lambda: small("VAE", hidden=(10**12,)).fit(X),
        "hidden must be at most 1,000,000 wide",
    ),
    "a blur beyond all bounds": (lambda: small("VAE", corruption="blur(1e999)").fit(images()), "cannot be built"),
    "half a draw": (lambda: small("VAE", epochs=1).fit(X).score_samples(X, draws=2.5), "draws must be"),
    "target of another shape": (lambda: small("DenoisingAutoencoder").fit(X, target=X[:, :2]), "shape of X"),
    "five dimensions": (lambda: small("VAE").fit(np.zeros((4, 2, 2, 2, 2))), "shape"),
    "user's network of the wrong width": (
        lambda: small("VAE", encoder=nn.Linear(5, 7)).fit(X),
        r"encoder's output must have 2 x 3 numbers for each example, or be a pair \(mean, log_variance\) of 3",
    ),
}


@pytest.mark.parametrize("case", FITS)
def test_fit_rejects_bad_input_in_one_line(case):
    if case == "GPU" and torch.cuda.is_available():
        pytest.skip("a GPU is there")
    call, says = FITS[case]
    with pytest.raises(ValueError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.fixture(scope="module")
def plain():
    return small("VAE", epochs=1).fit(X)


@pytest.fixture(scope="module")
def conditional():
    return small("ConditionalVAE", epochs=1).fit(X, condition=LABELS)


def test_methods_reject_bad_input_in_one_line(plain, conditional):
    cases = [
        (lambda: plain.transform(X[:, :3]), "features"),
        (lambda: plain.transform(with_nan(X)), "NaN"),
        (lambda: plain.transform(np.full((3, 5), "a")), "'a'"),
        (lambda: plain.inverse_transform(np.zeros((3, 9))), r"\(n, 3\)"),
        (lambda: plain.inverse_transform(np.full((3, 3), np.nan)), "NaN"),
        (lambda: plain.sample(-1), "n must be an integer >= 0"),
        (lambda: plain.score_samples(X, draws=0), "draws must be"),
        (lambda: plain.score_samples(X[:0]), "0 sample"),
        (lambda: plain.fitted_.score(X[:0]), "X must have at least one row"),
        (lambda: isthmus.evaluate(plain, X[:0]), "X must have at least one row"),
        (lambda: isthmus.diagnose(plain, X, evaluation={}), "evaluation must be what evaluate returned, got dict"),
        (lambda: plain.transform(X, condition=LABELS), "must be None"),
        (lambda: conditional.transform(X), "Pass condition="),
        (lambda: conditional.transform(X, condition=LABELS + 7), "as in training"),
        (lambda: conditional.sample(4), "Pass condition="),
        (lambda: conditional.sample(4, condition="dog"), "as in training"),
        (lambda: small("VAE", epochs=1).fit(images()).transform(images(shape=(6, 4))), r"\(6, 5\)"),
    ]
    for call, says in cases:
        with pytest.raises(ValueError, match=says) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_bernoulli_on_grey_warns():
    with pytest.warns(UserWarning, match="not a density"):
        small("VAE", likelihood="bernoulli", epochs=1).fit(np.random.default_rng(0).random((60, 4)))


class Breaks(nn.Module):
    """A network that answers NaN from some call on."""

    def __init__(self, after: int):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.calls, self.after = nn.Linear(5, 6), 0, after

    def forward(self, x):
        self.calls += self.training
        return self.inner(x) * (float("nan") if self.calls > self.after else 1.0)


def test_a_number_that_is_not_finite_stops_the_run_and_keeps_the_weights(tmp_path):
    fields = {"validation_fraction": 0, "epochs": 3, "batch_size": 30}
    job = setup_training(small("VAE", encoder=Breaks(4), **fields), X)
    with pytest.raises(
        isthmus.TrainingError, match=r"step 5 of 9: the term 'nll' is not finite.*learning_rate"
    ) as caught:
        job.train(Checkpointer(tmp_path / "run"))
    assert "\n" not in str(caught.value)
    # The weights are those after four updates: a run that stops there by itself has the same.
    healthy = setup_training(small("VAE", encoder=Breaks(10**9), **fields), X)

    weights = {}

    class Watch(Checkpointer):
        def due(self):
            return True

        def save(self, trainer):
            if trainer.step == 4:
                weights.update({k: v.clone() for k, v in trainer.model.state_dict().items()})

    healthy.train(Watch(tmp_path / "healthy"))
    assert weights
    for name, value in job.recipe.model.state_dict().items():
        assert torch.equal(value, weights[name])
    assert all(torch.isfinite(p).all() for p in job.recipe.model.parameters())


def saved(folder: Path) -> Path:
    small("VAE", epochs=1).fit(X).save(folder)
    return folder


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def written_in(folder: Path, form: int) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"format": form, "versions": {"isthmus": "9.0"}}))


def edited(folder: Path, **fields) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["fields"] |= fields
    (folder / "config.json").write_text(json.dumps(config))


def huge_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 2**60) + b"{}")


DAMAGE = {
    "no folder": (lambda f: [p.unlink() for p in f.iterdir()] + [f.rmdir()], "no run at"),
    "no config": (lambda f: (f / "config.json").unlink(), "config.json"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
    "truncated weights": (lambda f: truncate(f / "model.safetensors"), "truncated"),
    "weights with a huge header": (lambda f: huge_header(f / "model.safetensors"), "truncated"),
    "empty weights": (lambda f: (f / "model.safetensors").write_bytes(b""), "truncated"),
    "a pickle": (lambda f: (f / "model.safetensors").write_bytes(b"\x80\x04cos\nsystem\n."), "truncated"),
    "truncated config": (lambda f: truncate(f / "config.json"), "not valid JSON"),
    "foreign config": (lambda f: (f / "config.json").write_text("[1, 2]"), "not a configuration"),
    "newer": (lambda f: written_in(f, 99), "Upgrade"),
    "older": (lambda f: written_in(f, 2), "Train it again"),
    "other size": (lambda f: edited(f, latent_dim=9), "does not fit"),
    "field of another version": (lambda f: edited(f, nonsense=1), "nonsense"),
    "a field that is code": (lambda f: edited(f, prior="__import__('os').abort()"), "must be a name"),
    "a field of another type": (lambda f: edited(f, hidden="many"), "hidden|damaged"),
    "another class": (
        lambda f: (f / "config.json").write_text((f / "config.json").read_text().replace('"VAE"', '"Vea"')),
        "Vea",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_loading_what_is_no_model(case, tmp_path, capsys):
    folder = saved(tmp_path / "run")
    damage, says = DAMAGE[case]
    damage(folder)
    with pytest.raises(isthmus.InputError, match=says) as caught:
        isthmus.load(folder)
    assert "\n" not in str(caught.value)
    assert main(["sample", str(folder), "-o", str(tmp_path / "x.npz")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["fitt"], "Did you mean 'fit'"),
        (["fit", "vea", "digits", "-o", "r"], "Did you mean 'vae'"),
        (["fit", "vae", "digts", "-o", "r"], "digits"),
        (["fit", "vae", "missing.npy", "-o", "r"], "missing.npy"),
        (["fit", "vae"], "DATA"),
        (["fit", "vae", "digits", "-o", "r", "--latent-dims", "3"], "Did you mean '--latent-dim'"),
        (
            ["fit", "vae", "digits", "-o", "r", "--latent-dim", "many"],
            "latent_dim must be an integer >= 1 or 'auto', got 'many'.",
        ),
        (
            ["fit", "vae", "digits", "-o", "r", "--latent-dim", "0"],
            "latent_dim must be an integer >= 1 or 'auto', got 0.",
        ),
        (["fit", "vae", "digits", "-o", "r", "--likelihood", "nromal"], "Did you mean 'normal'"),
        (["fit", "vae", "digits", "-o", "r", "--device", "cuda:9"], "GPU"),
        (["fit", "vae", "words.csv", "-o", "r"], "column"),
        (["fit", "vae", "nan.npy", "-o", "r"], "NaN"),
        (["fit", "--resume", "nowhere"], "no run at"),
        (["sample", "nowhere", "-o", "x.npz"], "no run at"),
        (["encode", "nowhere", "digits"], "-o"),
    ],
)
def test_failed_commands_print_one_line_and_leave_no_files(words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("nan.npy", with_nan(X))
    pd.DataFrame({"a": [1.0, 2, 3], "b": ["x", "y", "z"]}).to_csv("words.csv", index=False)
    before = sorted(tmp_path.rglob("*"))
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert says in captured.err
    assert "Traceback" not in captured.err
    assert sorted(tmp_path.rglob("*")) == before


def test_no_right_to_write(tmp_path, capsys, monkeypatch):
    tmp_path.chmod(0o500)
    if os.geteuid() == 0:  # root may write anywhere

        def refused(path, *arguments, **more):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr("os.mkdir", refused)
    assert main(["fit", "vae", "wine", "-o", str(tmp_path / "r"), "--epochs", "1"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "cannot write" in err
    assert list(tmp_path.iterdir()) == []


def test_a_run_among_its_own_data_is_refused(tmp_path, capsys):
    for i in range(4):
        Image.fromarray(np.full((8, 8), 60 * i, np.uint8)).save(tmp_path / f"{i}.png")
    assert main(["fit", "vae", str(tmp_path), "-o", str(tmp_path / "run"), "--epochs", "1"]) == 2
    assert "inside the data" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 4


def test_a_run_below_a_file_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["fit", "vae", "wine", "-o", str(tmp_path / "file" / "r"), "--epochs", "1"]) == 2
    assert main(["fit", "vae", "wine", "-o", str(tmp_path / "file"), "--epochs", "1"]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_no_room_to_write(tmp_path, monkeypatch, capsys, plain):
    def full(*arguments, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(isthmus.InputError, match="no space left"):
        plain.save(tmp_path / "run")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_disk_that_fills_up_while_training(tmp_path, monkeypatch, capsys):
    def full(tensors, metadata):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("isthmus.train.checkpoint.CHECKPOINT_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr("isthmus.train.tensor_file.save", full)
    assert main(["fit", "vae", "wine", "-o", str(tmp_path / "r"), "--epochs", "2"]) == 2
    result = capsys.readouterr().err
    assert "no space left" in result
    assert result.count("\n") == 1


def test_binarised_pixels_of_other_types():
    levels = (images() // 16).astype(np.uint8)
    model = small("VAE", epochs=1, binarize=True, levels=17).fit(levels)
    drawn = rows_of(model, np.repeat(levels, 50, 0), bits="fixed").batch(torch.arange(50 * len(levels))).x
    # 50 rows of the same values share their bits: the error is that of one draw a pixel.
    assert drawn.mean() == pytest.approx((levels / 16).mean(), abs=0.03)
    job = setup_training(small("VAE", binarize=True, levels=17), levels)
    fresh = torch.stack([job.to_device(job.train_rows).batch(torch.arange(81)).x.mean() for _ in range(50)]).mean()
    assert fresh == pytest.approx((job.train_rows.x / 16).mean(), abs=0.01)
    model = small("VAE", epochs=1, binarize=True).fit(images())
    assert model.score(images().astype(np.int64)) == model.score(images())
    with pytest.warns(UserWarning, match="astype"):
        model.transform(bits(d=30).reshape(-1, 6, 5))
    model = small("VAE", epochs=1, binarize=True).fit(images() / 255)
    with pytest.raises(isthmus.InputError, match="floats from 0 to 1"):
        model.transform(images())


def test_a_paired_validation_target_must_fit_the_likelihood():
    clean = bits(d=5).astype(float)
    held = {"X": X, "target": clean * 5}
    with pytest.raises(isthmus.InputError, match="validation rows"):
        small("VAE", likelihood="bernoulli").fit(X, target=clean, validation=held)


def test_labels_that_spell_numbers():
    model = small("ConditionalVAE", epochs=1).fit(X, condition=LABELS.astype(str))
    np.testing.assert_array_equal(
        model.transform(X, condition=LABELS), model.transform(X, condition=LABELS.astype(str))
    )


def test_precision_set_after_fit_waits_for_the_next(plain):
    model = copy.deepcopy(plain).set_params(precision="float64")
    np.testing.assert_array_equal(model.transform(X), plain.transform(X))


def test_data_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr("isthmus.train.device_data.free_memory", lambda device: 1000)
    with pytest.raises(isthmus.InputError, match="GiB"):
        small("VAE", epochs=1).fit(X)


def test_a_broken_off_write_leaves_the_old_file(tmp_path, plain, monkeypatch):
    plain.save(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}

    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        plain.save(tmp_path / "run")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_bits_as_bytes_stay_bits():
    model = small("VAE", epochs=1, binarize=True).fit(bits())
    assert model.sample(20, random_state=0).max() <= 1


def test_values_outside_the_training_support_are_refused():
    model = small("VAE", epochs=1).fit(bits())
    with pytest.raises(isthmus.InputError, match="training data had none"):
        model.transform(bits() * 200)
    model = small("VAE", epochs=1, levels=17).fit((images() // 16).astype(np.uint8))
    with pytest.raises(isthmus.InputError, match="training data had none"):
        model.score_samples(images())
    assert model.transform((images() // 16).astype(np.float64)).shape == (90, 3)


def test_binarised_pixels_are_scored_as_what_they_are():
    grey = images()
    model = small("VAE", epochs=2, binarize=True).fit(grey)
    drawn = np.random.default_rng(0).random(grey.shape) < grey / 255
    expected = model.score_samples(drawn, draws=20)
    np.testing.assert_array_equal(model.score_samples(drawn.astype(np.float32), draws=20), expected)
    # The same bits as white and black bytes.
    np.testing.assert_array_equal(model.score_samples(drawn.astype(np.uint8) * 255, draws=20), expected)
    # The encoder reads bits of the same size whatever they are stored as.
    np.testing.assert_array_equal(model.transform(drawn), model.transform(drawn.astype(np.uint8) * 255))


@pytest.mark.parametrize(("shape", "said"), [((40, 3, 8, 8), True), ((40, 1, 8, 8), True), ((40, 8, 8, 3), False)])
def test_channels_that_come_first_are_warned_of(shape, said):
    x = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        small("Autoencoder", epochs=1).fit(x)
    assert any("(c, h, w)" in str(warning.message) for warning in told) == said
