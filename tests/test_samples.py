"""Sample quality and memorization against cases where the answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2, mannwhitneyu, norm
from sklearn.datasets import load_digits

from isthmus.errors import InputError
from isthmus.metrics import features
from isthmus.metrics import sample_quality as quality_module
from isthmus.metrics.features import fit_standardizer, learned_features
from isthmus.metrics.memorization import mann_whitney, memorization, nearest
from isthmus.metrics.sample_quality import (
    classifier_accuracy,
    frechet,
    frechet_plug_in,
    mmd,
    precision_and_recall,
    sample_quality,
)


def normal(n: int, d: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """Independent normals, moved along the first axis."""
    x = scale * np.random.default_rng(seed).normal(size=(n, d))
    x[:, 0] += shift
    return x


def identity(x: np.ndarray) -> np.ndarray:
    return x


def test_frechet_plug_in_moments_in_closed_form():
    # Exactly these moments: whitened rows, then stretched. Diagonal covariances: a sum over axes.
    x = normal(200, 3, 0)
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    f, g = x * [1.0, 2.0, 0.5] + [1.0, 0.0, 2.0], x * [3.0, 2.0, 1.0]
    assert frechet_plug_in(f, g) == pytest.approx(1 + 4 + (3 - 1) ** 2 + (1 - 0.5) ** 2, rel=1e-9)
    turn = np.linalg.qr(normal(3, 3, 1))[0]  # one rotation of both moves no distance
    assert frechet_plug_in(f @ turn, g @ turn) == pytest.approx(9.25, rel=1e-9)
    assert frechet_plug_in(f, f) == pytest.approx(0, abs=1e-9)
    assert frechet_plug_in(f[:, :1], g[:, :1]) == pytest.approx(5, rel=1e-9)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (1.0, 1.0), (0.0, 0.7)])
def test_frechet_plug_in_few_rows_is_not_biased(shift, scale):
    # 160 rows of 16 features: as it stands the distance of equal distributions is some 0.9.
    f, g = normal(160, 16, 0, shift, scale), normal(160, 16, 1)
    result, truth = frechet(f, g), shift**2 + 16 * (1 - scale) ** 2
    assert result.mean == pytest.approx(truth, abs=3 * result.error)
    assert frechet_plug_in(f, g) - truth > 3 * result.error or scale != 1


@pytest.mark.parametrize("shift", [0.0, 1.5])
@pytest.mark.parametrize("d", [1, 8])
def test_mmd_of_normals_in_closed_form(shift, d):
    width = 2 * chi2.median(d)  # of squared distances between standard normals
    alike = (width / (width + 2)) ** (d / 2)
    truth = 2 * alike * (1 - math.exp(-(shift**2) / (2 * (width + 2))))
    result = mmd(normal(600, d, 0, shift), normal(600, d, 1))
    assert result.mean == pytest.approx(truth, abs=3 * result.error)
    assert result.mean > 5 * result.error or not shift


def test_mmd_is_the_mean_over_pairs():
    f, g = normal(7, 2, 0), normal(7, 2, 1)
    pairs = [(i, j) for i in range(7) for j in range(7) if i != j]
    width = np.median([np.square(g[i] - g[j]).sum() for i, j in pairs])

    def kernel(a, b):
        return math.exp(-np.square(a - b).sum() / (2 * width))

    slow = np.mean([kernel(f[i], f[j]) + kernel(g[i], g[j]) - 2 * kernel(f[i], g[j]) for i, j in pairs])
    assert mmd(f, g).mean == pytest.approx(slow, rel=1e-9)


def test_classifier_accuracy_reaches_that_of_bayes():
    result = classifier_accuracy(normal(500, 2, 0, 1.5), normal(500, 2, 1))
    # A rule learned from 800 rows loses a per cent or two of what the best one can classify.
    assert norm.cdf(0.75) - 0.03 - 2 * result.error < result.mean < norm.cdf(0.75) + 3 * result.error
    result = classifier_accuracy(normal(300, 5, 0), normal(300, 5, 1))
    assert result.mean == pytest.approx(0.5, abs=3 * result.error)
    result = classifier_accuracy(normal(300, 8, 0, scale=0.6), normal(300, 8, 1))  # no line separates these
    assert result.mean > 0.5 + 5 * result.error


def test_the_classifier_sees_the_residual_of_the_principal_components():
    # 60 wide directions are cut to 50; samples lack the noise in the other 100, as blurred ones do.
    wide = 5 * np.random.default_rng(2).normal(size=(60, 160))
    noise = np.random.default_rng(3).normal(size=(300, 160))
    test = normal(300, 60, 0) @ wide + 20 * noise
    drawn = normal(300, 60, 1) @ wide
    assert classifier_accuracy(drawn, test).mean > 0.9


def test_precision_and_recall_of_a_missing_mode_and_of_outliers():
    far = np.array([30.0, 0, 0])
    data = np.concatenate([normal(150, 3, 0), normal(150, 3, 1) + far])
    again = np.concatenate([normal(150, 3, 2), normal(150, 3, 3) + far])
    precision, recall = precision_and_recall(again, data)
    reached = min(precision.mean, recall.mean)
    assert reached > 0.75
    precision, recall = precision_and_recall(normal(300, 3, 4), data)  # one of two modes
    assert precision.mean > reached - 3 * precision.error
    assert recall.mean == pytest.approx(0.5, abs=0.05)  # nearly all rows of one mode, none of the other
    strange = np.concatenate([again[::2], normal(150, 3, 5) + 10 * far])  # half of them nowhere near
    precision, recall = precision_and_recall(strange, data)
    assert precision.mean == pytest.approx(0.5 * reached, abs=0.1)
    assert recall.mean > reached - 0.15  # half as many samples still reach over both modes
    # By the definition, row by row.
    f, g = normal(30, 2, 6), normal(30, 2, 7, 0.5)
    radius = [sorted(np.linalg.norm(g - row, axis=1))[3] for row in g]
    slow = np.mean([any(np.linalg.norm(row - other) <= r for other, r in zip(g, radius)) for row in f])
    assert precision_and_recall(f, g)[0].mean == pytest.approx(slow)


def test_precision_and_recall_of_discrete_rows_are_one():
    # Radii are 0 here: only equal rows are near.
    f, g = (np.random.default_rng(seed).integers(0, 2, (200, 2)).astype(float) for seed in (0, 1))
    assert [result.mean for result in precision_and_recall(f + 1e-9, g)] == [1, 1]
    assert all(result.error > 0 for result in precision_and_recall(f, g))


def test_standard_errors_match_the_spread_over_repetitions():
    measures = {
        "mmd": lambda f, g: [mmd(f, g)],
        "frechet": lambda f, g: [frechet(f, g)],
        "precision and recall": precision_and_recall,
    }
    for name, measure in measures.items():
        result = np.array([measure(normal(100, 4, 2 * i, 1.0), normal(100, 4, 2 * i + 1)) for i in range(40)])
        spread, reported = result[:, :, 0].std(0, ddof=1), np.sqrt(np.square(result[:, :, 1]).mean(0))
        # 40 repetitions determine a deviation to a ninth: three of these, and both ways.
        assert (reported / spread > 0.7).all(), name
        assert (reported / spread < 1.45).all(), name


def test_copies_are_detected_and_independent_samples_are_not():
    train, test = normal(1000, 6, 0), normal(300, 6, 1)
    fresh = memorization(train, test, normal(400, 6, 2))
    assert abs(fresh.z) < 3
    assert fresh.close.mean == pytest.approx(
        fresh.close_test.mean, abs=3 * math.hypot(fresh.close.error, fresh.close_test.error)
    )
    assert fresh.to_train.mean == pytest.approx(fresh.to_train_expected, abs=3 * fresh.to_train.error)
    assert fresh.to_train_expected == pytest.approx(1000 / 1300)

    copies = train[:400] + normal(400, 6, 3, scale=0.01)
    every = memorization(train, test, copies)
    assert every.z < -10
    assert every.close.mean == every.to_train.mean == 1

    few = memorization(train, test, np.concatenate([copies[:40], normal(360, 6, 2)]))  # one in ten
    assert few.close.mean - few.close_test.mean > 3 * math.hypot(few.close.error, few.close_test.error)
    assert few.close.mean == pytest.approx(0.1 + 0.9 * fresh.close.mean, abs=0.01)


def test_low_variance_samples_do_not_count_as_copies():
    result = memorization(normal(1000, 6, 0), normal(300, 6, 1), normal(400, 6, 2, scale=0.3))
    assert result.z < -5
    assert result.to_train.mean == pytest.approx(result.to_train_expected, abs=3 * result.to_train.error)


def test_discrete_rows_do_not_count_as_copies():
    train, test, drawn = (np.random.default_rng(i).integers(0, 2, (n, 5)) for i, n in enumerate((500, 200, 200)))
    result = memorization(train, test, drawn)
    assert (result.z, result.close.mean, result.close_test.mean) == (0, 1, 1)  # every row is there already
    assert result.to_train.mean == pytest.approx(result.to_train_expected)


def test_mann_whitney_matches_scipy():
    random = np.random.default_rng(0)
    a, b = random.integers(0, 9, 50), random.integers(1, 10, 70)  # with ties
    known = mannwhitneyu(a, b, method="asymptotic", use_continuity=False).pvalue
    assert 2 * norm.sf(abs(mann_whitney(a, b))) == pytest.approx(known, rel=0.03)  # n - 1 or n in a variance
    assert mann_whitney(a, b) < 0 < mann_whitney(b, a)


@pytest.mark.parametrize("shape", [(2,), (5, 6)])
def test_nearest_rows(shape):
    random = np.random.default_rng(0)
    train, rows = 1e3 + random.normal(size=(50, *shape)), 1e3 + random.normal(size=(20, *shape))
    rows[3] = train[17]
    far = np.square(rows[:, None] - train[None]).reshape(20, 50, -1).sum(-1) ** 0.5
    index, distance = nearest(train, rows, 3)
    np.testing.assert_array_equal(index, far.argsort(1)[:, :3])
    np.testing.assert_allclose(distance, np.sort(far, 1)[:, :3], rtol=1e-12)
    assert (index[3, 0], distance[3, 0]) == (17, 0)
    with pytest.raises(InputError, match="k must be between 1 and"):
        nearest(train, rows, 51)


def test_learned_features_separate_digits_from_shuffled_pixels():
    x = load_digits().images
    read = learned_features(x[:1000], (8, 8), seed=0)
    f = read(x[:1000])
    np.testing.assert_allclose(f.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(f.std(0), 1, rtol=1e-6)
    test = read(x[1000:1400])
    shuffled = np.random.default_rng(0).permuted(x[1400:].reshape(-1, 64), axis=1).reshape(-1, 8, 8)
    apart, alike = frechet(read(shuffled), test[: len(shuffled)]), frechet(read(x[1400:]), test[: len(shuffled)])
    assert apart.mean - alike.mean > 10 * math.hypot(apart.error, alike.error)
    assert precision_and_recall(read(shuffled), test[: len(shuffled)])[0].mean < 0.2
    np.testing.assert_allclose(read(x[:3]), f[:3], atol=1e-4)  # a row's features are its own, to single precision


@pytest.mark.parametrize("shape", [(16, 17), (16, 16, 3), (6, 2), (1,)])
def test_features_of_any_shape(shape, monkeypatch):
    for name in ("MLP_UPDATES", "CONV_UPDATES"):
        monkeypatch.setattr(features, name, 8)
    x = np.random.default_rng(0).integers(0, 256, (120, *shape)).astype(np.uint8)
    result = learned_features(x, shape, seed=3)(x)
    assert result.shape == (120, min(32, math.prod(shape), math.ceil(2 * math.sqrt(math.prod(shape)))))
    assert np.isfinite(result).all()


def test_each_channel_has_its_own_scale():
    x = np.random.default_rng(0).normal(size=(500, 6, 2)) * [1e-3, 1e3]
    z = fit_standardizer(x)(x)
    np.testing.assert_allclose(z.std((0, 1)), 1, rtol=0.01)  # means of steps are taken off beside
    still = np.full((20, 3), 7)
    np.testing.assert_array_equal(fit_standardizer(still)(still + 1), np.ones((20, 3)))


def test_sample_quality_against_training_rows_is_reproducible(monkeypatch):
    monkeypatch.setattr(features, "MLP_UPDATES", 200)  # enough for four columns
    train, test, drawn = normal(400, 4, 0), normal(150, 4, 1), normal(130, 4, 2, 2.0)
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (sample_quality(train, test, drawn, learned_features(train, (4,), 5), 5) for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert (np.random.get_state()[1] == numpy_before).all()  # noqa: NPY002
    assert set(first) == {"mmd", "precision", "recall", "frechet"}
    for name, nothing in {"mmd": 0.0, "frechet": 0.0}.items():
        result = first[name]
        assert result.data.mean == pytest.approx(nothing, abs=3 * result.data.error)
        assert result.samples.mean - result.data.mean > 3 * math.hypot(result.samples.error, result.data.error), name
    for name in ("precision", "recall"):
        assert first[name].samples.mean < first[name].data.mean


def test_invalid_arguments(monkeypatch):
    enough, few = normal(120, 3, 0), normal(99, 3, 0)
    for sides in ((few, enough, enough), (enough, few, enough), (enough, enough, few)):
        with pytest.raises(InputError, match=r"at least 100 .*, got 99"):
            sample_quality(*sides, identity)
    with pytest.raises(InputError, match="at least 100 samples, got 99"):
        memorization(enough, enough, few)
    broken = enough.copy()
    broken[5, 1] = np.nan
    with pytest.raises(InputError, match="samples must be finite"):
        sample_quality(enough, enough, broken, identity)
    with pytest.raises(InputError, match="must be finite"):
        memorization(enough, enough, broken)
    with pytest.raises(InputError, match="must be finite"):
        learned_features(broken, (3,))
    with pytest.raises(InputError, match="at least 2 rows"):
        learned_features(enough[:1], (3,))
    with pytest.raises(InputError, match="must have the shape of held-out rows"):
        sample_quality(enough, enough, enough[:, :2], identity)
    monkeypatch.setattr(quality_module, "classifier_accuracy", lambda *_: quality_module.Estimate(0.5, 0.1))
    assert "frechet" in sample_quality(*(normal(120, 24, i) for i in range(3)), identity)
    assert "frechet" not in sample_quality(*(normal(120, 25, i) for i in range(3)), identity)  # 4.8 rows a feature
