"""Restoring damaged images: the model that is chosen, what is measured of it, and what is found wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest

import isthmus
from isthmus.errors import InputError
from isthmus.evaluation.evaluate import MEASURES, evaluate
from isthmus.metrics.image_quality import psnr, ssim
from isthmus.nets import unet
from models import images, small, table

X = images(160, (12, 12))


def denoiser(**fields):
    return isthmus.DenoisingAutoencoder(**{"epochs": 1, "threads": 1, "random_state": 0, **fields})


def measured(model, rows):
    names = ("reconstruction", "image_quality", "cleaning")
    return evaluate(model, rows, without=[name for name in MEASURES if name not in names])


# ------------------------------------------------------------------------------------------------- the model


@pytest.mark.parametrize(
    ("fields", "x", "network"),
    [
        ({}, X, "unet"),
        ({"corruption": "none", "latent_dim": 4}, X, "auto"),
        ({"latent_dim": 3}, X, "auto"),
        ({"hidden": ()}, X, "auto"),
        ({"sparsity": "top_k(4)"}, X, "auto"),
        ({"network": "mlp"}, X, "mlp"),
        ({}, images(60, (6, 5)), "auto"),
        ({}, table(), "auto"),
    ],
)
def test_images_are_restored_by_a_unet_unless_something_speaks_against_it(fields, x, network):
    model = denoiser(**fields).fit(x)
    assert model.fitted_.fields["network"] == network
    if network == "unet":
        assert model.fitted_.code_size == unet.code_size(x.shape[1:], (16, 32, 64, 64))
    else:
        assert model.fitted_.code_size == fields.get("latent_dim", 16)


def test_damaged_rows_with_clean_ones_are_restored_by_a_unet():
    model = denoiser(corruption=None).fit(X, target=X)
    assert model.fitted_.fields["network"] == "unet"


def test_channels_of_a_unet_can_be_given():
    model = denoiser(channels=(4, 6)).fit(X)
    assert model.transform(X).shape == (len(X), unet.code_size((12, 12), (4, 6)))


def test_a_decoded_code_is_the_restored_image(tmp_path):
    model = denoiser(channels=(4, 6)).fit(X)
    np.testing.assert_allclose(model.inverse_transform(model.transform(X)), model.reconstruct(X), rtol=1e-5, atol=1e-3)
    model.save(tmp_path / "run")
    np.testing.assert_array_equal(isthmus.load(tmp_path / "run").reconstruct(X), model.reconstruct(X))


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: small("VAE", network="unet").fit(X), "network must be 'auto', 'mlp' or 'conv'"),
        (lambda: denoiser(network="unet", latent_dim=4).fit(X), "latent_dim must be 'auto'"),
        (lambda: denoiser(network="unet").fit(table()), "X must be images"),
        (lambda: denoiser(network="unet", sparsity="top_k(4)").fit(X), "network must be"),
    ],
)
def test_a_unet_that_cannot_be_is_refused(make, what):
    with pytest.raises(InputError, match=what):
        make()


@pytest.mark.parametrize("corruption", ["gaussian(0.5)", "mask(0.3)"])
def test_images_are_much_closer_to_clean_ones_after_a_short_training(corruption):
    model = denoiser(corruption=corruption, channels=(8, 8), epochs=25, batch_size=16).fit(X)
    result = measured(model, images(100, (12, 12), seed=1))
    assert result.value("cleaning.psnr") > result.value("cleaning.psnr.damaged") + 4
    assert result.value("cleaning.ssim") > result.value("cleaning.ssim.damaged")


# ------------------------------------------------------------------------------------------------ the metrics


def similar_images() -> tuple[np.ndarray, np.ndarray]:
    """Two pairs of images with known structure, without random numbers."""
    rows, columns = np.indices((14, 17))
    x = np.stack([127 + 80 * np.sin(rows / 2) * np.cos(columns / 3), 15.0 * rows])
    return x, x + 25 * np.sin(1.7 * rows + 2.9 * columns)


def test_ssim_is_that_of_wang_et_al():
    x, y = similar_images()
    np.testing.assert_allclose(ssim(x, y, 255.0), STORED_SSIM, rtol=1e-9)
    np.testing.assert_allclose(ssim(x, x, 255.0), 1.0)
    np.testing.assert_allclose(ssim(np.stack([x, y], -1), np.stack([x, x], -1), 255.0), (1 + ssim(y, x, 255.0)) / 2)
    constant = np.zeros((1, 4, 4)), np.full((1, 4, 4), 10.0)  # smaller than the window; c1 / (m^2 + c1)
    np.testing.assert_allclose(ssim(*constant, 100.0), 1 / 101)


STORED_SSIM = [0.8624527492127466, 0.7736486406767548]
"""By scikit-image 0.26, structural_similarity with normal weights and population covariances."""


def test_ssim_equals_that_of_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    how = {"data_range": 255.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = [metrics.structural_similarity(a, b, **how) for a, b in zip(*similar_images())]
    np.testing.assert_allclose(STORED_SSIM, expected, rtol=1e-9)
    random = np.random.default_rng(0)
    x, y = random.uniform(0, 255, (2, 3, 20, 16, 3))
    expected = [metrics.structural_similarity(a, b, channel_axis=-1, **how) for a, b in zip(x, y)]
    np.testing.assert_allclose(ssim(x, y, 255.0), expected, rtol=1e-9)


def test_psnr_is_that_of_the_mean_error_with_the_error_of_that():
    errors = np.random.default_rng(0).gamma(20, 0.5, (2000, 400))
    draws = [psnr(each, 255.0).mean for each in errors]
    assert psnr(np.full(3, 25.5**2), 255.0).mean == pytest.approx(20.0)
    assert psnr(errors[0], 255.0).error == pytest.approx(np.std(draws), rel=0.15)
    assert psnr(np.zeros(3), 255.0).mean == math.inf


def test_images_have_a_psnr_and_an_ssim_to_the_clean_rows():
    model = denoiser(corruption="none", channels=(4, 6)).fit(X, target=X)
    noisy = (X + np.random.default_rng(0).normal(0, 20, X.shape)).clip(0, 255).round().astype(np.uint8)
    result = measured(model, isthmus.Examples(noisy, target=X))
    error = np.square(model.reconstruct(noisy).astype(float) - X).mean()
    assert result.value("psnr") == pytest.approx(10 * math.log10(255**2 / error), rel=1e-6)
    damage = np.square(noisy.astype(float) - X).mean()
    assert result.value("psnr.damaged") == pytest.approx(10 * math.log10(255**2 / damage), rel=1e-6)
    assert result.value("ssim.damaged") == pytest.approx(ssim(noisy, X, 255.0).mean())
    assert result.value("psnr.damaged") is not None
    assert "PSNR of cleaned rows" in str(result)


def test_tables_have_no_psnr():
    assert measured(small("Autoencoder").fit(table()), table()).get("psnr") is None


@pytest.mark.parametrize("scale", [1, 1 / 255, 10.0])
def test_psnr_does_not_depend_on_the_unit_of_pixels(scale):
    x = X if scale == 1 else X * scale
    result = measured(small("Autoencoder", scaling="global").fit(X), X)
    other = measured(small("Autoencoder", scaling="global").fit(x), x)
    drop = 0.0 if scale != 10.0 else 20 * math.log10(255 / np.ptp(X))  # of no kind: the range is that of the rows
    assert other.value("psnr") == pytest.approx(result.value("psnr") - drop, abs=0.05)


# ------------------------------------------------------------------------------------------------ the findings


def test_copying_is_no_fault_where_training_damages_rows():
    model = denoiser(channels=(4, 6)).fit(X)
    codes = {finding.code for finding in isthmus.diagnose(model, X[:40])}
    assert not codes & {"identity-leak", "identity-mapping"}


def test_corruption_of_none_by_name_keeps_no_code_from_copying():
    model = denoiser(corruption="none", latent_dim=9, hidden=(16,)).fit(table(d=5))
    assert "identity-leak" in {finding.code for finding in isthmus.diagnose(model, table(d=5, seed=1))}


def test_cleaning_that_does_harm_is_an_error():
    model = denoiser(latent_dim=1, corruption="gaussian(0.01)", hidden=(8,)).fit(X)
    found = isthmus.diagnose(model, X[:60], train=X)
    every = [*found, *(each for finding in found for each in finding.consequences)]
    assert [finding.severity for finding in every if finding.code == "worse-than-input"] == ["error"]
