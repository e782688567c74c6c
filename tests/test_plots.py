"""The pictures of a run: which are drawn, how large, from what, and that drawing leaves nothing behind."""

from __future__ import annotations

import runpy
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

import isthmus
from isthmus.errors import InputError
from isthmus.report import display, plots, style
from isthmus.report.display import as_images, flattened, form_of, grey_range, groups_of, shown_rows, unpadded
from isthmus.report.style import grid_of, sheet_of
from isthmus.schema import Schema

FAST = {"latent_dim": 3, "hidden": (8,), "epochs": 2, "random_state": 0, "threads": 1}
ALL = ["reconstructions.png", "samples.png", "latent.png", "curves.png"]
LABELS = np.arange(40) % 4


def rows_of(shape: tuple[int, ...], dtype: str = "float32", n: int = 40) -> np.ndarray:
    """Rows that are not all the same: bytes up to 16, floats of either sign."""
    random = np.random.default_rng(0)
    return random.integers(0, 17, (n, *shape)).astype(dtype) if dtype == "uint8" else random.normal(size=(n, *shape))


def size_of(path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


@pytest.mark.parametrize(
    ("shape", "dtype", "fields"),
    [
        ((4,), "float32", {}),
        ((12,), "float32", {"latent_dim": 1}),
        ((64,), "uint8", {"levels": 17}),
        ((5, 7), "uint8", {"levels": 17, "latent_dim": 2}),
        ((6, 5, 3), "float32", {}),
    ],
)
def test_every_event_shape_gives_all_pictures(tmp_path, shape, dtype, fields):
    x = rows_of(shape, dtype)
    model = isthmus.VAE(**FAST | fields).fit(x)
    paths = plots.draw(model, x, tmp_path, y=LABELS)
    assert [path.name for path in paths] == ALL
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(ALL)  # no partial files
    for path in paths:
        assert min(size_of(path)) > 200
        with Image.open(path) as picture:
            assert len(picture.convert("L").getcolors(256)) > 8  # something is on it


@pytest.mark.parametrize(("features", "corruption"), [(1, None), (4, "mask(0.3)")])
def test_padded_sequences_are_drawn_and_their_padding_is_not(tmp_path, features, corruption):
    x, lengths = rows_of((12, features)), np.arange(40) % 8 + 5
    model = isthmus.VAE(**FAST, corruption=corruption).fit(x, lengths=lengths)
    first = [path.read_bytes() for path in plots.draw(model, x, tmp_path / "a", lengths=lengths)]
    garbage = np.where(np.arange(12)[:, None] >= lengths[:, None, None], 1e6, x)
    again = [path.read_bytes() for path in plots.draw(model, garbage, tmp_path / "b", lengths=lengths)]
    assert len(first) == 4
    assert first == again


def test_a_model_without_a_density_or_a_history_has_fewer_pictures(tmp_path):
    x = rows_of((6, 6), "uint8")
    model = isthmus.Autoencoder(**FAST).fit(x)
    assert [path.name for path in plots.draw(model, x, tmp_path)] == ["reconstructions.png", "latent.png", "curves.png"]
    exact = isthmus.ProbabilisticPCA(latent_dim=2).fit(rows_of((5,)))
    assert [path.name for path in plots.draw(exact, rows_of((5,)), tmp_path)] == ALL[:3]


def test_a_denoising_model_shows_a_third_row(tmp_path):
    x = rows_of((8, 8), "uint8")
    plain, denoising = isthmus.Autoencoder(**FAST).fit(x), isthmus.DenoisingAutoencoder(**FAST).fit(x)
    heights = [size_of(plots.draw(model, x, tmp_path)[0])[1] for model in (plain, denoising)]
    assert heights[1] - heights[0] == 96 + 6  # one more image, and a gap
    views = plots.views_of(denoising, plots.held_rows(x, None, None, None, "rows"), 0)
    assert list(views) == ["original", "damaged", "cleaned"]
    changed = ~np.isclose(views["damaged"], views["original"], atol=1e-3)
    assert 0.2 < changed.mean() < 0.4  # mask(0.3)
    assert np.allclose(views["damaged"][changed], 0, atol=1e-4)  # black, whatever the scaling
    assert not np.allclose(views["cleaned"], denoising.reconstruct(x))  # it is the damaged row that is cleaned


@pytest.mark.parametrize("condition", [LABELS, np.array(["a", "b", "c", "d"])[LABELS], np.linspace(0, 1, 40)])
def test_conditional_models(tmp_path, condition):
    x = rows_of((6, 6), "uint8")
    model = isthmus.ConditionalVAE(**FAST, levels=17).fit(x, condition=condition)
    samples = plots.draw(model, x, tmp_path, condition=condition)[1]
    rows = 8 if condition.dtype.kind == "f" else 4
    image, gap = 96, 6
    assert size_of(samples)[1] == 24 + 26 + rows * (image + gap) - gap + 24


def test_the_same_call_draws_the_same_bytes_and_leaves_the_generators_alone(tmp_path):
    import torch

    x = rows_of((6, 6), "uint8")
    model = isthmus.VAE(**FAST, corruption="mask(0.5)").fit(x)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = [path.read_bytes() for path in plots.draw(model, x, tmp_path, y=LABELS, seed=3)]
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert first == [path.read_bytes() for path in plots.draw(model, x, tmp_path, y=LABELS, seed=3)]
    assert first[0] != plots.draw(model, x, tmp_path, y=LABELS, seed=4)[0].read_bytes()


def test_pyplot_with_its_global_state_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it now fails
    for module in (style, display, plots):
        runpy.run_path(module.__file__)
    x = rows_of((3,))
    assert len(plots.draw(isthmus.VAE(**FAST).fit(x), x, tmp_path)) == 4


def test_tables_with_awkward_names_and_labels(tmp_path):
    import pandas as pd

    table = pd.DataFrame(rows_of((3,)), columns=["$a_{", "_hidden", "x" * 60])
    model = isthmus.VAE(**FAST).fit(table)
    words = np.array(["$", "_under", "b" * 50, "$x^$"])[LABELS]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(plots.draw(model, table, tmp_path, y=words)) == 4


def test_few_rows_and_wrong_ones(tmp_path):
    x = rows_of((6, 6), "uint8")
    model = isthmus.VAE(**FAST).fit(x)
    assert len(plots.draw(model, x[:1], tmp_path, y=LABELS[:1])) == 4
    with pytest.raises(InputError, match="3 rows; one label a row"):
        plots.draw(model, x[:3], tmp_path, y=LABELS)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        plots.draw(model, x, tmp_path / "file")


@pytest.mark.parametrize(
    ("schema", "form"),
    [
        (Schema.homogeneous((28, 28), "levels", "uint8"), "image"),
        (Schema.homogeneous((784,), "levels", "uint8"), "image"),
        (Schema.homogeneous((784,), "real", "float32"), "table"),
        (Schema.homogeneous((36,), "unit", "float64", names=tuple(f"c{i}" for i in range(36))), "table"),
        (Schema.homogeneous((64,), "unit", "float64", names=tuple(f"pixel_{i}" for i in range(64))), "image"),
        (Schema.homogeneous((25,), "binary", "uint8"), "table"),
        (Schema.homogeneous((30, 2), "real", "float32", sequence=True), "sequence"),
    ],
)
def test_form(schema, form):
    assert form_of(schema) == form


@pytest.mark.parametrize(
    ("schema", "span"),
    [
        (Schema.homogeneous((2, 2), "levels", "uint8", levels=17, scale=np.asarray(16.0)), (0, 16)),
        (Schema.homogeneous((2, 2), "levels", "uint8", binarize=True, scale=np.asarray(255.0)), (0, 255)),
        (Schema.homogeneous((2, 2), "unit", "float32"), (0, 1)),
        (Schema.homogeneous((2, 2), "counts", "int64"), (0, 5)),
        (Schema.homogeneous((2, 2), "real", "float32"), (2, 5)),
    ],
)
def test_grey_range_follows_the_schema_not_the_rows(schema, span):
    x = np.array([[[2.0, 3.0], [5.0, np.nan]]])
    assert grey_range(schema, x) == span
    images = as_images(np.full((1, 2, 2), span[1] * 2.0), schema, span)
    assert images.shape == (1, 2, 2, 3)
    assert (images == 1).all()


def test_sheet_keeps_pixels_square_and_whole():
    figure = sheet_of(np.zeros((10, 28, 28, 3)), 5, "title")
    box = figure.axes[0].get_position()
    width, height = figure.get_size_inches() * figure.dpi
    assert round(box.width * width, 6) == 3 * (5 * 28 + 4 * 2)
    assert round(box.height * height, 6) == 3 * (2 * 28 + 1 * 2)


@pytest.mark.parametrize("n", range(1, 20))
def test_grid_has_room_for_all_and_no_empty_row(n):
    rows, columns = grid_of(n)
    assert rows * columns >= n > (rows - 1) * columns
    assert columns >= rows


def test_rows_are_shown_of_every_class():
    labels = np.array([0] * 90 + [1] * 8 + [2] * 2)
    picked = shown_rows(100, 9, groups_of(labels), 0)
    assert np.bincount(labels[picked]).tolist() == [4, 3, 2]
    assert (np.diff(labels[picked]) >= 0).all()
    assert len(set(picked.tolist())) == 9
    assert set(picked.tolist()) != set(shown_rows(100, 9, groups_of(labels), 1).tolist())


def test_groups_of_labels():
    assert [name for name, _ in groups_of(np.array([1.0, np.nan, 0.0]))] == ["0", "1", "unlabelled"]
    assert groups_of(np.arange(50)) == []
    many = groups_of(np.array([f"w{i % 20:02}" for i in range(100)]))
    assert len(many) == 10
    assert many[-1][0] == "others"
    assert sum(mask.sum() for _, mask in many) == 100


def test_latent_axes_are_the_principal_ones():
    from sklearn.decomposition import PCA

    codes = np.random.default_rng(0).normal(size=(50, 5)) * [1, 4, 1, 2, 1]
    places, names = flattened(codes)
    pca = PCA(2).fit(codes)
    assert np.allclose(np.abs(places), np.abs(pca.transform(codes)))
    assert [f"({share:.0%} of" in name for share, name in zip(pca.explained_variance_ratio_, names)] == [True, True]
    assert flattened(codes[:, :1])[1] == ["code 1"]
    assert flattened(np.zeros((4, 3)))[0].shape == (4, 2)  # a collapsed model


def test_padding_is_not_a_number():
    blank = unpadded(np.ones((2, 4, 3)), np.array([1, 4]))
    assert np.isnan(blank).sum() == 9


def history() -> list[dict[str, float]]:
    """A falling term with a huge start, a rising one, a weight that rises, validation on every fifth epoch."""
    records = []
    for epoch in range(1, 101):
        record = {"epoch": epoch, "step": epoch, "progress": epoch / 100, "seconds": 1.0, "loss": 1.0}
        record |= {"nll": 50 + 1e6 * (epoch < 4) + 10 / epoch, "kl": min(1, epoch / 10), "weight_kl": min(1, epoch / 9)}
        if epoch % 5 == 0:
            record |= {"valid_loss": 2.0, "valid_nll": 60.0, "valid_kl": 1.0}
        records.append(record)
    return records


def test_curves():
    figure = plots.curves(history())
    titles = [axis.get_title(loc="left").split(":")[0] for axis in figure.axes[:3]]
    assert titles == ["loss", "nll", "kl"]
    assert len(figure.axes) == 4  # and the weight's own scale
    training, validation = figure.axes[1].lines
    assert len(training.get_xdata()) == 100
    assert list(validation.get_xdata()) == list(range(5, 101, 5))
    low, high = figure.axes[1].get_ylim()
    assert 48 < low < 51
    assert 60 < high < 65  # the start does not flatten the rest
    assert figure.axes[2].get_ylabel() == "nats"


def test_curves_of_a_single_epoch_and_a_single_term():
    figure = plots.curves([{"epoch": 1, "loss": 3.0, "nll": 3.0, "weight_nll": 2.0}])
    assert len(figure.axes) == 1
    assert figure.axes[0].get_title(loc="left").endswith("weight 2")
