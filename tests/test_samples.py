"""How far samples are from data: every measure against a case where it is known."""

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
from isthmus.metrics.features import learned_features, scaling_of
from isthmus.metrics.memorization import mann_whitney, memorisation, nearest
from isthmus.metrics.sample_quality import (
    classifier_accuracy,
    frechet,
    frechet_of,
    mean_discrepancy,
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


def test_frechet_of_moments_in_closed_form():
    # Exactly these moments: whitened rows, then stretched. Diagonal covariances: a sum over axes.
    x = normal(200, 3, 0)
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    f, g = x * [1.0, 2.0, 0.5] + [1.0, 0.0, 2.0], x * [3.0, 2.0, 1.0]
    assert frechet_of(f, g) == pytest.approx(1 + 4 + (3 - 1) ** 2 + (1 - 0.5) ** 2, rel=1e-9)
    turn = np.linalg.qr(normal(3, 3, 1))[0]  # one rotation of both moves no distance
    assert frechet_of(f @ turn, g @ turn) == pytest.approx(9.25, rel=1e-9)
    assert frechet_of(f, f) == pytest.approx(0, abs=1e-9)
    assert frechet_of(f[:, :1], g[:, :1]) == pytest.approx(5, rel=1e-9)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (1.0, 1.0), (0.0, 0.7)])
def test_frechet_of_few_rows_is_not_biased(shift, scale):
    # 160 rows of 16 features: as it stands the distance of equal distributions is some 0.9.
    f, g = normal(160, 16, 0, shift, scale), normal(160, 16, 1)
    found, truth = frechet(f, g), shift**2 + 16 * (1 - scale) ** 2
    assert found.mean == pytest.approx(truth, abs=3 * found.error)
    assert frechet_of(f, g) - truth > 3 * found.error or scale != 1


@pytest.mark.parametrize("shift", [0.0, 1.5])
@pytest.mark.parametrize("d", [1, 8])
def test_discrepancy_of_normals_in_closed_form(shift, d):
    width = 2 * chi2.median(d)  # of squared distances between standard normals
    alike = (width / (width + 2)) ** (d / 2)
    truth = 2 * alike * (1 - math.exp(-(shift**2) / (2 * (width + 2))))
    found = mean_discrepancy(normal(600, d, 0, shift), normal(600, d, 1))
    assert found.mean == pytest.approx(truth, abs=3 * found.error)
    assert found.mean > 5 * found.error or not shift


def test_discrepancy_is_the_mean_over_pairs():
    f, g = normal(7, 2, 0), normal(7, 2, 1)
    pairs = [(i, j) for i in range(7) for j in range(7) if i != j]
    width = np.median([np.square(g[i] - g[j]).sum() for i, j in pairs])

    def kernel(a, b):
        return math.exp(-np.square(a - b).sum() / (2 * width))

    slow = np.mean([kernel(f[i], f[j]) + kernel(g[i], g[j]) - 2 * kernel(f[i], g[j]) for i, j in pairs])
    assert mean_discrepancy(f, g).mean == pytest.approx(slow, rel=1e-9)


def test_the_classifier_reaches_bayes_and_no_more():
    found = classifier_accuracy(normal(500, 2, 0, 1.5), normal(500, 2, 1))
    # A rule learned from 800 rows loses a per cent or two of what the best one tells.
    assert norm.cdf(0.75) - 0.03 - 2 * found.error < found.mean < norm.cdf(0.75) + 3 * found.error
    found = classifier_accuracy(normal(300, 5, 0), normal(300, 5, 1))
    assert found.mean == pytest.approx(0.5, abs=3 * found.error)
    found = classifier_accuracy(normal(300, 8, 0, scale=0.6), normal(300, 8, 1))  # no line tells these apart
    assert found.mean > 0.5 + 5 * found.error


def test_the_classifier_sees_what_principal_components_leave_out():
    # 60 wide directions are cut to 50; samples lack the noise in the other 100, as blurred ones do.
    wide = 5 * np.random.default_rng(2).normal(size=(60, 160))
    noise = np.random.default_rng(3).normal(size=(300, 160))
    held = normal(300, 60, 0) @ wide + 20 * noise
    drawn = normal(300, 60, 1) @ wide
    assert classifier_accuracy(drawn, held).mean > 0.9


def test_samples_that_miss_a_mode_and_samples_that_are_none():
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


def test_equal_rows_of_few_values_lie_among_each_other():
    # Radii are 0 here: only equal rows are near.
    f, g = (np.random.default_rng(seed).integers(0, 2, (200, 2)).astype(float) for seed in (0, 1))
    assert [found.mean for found in precision_and_recall(f + 1e-9, g)] == [1, 1]
    assert all(found.error > 0 for found in precision_and_recall(f, g))


def test_errors_are_what_repetitions_show():
    measures = {
        "mmd": lambda f, g: [mean_discrepancy(f, g)],
        "frechet": lambda f, g: [frechet(f, g)],
        "precision and recall": precision_and_recall,
    }
    for name, measure in measures.items():
        found = np.array([measure(normal(100, 4, 2 * i, 1.0), normal(100, 4, 2 * i + 1)) for i in range(40)])
        seen, told = found[:, :, 0].std(0, ddof=1), np.sqrt(np.square(found[:, :, 1]).mean(0))
        # 40 repetitions know a deviation to a ninth: three of these, and both ways.
        assert (told / seen > 0.7).all(), name
        assert (told / seen < 1.45).all(), name


def test_copies_are_found_and_fresh_rows_are_not():
    train, held = normal(1000, 6, 0), normal(300, 6, 1)
    fresh = memorisation(train, held, normal(400, 6, 2))
    assert abs(fresh.z) < 3
    assert fresh.close.mean == pytest.approx(
        fresh.close_held.mean, abs=3 * math.hypot(fresh.close.error, fresh.close_held.error)
    )
    assert fresh.to_train.mean == pytest.approx(fresh.to_train_expected, abs=3 * fresh.to_train.error)
    assert fresh.to_train_expected == pytest.approx(1000 / 1300)

    copies = train[:400] + normal(400, 6, 3, scale=0.01)
    every = memorisation(train, held, copies)
    assert every.z < -10
    assert every.close.mean == every.to_train.mean == 1

    few = memorisation(train, held, np.concatenate([copies[:40], normal(360, 6, 2)]))  # one in ten
    assert few.close.mean - few.close_held.mean > 3 * math.hypot(few.close.error, few.close_held.error)
    assert few.close.mean == pytest.approx(0.1 + 0.9 * fresh.close.mean, abs=0.01)


def test_dull_samples_are_near_to_training_rows_and_yet_no_copies():
    found = memorisation(normal(1000, 6, 0), normal(300, 6, 1), normal(400, 6, 2, scale=0.3))
    assert found.z < -5
    assert found.to_train.mean == pytest.approx(found.to_train_expected, abs=3 * found.to_train.error)


def test_rows_of_few_values_are_not_taken_for_copies():
    train, held, drawn = (np.random.default_rng(i).integers(0, 2, (n, 5)) for i, n in enumerate((500, 200, 200)))
    found = memorisation(train, held, drawn)
    assert (found.z, found.close.mean, found.close_held.mean) == (0, 1, 1)  # every row is there already
    assert found.to_train.mean == pytest.approx(found.to_train_expected)


def test_ranks_as_scipy_has_them():
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
    with pytest.raises(InputError, match="k=51 came"):
        nearest(train, rows, 51)


def test_features_tell_digits_from_shuffled_pixels():
    x = load_digits().images
    read = learned_features(x[:1000], (8, 8), seed=0)
    f = read(x[:1000])
    np.testing.assert_allclose(f.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(f.std(0), 1, rtol=1e-6)
    held = read(x[1000:1400])
    shuffled = np.random.default_rng(0).permuted(x[1400:].reshape(-1, 64), axis=1).reshape(-1, 8, 8)
    apart, alike = frechet(read(shuffled), held[: len(shuffled)]), frechet(read(x[1400:]), held[: len(shuffled)])
    assert apart.mean - alike.mean > 10 * math.hypot(apart.error, alike.error)
    assert precision_and_recall(read(shuffled), held[: len(shuffled)])[0].mean < 0.2
    np.testing.assert_allclose(read(x[:3]), f[:3], atol=1e-4)  # a row's features are its own, to single precision


@pytest.mark.parametrize("shape", [(16, 17), (16, 16, 3), (6, 2), (1,)])
def test_features_of_any_shape(shape, monkeypatch):
    for name in ("UPDATES", "CONV_UPDATES"):
        monkeypatch.setattr(features, name, 8)
    x = np.random.default_rng(0).integers(0, 256, (120, *shape)).astype(np.uint8)
    found = learned_features(x, shape, seed=3)(x)
    assert found.shape == (120, min(32, math.prod(shape), math.ceil(2 * math.sqrt(math.prod(shape)))))
    assert np.isfinite(found).all()


def test_channels_of_different_units_have_a_scale_each():
    x = np.random.default_rng(0).normal(size=(500, 6, 2)) * [1e-3, 1e3]
    z = scaling_of(x)(x)
    np.testing.assert_allclose(z.std((0, 1)), 1, rtol=0.01)  # means of steps are taken off beside
    still = np.full((20, 3), 7)
    np.testing.assert_array_equal(scaling_of(still)(still + 1), np.ones((20, 3)))


def test_quality_beside_what_data_reach_the_same_for_one_seed(monkeypatch):
    monkeypatch.setattr(features, "UPDATES", 200)  # enough for four columns
    train, held, drawn = normal(400, 4, 0), normal(150, 4, 1), normal(130, 4, 2, 2.0)
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (sample_quality(train, held, drawn, learned_features(train, (4,), 5), 5) for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert (np.random.get_state()[1] == numpy_before).all()  # noqa: NPY002
    assert set(first) == {"mmd", "precision", "recall", "frechet"}
    for name, nothing in {"mmd": 0.0, "frechet": 0.0}.items():
        found = first[name]
        assert found.data.mean == pytest.approx(nothing, abs=3 * found.data.error)
        assert found.samples.mean - found.data.mean > 3 * math.hypot(found.samples.error, found.data.error), name
    for name in ("precision", "recall"):
        assert first[name].samples.mean < first[name].data.mean


def test_what_cannot_be_compared_is_refused(monkeypatch):
    enough, few = normal(120, 3, 0), normal(99, 3, 0)
    for sides in ((few, enough, enough), (enough, few, enough), (enough, enough, few)):
        with pytest.raises(InputError, match=r"99 .* came; samples are compared with data from 100"):
            sample_quality(*sides, identity)
    with pytest.raises(InputError, match="99 samples came"):
        memorisation(enough, enough, few)
    broken = enough.copy()
    broken[5, 1] = np.nan
    with pytest.raises(InputError, match="samples hold numbers that are not finite"):
        sample_quality(enough, enough, broken, identity)
    with pytest.raises(InputError, match="not finite"):
        memorisation(enough, enough, broken)
    with pytest.raises(InputError, match="not finite"):
        learned_features(broken, (3,))
    with pytest.raises(InputError, match="at least 2"):
        learned_features(enough[:1], (3,))
    with pytest.raises(InputError, match="the same is wanted"):
        sample_quality(enough, enough, enough[:, :2], identity)
    monkeypatch.setattr(quality_module, "classifier_accuracy", lambda *_: quality_module.Estimate(0.5, 0.1))
    assert "frechet" in sample_quality(*(normal(120, 24, i) for i in range(3)), identity)
    assert "frechet" not in sample_quality(*(normal(120, 25, i) for i in range(3)), identity)  # 4.8 rows a feature
