"""The geometry of codes and the sharpness of images, where they are known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import isthmus
from isthmus.metrics.latent_geometry import (
    latent_correlation,
    lerp,
    path_distance,
    path_likelihood,
    principal_angles,
    random_pairs,
    relative_sharpness,
    sharpness,
)
from models import images, small, table


def ring(n: int, seed: int) -> np.ndarray:
    """Points on the unit circle."""
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, n)
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def identity(codes: np.ndarray) -> np.ndarray:
    """A decoder that returns its codes."""
    return codes


def test_straight_paths_across_a_ring_have_holes():
    train, codes = ring(4000, 0), ring(400, 1)
    start, end = (codes[index] for index in random_pairs(400))
    stats = path_distance(identity, train, start, end)
    # The middle of a chord over the angle a lies 1 - cos(a / 2) inside: 1 - 2 / pi in the mean, and beyond some 0.005,
    # as training points are apart, for all but the chords of 0.2 / pi of angles.
    assert stats.midpoint_loss.mean == pytest.approx(1 - 2 / math.pi, abs=4 * stats.midpoint_loss.error)
    assert stats.holes.mean == pytest.approx(0.94, abs=4 * 0.017)
    assert stats.profile.argmax() == 2


def test_straight_paths_across_a_ring_lose_likelihood():
    random, width = np.random.default_rng(0), 0.1
    start, end = (ring(400, 1)[index] for index in random_pairs(400))

    def draw(codes):
        return codes + width * random.normal(size=codes.shape)

    def score(x):  # the ring's own density, up to a constant
        return -np.square(np.linalg.norm(x, axis=1) - 1) / (2 * width**2)

    result = path_likelihood(draw, score, start, end)
    # In its middle a chord lies 1 - cos(a / 2) inside, whose square is 1.5 - 4 / pi in the mean. Across the ring the
    # radius of what is drawn there is larger than that by some width^2 / 2r: a tenth of the whole.
    assert result.midpoint_loss.mean == pytest.approx((1.5 - 4 / math.pi) / (2 * width**2), rel=0.25)
    assert result.holes.mean > 0.5
    assert result.profile.argmin() == 2


def test_the_likelihood_along_paths_of_a_linear_model():
    random, d, noise = np.random.default_rng(0), 6, 0.5
    codes = random.normal(size=(4000, d))
    start, end = (codes[index] for index in random_pairs(4000, max_pairs=2000))

    def draw(codes):
        return codes + noise * random.normal(size=codes.shape)

    def score(x):
        return -0.5 * np.square(x).sum(1) / (1 + noise**2)

    result = path_likelihood(draw, score, start, end)
    # Halfway the code's variance is a half: x is likelier there, and no hole.
    assert result.midpoint_loss.mean == pytest.approx(-d / 4 / (1 + noise**2), abs=4 * result.midpoint_loss.error)
    assert result.holes.mean < 0.05
    assert result.profile[0] == pytest.approx(-d / 2, abs=0.2)  # 2,000 values of spread sqrt(d / 2), three errors
    assert result.profile.shape == (5,)


def test_paths_of_a_trained_model_and_bad_requests():
    x = images()
    model = small("VAE").fit(x)
    codes = model.transform(x)
    start, end = (codes[index] for index in random_pairs(len(codes)))
    result = path_distance(model.inverse_transform, x, start, end, steps=3)
    assert result.profile.shape == (3,)
    assert 0 <= result.holes.mean <= 1
    with pytest.raises(isthmus.InputError, match="odd"):
        path_distance(model.inverse_transform, x, start, end, steps=4)
    with pytest.raises(isthmus.InputError, match="at least 4 rows"):
        random_pairs(3)


def test_no_row_is_in_two_pairs():
    first, second = random_pairs(100, seed=3)
    assert sorted([*first, *second]) == list(range(100))
    assert (random_pairs(100, seed=3)[0] == first).all()
    assert len(random_pairs(100, max_pairs=7)[0]) == 7


def test_interpolation_begins_and_ends_at_the_codes():
    random = np.random.default_rng(0)
    start, end = random.normal(size=(2, 6, 4))
    np.testing.assert_allclose(lerp(start, end, 0.0), start, atol=1e-12)
    np.testing.assert_allclose(lerp(start, end, 1.0), end, atol=1e-12)
    assert np.isfinite(lerp(start, end, 0.5)).all()


def test_total_correlation_of_gaussian_codes():
    r, n = 0.8, 20_000
    covariance = np.array([[1, r, 0], [r, 1, 0], [0, 0, 1]])
    units = np.array([1e-2, 1.0, 10.0])  # correlations do not depend on units
    codes = np.random.default_rng(0).multivariate_normal(np.ones(3), covariance, n) * units
    result = latent_correlation(codes)
    # A correlation is known to (1 - r^2) / sqrt(n) = 0.003, and the total correlation to r / (1 - r^2) times that.
    assert result.total_correlation == pytest.approx(-0.5 * math.log(1 - r**2), abs=0.02)
    assert result.largest == pytest.approx(r, abs=0.01)
    assert result.mean == pytest.approx(r / 3, abs=0.01)
    assert latent_correlation(codes[:, [2]]).effective_dimensions == pytest.approx(1)


def test_the_effective_number_of_dimensions():
    codes = np.random.default_rng(0).normal(size=(20_000, 4))
    assert latent_correlation(codes).effective_dimensions == pytest.approx(4, abs=0.01)
    # Two equal ones and nothing else; of variances 4 and 1: 5^2 / 17.
    assert latent_correlation(codes * [1, 1, 1e-6, 0]).effective_dimensions == pytest.approx(2, abs=0.01)
    assert latent_correlation(codes[:, :2] * [2, 1]).effective_dimensions == pytest.approx(25 / 17, abs=0.03)


def test_correlation_of_independent_codes_is_as_expected_by_chance():
    result = latent_correlation(np.random.default_rng(0).normal(size=(500, 40)))
    assert result.mean == pytest.approx(result.expected, rel=0.1)  # 780 pairs, each of relative spread 0.76
    assert latent_correlation(np.zeros((9, 3))).mean == latent_correlation(np.zeros((9, 3))).effective_dimensions == 0


def test_a_repeated_dimension_has_infinite_total_correlation():
    codes = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    codes[:, 2] = codes[:, 0] * np.float32(0.3) - codes[:, 1]
    assert latent_correlation(codes).total_correlation == math.inf
    assert latent_correlation(codes[:, :2]).total_correlation < 0.1


def planted(n: int, spreads: np.ndarray) -> np.ndarray:
    """Rows whose principal axes are the columns, exactly."""
    random = np.random.default_rng(0)
    axes, _ = np.linalg.qr(np.concatenate([np.ones((n, 1)), random.normal(size=(n, len(spreads)))], 1))
    return axes[:, 1:] * spreads


def test_principal_angles_of_rotated_orthogonal_and_tilted_codes():
    x = planted(200, np.array([9.0, 5.0, 3.0, 1.0, 0.5]))
    mix = np.random.default_rng(1).normal(size=(2, 2))
    np.testing.assert_allclose(principal_angles(x[:, :2] @ mix * 100 + 7, x), [0, 0], atol=1e-5)
    np.testing.assert_allclose(principal_angles(x[:, 2:4], x), [90, 90], atol=1e-5)
    unit = x / np.linalg.norm(x, axis=0)
    tilted = np.stack([unit[:, 0], math.cos(0.5) * unit[:, 1] + math.sin(0.5) * unit[:, 4]], 1)
    np.testing.assert_allclose(principal_angles(tilted, x), [math.degrees(0.5), 0], atol=1e-5)


def test_constant_dimensions_have_no_angle():
    x = planted(200, np.array([9.0, 5.0, 3.0]))
    codes = np.concatenate([x[:, :1], np.full((200, 1), 3.0), 2 * x[:, :1]], 1).astype(np.float32)
    assert principal_angles(codes, x) == pytest.approx([0], abs=1e-2)  # in single precision
    assert principal_angles(np.ones((200, 2)), x).shape == (0,)


def test_a_linear_autoencoder_spans_what_pca_does():
    x = table(200, 6)
    x = (x - x.mean(0)) / x.std(0)
    model = small("ProbabilisticPCA", latent_dim=2, scaling="none").fit(x)
    np.testing.assert_allclose(principal_angles(model.transform(x), x), [0, 0], atol=0.01)


@pytest.mark.parametrize("shape", [(300, 20, 20), (300, 20, 20, 3)])
def test_sharpness_of_noise_blur_and_slopes(shape):
    noise = np.random.default_rng(0).normal(size=shape)
    # Four neighbours of weight 1 and a centre of -4 make a variance of 20; 100,000 values give it to half a per cent.
    assert sharpness(noise).mean() == pytest.approx(20, rel=0.02)
    blurred = 0.5 * (noise + np.roll(noise, 1, 1))
    # The two weights' sum has taps 1/2 (1, -3, -3, 1) down and 1/2 (1, 1, 1, 1) at either side: 20/4 + 4/4.
    assert sharpness(blurred[:, 1:]).mean() == pytest.approx(6, rel=0.02)
    down = np.arange(20.0).reshape(1, 20, *[1] * (len(shape) - 2)) * np.ones(shape)
    np.testing.assert_allclose(sharpness(3 * down + 7), 0, atol=1e-9)
    np.testing.assert_allclose(sharpness(down**2), 0, atol=1e-9)  # a constant curve has no variance


def test_blurred_images_are_less_sharp_than_the_originals_and_noise_is_sharper():
    originals = gaussian_filter(np.random.default_rng(0).normal(size=(60, 16, 16)), (0, 1, 1))
    assert relative_sharpness(originals, originals).mean == 1
    assert relative_sharpness(3 * originals, originals).mean == pytest.approx(9)
    soft = relative_sharpness(gaussian_filter(originals, (0, 1, 1)), originals)
    assert soft.mean + 4 * soft.error < 1
    noise = np.random.default_rng(1).normal(size=(90, 16, 16)) * originals.std()
    hard = relative_sharpness(noise, originals)
    assert hard.mean - 4 * hard.error > 1
    bytes_ = images(20)  # differences of bytes do not wrap around
    assert sharpness(bytes_) == pytest.approx(sharpness(bytes_.astype(float)))
    assert relative_sharpness(originals, np.ones((5, 16, 16))) is None
    with pytest.raises(isthmus.InputError, match="3 pixels"):
        sharpness(np.zeros((5, 2, 9)))
    with pytest.raises(isthmus.InputError, match="shape"):
        sharpness(np.zeros((5, 9)))
