"""Structural similarity as a term, and the spectral norms of a decoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import isthmus
from isthmus.batch import Batch
from isthmus.distributions.continuous import Normal
from isthmus.forward_pass import Pass
from isthmus.metrics.image_quality import ssim
from isthmus.terms.penalties import decoder_weights, largest_singular_value
from isthmus.terms.structure import SCALE_WEIGHTS, Dissimilarity
from models import images, small, table


def dissimilar(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n,) the term's values of images x and their reconstructions y, of range 1."""
    term = Dissimilarity(x.shape[1:], 1.0).double()
    px = Normal(torch.as_tensor(y)[None], 0.0, event_dim=x.ndim - 1)
    batch = Batch(torch.as_tensor(x))
    out = Pass(torch.zeros(1, len(x), 1), px=px, target=batch.target)
    return term(nn.Identity(), batch, out).numpy()


def pictures(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.uniform(size=shape)
    return x, np.clip(x + 0.2 * random.normal(size=shape), 0, 1)


@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 12, 15), (3, 21, 20, 3)])
def test_one_size_is_the_similarity_that_is_measured(shape):
    x, y = pictures(*shape)
    np.testing.assert_allclose(1 - dissimilar(x, y), ssim(x, y, 1.0), atol=1e-12)
    np.testing.assert_allclose(dissimilar(x, x), 0, atol=1e-12)


def test_two_sizes_are_the_product_of_their_powers():
    x, y = pictures(4, 28, 26)
    half = [each.reshape(4, 14, 2, 13, 2).mean((2, 4)) for each in (x, y)]
    first, second = np.array(SCALE_WEIGHTS[:2]) / sum(SCALE_WEIGHTS[:2])
    # Of the full size brightness does not count: images around the same local means differ in structure alone.
    full = []
    for each in range(4):
        term = Dissimilarity((28, 26), 1.0).double()
        a, b = (torch.as_tensor(part[each : each + 1]) for part in (x, y))
        mean_a, mean_b = term.local(a, 0), term.local(b, 0)
        both = term.local(a * b, 0) - mean_a * mean_b
        spread = term.local(a * a, 0) - mean_a**2 + term.local(b * b, 0) - mean_b**2
        full.append(float(((2 * both + term.c2) / (spread + term.c2)).mean()))
    expected = np.array(full) ** first * ssim(*half, 1.0) ** second
    np.testing.assert_allclose(1 - dissimilar(x, y), expected, atol=1e-12)


def test_it_trains_images_that_are_more_alike():
    x = images(120, (16, 16))
    fields = {"epochs": 15, "network": "mlp", "latent_dim": 4, "learning_rate": 3e-3}
    without = small("VAE", **fields).fit(x)
    with_it = small("VAE", **fields, penalty="ms_ssim(2000)").fit(x)
    similar = [ssim(x, model.reconstruct(x), 255.0).mean() for model in (without, with_it)]
    assert similar[1] > similar[0] + 0.02
    assert np.isfinite(with_it.score(x))


@pytest.mark.parametrize("shape", [(7, 7), (20, 5), (3, 40), (1, 6)])
def test_the_largest_singular_value_and_its_gradient(shape):
    u, _, vt = np.linalg.svd(np.random.default_rng(1).normal(size=shape), full_matrices=False)
    values = 2.0 * 0.4 ** np.arange(len(vt))
    weight = torch.tensor(u @ np.diag(values) @ vt, requires_grad=True)
    largest = largest_singular_value(weight)
    assert float(largest) == pytest.approx(2, rel=1e-6)
    largest.backward()
    np.testing.assert_allclose(weight.grad, np.outer(u[:, 0], vt[0]), atol=1e-3)


def test_kernels_have_a_row_for_each_output():
    model = small("Autoencoder", penalty="spectral(0.1)", epochs=1, channels=(8, 8)).fit(images(40, (16, 16)))
    layers = [m for m in model.model_.parts()["likelihood"].modules() if getattr(m, "weight", None) is not None]
    outputs = [m.out_features if isinstance(m, nn.Linear) else m.out_channels for m in layers if m.weight.ndim > 1]
    assert [len(weight) for weight in decoder_weights(model.model_)] == outputs
    assert any(isinstance(m, nn.ConvTranspose2d) and m.in_channels != m.out_channels for m in layers)


def test_spectral_norms_become_smaller():
    fields = {"epochs": 40, "learning_rate": 1e-2, "initialization": "random", "weight_decay": 0.0}
    norms = []
    for penalty in ("none", "spectral(1)"):
        model = small("Autoencoder", **fields, penalty=penalty).fit(table())
        weights = model.model_.parts()["likelihood"].parameters()
        norms.append(sum(float(torch.linalg.matrix_norm(w, 2)) for w in weights if w.ndim > 1))
    assert norms[1] < 0.8 * norms[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"penalty": "ms_ssim(10)"}, "penalty must be another than 'ms_ssim.w.' for rows of shape"),
        ({"penalty": "ms_ssim(-1)"}, "w of a penalty must be a number >= 0|penalty must be another"),
        ({"penalty": "spectral", "decoder": nn.Identity(), "latent_dim": 5}, "decoder must have layers with weights"),
        ({"penalty": "spectral(-1)"}, "w of a penalty must be a number >= 0"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(isthmus.InputError, match=message):
        small("Autoencoder", **fields).fit(table())
