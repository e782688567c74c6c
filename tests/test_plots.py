"""Figures: one for every kind of model and data, the same from Python as in a report, and no global state."""

from __future__ import annotations

import dataclasses
import io
import re
import runpy
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

import isthmus
from isthmus.errors import InputError
from isthmus.examples import Examples
from isthmus.persistence.run_files import PICTURES
from isthmus.plot import reconstruction, style
from isthmus.plot.context import PlotContext, distance_to_known
from isthmus.plot.display import (
    as_images,
    choose_rows,
    display_kind,
    label_groups,
    nan_padding,
    project_2d,
    value_range,
)
from isthmus.plot.figures import FIGURES, draw_all
from isthmus.plot.style import grid_of, image_sheet, resized, save
from isthmus.plot.training_curves import Curves, alt, caption
from isthmus.plot.training_curves import draw as draw_curves
from isthmus.schema import Schema
from models import small, table

FAST = {"latent_dim": 3, "hidden": (8,), "epochs": 2, "random_state": 0, "threads": 1}
GRID = pytest.mark.grid
LABELS = np.arange(40) % 4
TABLE_ONLY_LISTED = {"extremes"}
NEEDS_PRIOR = {"samples"}


def rows_of(shape: tuple[int, ...], dtype: str = "float32", n: int = 40) -> np.ndarray:
    """Rows that are not all the same: bytes up to 16, floats of either sign."""
    random = np.random.default_rng(0)
    return random.integers(0, 17, (n, *shape)).astype(dtype) if dtype == "uint8" else random.normal(size=(n, *shape))


def pixels(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=40, metadata={"Software": None})
    return out.getvalue()


def all_figures(model, x, y=None, **kwargs) -> tuple[dict[str, bytes], set[str]]:
    """Every figure from Python by name, drawn, and the names of those that are refused."""
    figures, refused = {}, set()
    for name in isthmus.plot.__all__:
        function = getattr(isthmus.plot, name)
        arguments = (model,) if name == "curves" else (model, x)
        extra = {} if name == "curves" else dict(kwargs)
        extra |= {"y": y} if name in ("latent", "reconstructions") else {}
        extra |= {"draws": 5} if name in ("scores", "extremes") else {}
        try:
            figures[name] = function(*arguments, **extra)
        except InputError:
            refused.add(name)
    drawn = {name: pixels(figure) for name, figure in figures.items()}
    assert all(len(picture) > 1000 for picture in drawn.values())
    return drawn, refused


def test_every_figure_is_a_public_function():
    assert set(isthmus.plot.__all__) == set(FIGURES)
    assert "plot" in dir(isthmus)
    assert {name.removesuffix(".png") for name in PICTURES} <= set(FIGURES)


def test_a_figure_that_is_only_in_the_table_is_a_public_function_too(monkeypatch):
    monkeypatch.setitem(FIGURES, "again", dataclasses.replace(FIGURES["latent"], name="again", title="Again"))
    assert "again" in dir(isthmus.plot)
    model = small("VAE", **FAST).fit(table())
    assert isinstance(isthmus.plot.again(model, table(), random_state=1), Figure)
    assert isthmus.plot.again.__doc__.startswith("Again")
    with pytest.raises(AttributeError, match="no attribute 'never'"):
        _ = isthmus.plot.never


@pytest.mark.parametrize(
    ("shape", "dtype", "fields"),
    [
        ((4,), "float32", {}),
        pytest.param((12,), "float32", {"latent_dim": 1}, marks=GRID),
        ((64,), "uint8", {"levels": 17}),
        pytest.param((5, 7), "uint8", {"levels": 17, "latent_dim": 2}, marks=GRID),
        ((6, 5, 3), "float32", {}),
    ],
)
def test_tables_and_images(shape, dtype, fields):
    x = rows_of(shape, dtype)
    _, refused = all_figures(isthmus.VAE(**FAST | fields).fit(x), x, LABELS)
    assert refused == (TABLE_ONLY_LISTED if len(shape) == 1 and dtype != "uint8" else set())


@pytest.mark.parametrize(("features", "corruption"), [pytest.param(1, None, marks=GRID), (4, "mask(0.3)")])
def test_padded_sequences_are_drawn_and_their_padding_is_not(features, corruption):
    x, lengths = rows_of((12, features)), np.arange(40) % 8 + 5
    model = isthmus.VAE(**FAST, corruption=corruption).fit(x, lengths=lengths)
    drawn, refused = all_figures(model, x, lengths=lengths)
    assert not refused
    garbage = np.where(np.arange(12)[:, None] >= lengths[:, None, None], 1e6, x)
    again, _ = all_figures(model, garbage, lengths=lengths)
    assert drawn == again


@pytest.mark.parametrize(
    "condition", [pytest.param(LABELS, marks=GRID), np.array(["a", "b", "c", "d"])[LABELS], np.linspace(0, 1, 40)]
)
def test_conditional_models(condition):
    x = rows_of((6, 6), "uint8")
    model = isthmus.ConditionalVAE(**FAST, levels=17).fit(x, condition=condition)
    _, refused = all_figures(model, x, LABELS, condition=condition)
    assert not refused
    assert isinstance(isthmus.plot.samples(model, condition=condition[0]), Figure)
    assert isinstance(isthmus.plot.traversal(model, condition=condition[0]), Figure)
    if condition.dtype.kind == "f":
        with pytest.raises(InputError, match="condition must be given"):
            isthmus.plot.samples(model)
    else:  # a column for each class
        names = [text.get_text() for text in isthmus.plot.samples(model).axes[0].texts]
        assert names == [str(label) for label in np.unique(condition)]


def test_models_without_a_prior_or_a_history():
    x = rows_of((6, 6), "uint8")
    model = isthmus.Autoencoder(**FAST).fit(x)
    _, refused = all_figures(model, x)
    assert refused == NEEDS_PRIOR
    with pytest.raises(InputError, match="X must be given for Autoencoder"):
        isthmus.plot.traversal(model)
    exact = isthmus.ProbabilisticPCA(latent_dim=2).fit(rows_of((5,)))
    _, refused = all_figures(exact, rows_of((5,)))
    assert refused == {"curves", *TABLE_ONLY_LISTED}


def test_samples_and_traversals_need_no_rows():
    for x in (rows_of((6, 6), "uint8"), rows_of((4,))):
        model = isthmus.VAE(**FAST).fit(x)
        assert isinstance(isthmus.plot.samples(model), Figure)
        assert isinstance(isthmus.plot.traversal(model), Figure)


def test_a_map_of_codes_shows_all_rows_coloured_by_class_or_number():
    x = rows_of((4,), n=2100)
    model = isthmus.VAE(**FAST).fit(x)
    number = pd.Series(np.linspace(0, 1, len(x)), name="size")
    number.iloc[:3] = np.nan
    figure = isthmus.plot.latent(model, x, number)
    maps, bar = figure.axes[:2], figure.axes[2]
    assert bar.get_ylabel() == "size"
    for axis in maps:
        grey, coloured = axis.collections
        assert (len(grey.get_offsets()), len(coloured.get_offsets())) == (3, 2097)
        assert coloured.get_array().tolist() == number.iloc[3:].tolist()
        assert coloured.get_rasterized()  # so many points are a picture inside an SVG
    classes = isthmus.plot.latent(model, x, np.array(["a", "b"])[np.arange(len(x)) % 2])
    assert [text.get_text() for text in classes.legends[0].texts] == ["a", "b"]
    assert sum(len(points.get_offsets()) for points in classes.axes[0].collections) == len(x)
    one = isthmus.VAE(**{**FAST, "latent_dim": 1}).fit(x)
    assert isthmus.plot.latent(one, x, number).axes[0].get_ylabel() == "size"


def test_words_of_a_map_say_how_far_the_colour_follows_the_codes():
    x = table(200)
    model = isthmus.VAE(**FAST).fit(x)
    rows = model.fitted_.check(x)

    def drawn(values, name="size"):
        return FIGURES["latent"].drawn(PlotContext(model.fitted_, rows, coloured_by=(values, name)))

    code = drawn(model.transform(x) @ np.ones(3))
    noise = drawn(np.random.default_rng(0).normal(size=200))
    found = [re.search(r"On average (−?)(\d+)% of the variance", one.caption) for one in (code, noise)]
    shares = [int(match[2]) * (-1 if match[1] else 1) for match in found]
    assert shares[0] > 50 > 20 > shares[1]
    assert "Correlation with size:" in code.alt
    assert "which the model did not see" in code.caption
    assert "from −" in noise.caption
    unknown = drawn(np.where(np.arange(200) < 5, np.nan, 1.0 * np.arange(200)))
    assert "grey where there is no number (5 rows)" in unknown.caption


def test_an_interpolation_connects_the_first_two_rows():
    x = rows_of((4,))
    model = isthmus.VAE(**FAST).fit(x)
    line = isthmus.plot.interpolation(model, x).axes[0].lines[0].get_ydata()
    ends = model.reconstruct(x[:2])[:, 0]
    assert np.allclose(line[[0, -1]], ends, atol=1e-5)
    codes = model.transform(x[:2])
    middle = model.inverse_transform(codes[:1] + (codes[1:] - codes[:1]) * np.linspace(0, 1, len(line))[3])
    assert np.allclose(line[3], middle[0, 0], atol=1e-5)
    with pytest.raises(InputError, match="pairs must be positions"):
        isthmus.plot.interpolation(model, x, pairs=[(0, 40)])
    with pytest.raises(InputError, match="two rows"):
        isthmus.plot.interpolation(model, x[:1])


def test_a_denoising_model_shows_what_is_corrupted():
    x = rows_of((8, 8), "uint8")
    denoising = isthmus.DenoisingAutoencoder(**FAST).fit(x)
    names = [text.get_text() for text in isthmus.plot.reconstructions(denoising, x).axes[0].texts]
    assert names == ["original", "corrupted", "cleaned"]
    context = PlotContext(denoising.fitted_, denoising.fitted_.check(x))
    views = reconstruction.views_of(context, context.shown)
    changed = ~np.isclose(views["corrupted"], views["original"], atol=1e-3)
    assert 0.2 < changed.mean() < 0.4  # mask(0.3)
    assert np.allclose(views["corrupted"][changed], 0, atol=1e-4)  # black, whatever the scaling
    assert not np.allclose(views["cleaned"], denoising.reconstruct(x))  # what is decoded is the corrupted row's code


def test_pca_is_drawn_beside_reconstructions_where_training_rows_are_known():
    x = rows_of((6, 6), "uint8")
    model = isthmus.VAE(**FAST).fit(x)
    texts = isthmus.plot.reconstructions(model, x, train=x).axes[0].texts
    assert [text.get_text() for text in texts] == ["original", "reconstruction", "PCA"]


def test_the_same_arguments_give_the_same_figure_and_leave_the_generators_alone():
    import torch

    x = rows_of((6, 6), "uint8")
    model = isthmus.VAE(**FAST, corruption="mask(0.5)").fit(x)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = pixels(isthmus.plot.reconstructions(model, x, LABELS, random_state=3))
    assert pixels(isthmus.plot.samples(model)) == pixels(isthmus.plot.samples(model))
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert first == pixels(isthmus.plot.reconstructions(model, x, LABELS, random_state=3))
    assert first != pixels(isthmus.plot.reconstructions(model, x, LABELS, random_state=4))


def test_pyplot_with_its_global_state_is_not_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it now fails
    for path in Path(style.__file__).parent.glob("*.py"):
        runpy.run_path(str(path))
    x = rows_of((3,))
    assert all_figures(isthmus.VAE(**FAST).fit(x), x)[1] == TABLE_ONLY_LISTED


def test_tables_with_awkward_names_and_labels():
    import pandas as pd

    frame = pd.DataFrame(rows_of((3,)), columns=["$a_{", "_hidden", "x" * 60])
    model = isthmus.VAE(**FAST).fit(frame)
    words = np.array(["$", "_under", "b" * 50, "$x^$"])[LABELS]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all_figures(model, frame, words)[1] == TABLE_ONLY_LISTED


def test_few_rows_and_wrong_ones(tmp_path):
    x = rows_of((6, 6), "uint8")
    model = isthmus.VAE(**FAST).fit(x)
    _, refused = all_figures(model, x[:1], LABELS[:1])
    assert refused == {"interpolation", "extremes"}
    with pytest.raises(InputError, match=r"y must be \(3,\) labels"):
        isthmus.plot.latent(model, x[:3], LABELS)
    with pytest.raises(InputError):
        isthmus.plot.latent(model, x[:, :3])
    with pytest.raises(InputError, match="must be fitted"):
        isthmus.plot.latent(isthmus.VAE(), x)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        save(isthmus.plot.samples(model), tmp_path / "file" / "samples.png")


def test_captions_and_text_alternatives_say_what_is_shown():
    x = rows_of((6, 6), "uint8")
    model = isthmus.VAE(**FAST).fit(x)
    drawn, unavailable = draw_all(PlotContext(model.fitted_, model.fitted_.check(x, y=LABELS), draws=5))
    assert not unavailable
    for figure in drawn.values():
        for text in (figure.caption, figure.alt):
            assert len(text) > 30
            assert text.endswith(".")
            assert "nan" not in text.split()
    assert "Nearby points have similar codes." in drawn["latent"].caption
    assert "the model overfits" in drawn["curves"].caption


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [((6, 6), "uint8", "Sheet of images"), ((12, 1), "float32", "Line plots of sequences"), ((4,), "float32", "")],
    ids=["images", "sequences", "table"],
)
def test_a_text_alternative_says_what_a_picture_is_and_how_it_is_laid_out(shape, dtype, words):
    x = rows_of(shape, dtype)
    more = {"lengths": np.full(len(x), 12)} if len(shape) == 2 and dtype == "float32" else {}
    model = isthmus.VAE(**FAST).fit(x, **more)
    rows = model.fitted_.check(x, None, more.get("lengths"), y=LABELS)
    texts = {name: one.alt for name, one in draw_all(PlotContext(model.fitted_, rows, draws=5))[0].items()}
    sheets = {"reconstructions", "samples", "traversal", "interpolation", "extremes"} & set(texts)
    if words:
        assert all(texts[name].startswith(words) for name in sheets)
    else:
        assert texts["reconstructions"].startswith("Scatter plots of reconstructed against original values")
        assert texts["samples"].startswith("Histograms of the columns of 2,000 samples")
        assert texts["traversal"].startswith("Line plots of the decoded columns")
    if dtype == "uint8":
        assert "from top to bottom: original, reconstruction." in texts["reconstructions"]
        assert "below each the nearest row" in texts["samples"]
        assert "the least typical above the most typical" in texts["extremes"]
    assert texts["latent"].startswith("Two scatter plots side by side, 40 rows each.")
    assert texts["curves"].startswith("3 line plots of the loss by epoch; 2 epochs")


# --------------------------------------------------------------------- contexts


def test_the_nearest_training_row_is_found_across_blocks(monkeypatch):
    monkeypatch.setattr("isthmus.plot.context.COMPARED_AT_ONCE", 7)
    x = table(60)
    model = small("VAE", epochs=1).fit(x)
    near, distances, name = PlotContext(model.fitted_, Examples(x), Examples(x)).nearest(x[[3, 20, 59]] + 1e-3)
    assert np.array_equal(near, x[[3, 20, 59]])
    assert name == "training row"
    assert distances == pytest.approx(5e-6, rel=0.1)  # five columns, each off by 1e-3; the rest is cancellation


def test_distances_leave_out_what_is_not_known():
    row, block = np.ones((4, 2)), np.zeros((2, 4, 2))
    block[0, 2:] = np.nan  # padding, or missing values
    assert distance_to_known(row, block).tolist() == [8.0, 8.0]


def test_pca_is_pca():
    x = table(60)
    model = small("VAE", epochs=1, scaling="global").fit(x)
    exact = PCA(3).fit(x)
    made = PlotContext(model.fitted_, Examples(x), Examples(x)).reconstruct_by_pca(Examples(x))
    assert np.allclose(made, exact.inverse_transform(exact.transform(x)))


# ------------------------------------------------------------------------ parts


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        (Schema.homogeneous((28, 28), "levels", "uint8"), "image"),
        (Schema.homogeneous((784,), "levels", "uint8"), "image"),
        (Schema.homogeneous((784,), "real", "float32"), "table"),
        (Schema.homogeneous((36,), "unit", "float64", names=tuple(f"c{i}" for i in range(36))), "table"),
        (Schema.homogeneous((64,), "unit", "float64", names=tuple(f"pixel_{i}" for i in range(64))), "image"),
        (Schema.homogeneous((25,), "binary", "uint8"), "table"),
        (Schema.homogeneous((30, 2), "real", "float32", sequence=True), "lines"),
        (Schema.homogeneous((30, 4), "real", "float32", sequence=True), "heat"),
    ],
)
def test_display_kind(schema, kind):
    assert display_kind(schema) == kind


@pytest.mark.parametrize(
    ("schema", "span"),
    [
        (Schema.homogeneous((2, 2), "levels", "uint8", levels=17, scale=np.asarray(16.0)), (0, 16)),
        (Schema.homogeneous((2, 2), "levels", "uint8", binarize=True, scale=np.asarray(255.0)), (0, 255)),
        (Schema.homogeneous((2, 2), "unit", "float32"), (0, 1)),
        (Schema.homogeneous((2, 2), "counts", "int64", high=np.asarray(5.0)), (0, 5)),
        (Schema.homogeneous((2, 2), "real", "float32", low=np.asarray(-1.0), high=2.0, shift=np.asarray(3.0)), (2, 5)),
    ],
)
def test_grey_values_follow_the_schema_not_the_rows(schema, span):
    assert value_range(schema) == span
    images = as_images(np.full((1, 2, 2), span[1] * 2.0), schema)
    assert images.shape == (1, 2, 2, 4)
    assert (images == 1).all()
    assert (as_images(np.full((1, 2, 2), np.nan), schema)[..., 3] == 0).all()  # transparent


@pytest.mark.parametrize("side", [2, 8, 11, 40])
def test_small_pictures_keep_their_pixels(side):
    x = np.random.default_rng(0).random((3, side, side, 4))
    large = resized(x, 96)
    factor = 96 // side
    assert large.shape == (3, factor * side, factor * side, 4)
    assert (large[:, ::factor, ::factor] == x).all()
    assert len(np.unique(large[..., 0])) == 3 * side**2  # nothing in between


def test_sheet_keeps_pixels_square_and_whole():
    figure = image_sheet(np.zeros((10, 28, 28, 4)), 5, "title")
    box = figure.axes[0].get_position()
    width, height = figure.get_size_inches() * figure.dpi
    assert round(box.width * width, 6) == 5 * 84 + 4 * 6
    assert round(box.height * height, 6) == 2 * 84 + 6


@pytest.mark.parametrize("n", range(1, 20))
def test_grid_has_room_for_all_and_no_empty_row(n):
    rows, columns = grid_of(n)
    assert rows * columns >= n > (rows - 1) * columns
    assert columns >= rows


def test_rows_are_shown_of_every_class():
    labels = np.array([0] * 90 + [1] * 8 + [2] * 2)
    picked = choose_rows(100, 9, label_groups(labels), 0)
    assert np.bincount(labels[picked]).tolist() == [4, 3, 2]
    assert (np.diff(labels[picked]) >= 0).all()
    assert len(set(picked.tolist())) == 9
    assert set(picked.tolist()) != set(choose_rows(100, 9, label_groups(labels), 1).tolist())


def test_groups_of_labels():
    assert [name for name, _ in label_groups(np.array([1.0, np.nan, 0.0]))] == ["0", "1", "unlabelled"]
    assert label_groups(np.arange(50)) == []
    many = label_groups(np.array([f"w{i % 20:02}" for i in range(100)]))
    assert len(many) == 10
    assert many[-1][0] == "others"
    assert sum(mask.sum() for _, mask in many) == 100


def test_latent_axes_are_the_principal_ones():
    from sklearn.decomposition import PCA

    codes = np.random.default_rng(0).normal(size=(50, 5)) * [1, 4, 1, 2, 1]
    places, names = project_2d(codes)
    pca = PCA(2).fit(codes)
    assert np.allclose(np.abs(places), np.abs(pca.transform(codes)))
    assert [f"({share:.0%} of" in name for share, name in zip(pca.explained_variance_ratio_, names)] == [True, True]
    assert project_2d(codes[:, :1])[1] == ["z1"]
    assert project_2d(np.zeros((4, 3)))[0].shape == (4, 2)  # a collapsed model


def test_padding_is_not_a_number():
    blank = nan_padding(np.ones((2, 4, 3)), np.array([1, 4]))
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
    figure = draw_curves(Curves(history()))
    titles = [axis.get_title(loc="left").split(":")[0] for axis in figure.axes[:3]]
    assert titles == ["loss", "nll", "kl"]
    assert len(figure.axes) == 4  # and the weight's own scale
    training, validation, best = figure.axes[1].lines
    assert set(best.get_xdata()) == {5}
    assert best.get_label() == "best epoch: 5"
    assert len(training.get_xdata()) == 100
    assert list(validation.get_xdata()) == list(range(5, 101, 5))
    low, high = figure.axes[1].get_ylim()
    assert 48 < low < 51
    assert 60 < high < 65  # the start does not flatten the rest
    assert figure.axes[2].get_ylabel() == "nats"


@pytest.mark.parametrize("said", [caption, alt])
def test_words_of_curves_name_the_bound_the_run_and_the_best_epoch(said):
    text = said(Curves(history(), bound=300)).lower()
    assert "stopped early after 100 of at most 300 epochs; the weights of epoch 5, the best in validation" in text
    start = [*history()[:-1], {**history()[-1], "kept_start": True}]
    assert "100 epochs; no better than the linear model that it started at" in said(Curves(start, bound=100)).lower()
    assert len(draw_curves(Curves(start)).axes[1].lines) == 2  # the start is no epoch


def test_curves_of_a_single_epoch_and_a_single_term():
    figure = draw_curves(Curves([{"epoch": 1, "loss": 3.0, "nll": 3.0, "weight_nll": 2.0}]))
    assert len(figure.axes) == 1
    assert figure.axes[0].get_title(loc="left").endswith("weight 2")
