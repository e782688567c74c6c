"""A mixture fitted to the codes after training, by which a plain autoencoder samples (Ghosh et al., 2020)."""

import numpy as np
import pytest

import isthmus
from models import small, table

X = table(n=300)


@pytest.mark.parametrize("name", ["Autoencoder", "DenoisingAutoencoder", "ContractiveAutoencoder"])
def test_an_autoencoder_samples_where_its_codes_are(name, tmp_path):
    model = small(name, prior="refit(3)", latent_dim=2, epochs=20, corruption="gaussian(0.1)").fit(X)
    assert model.capabilities.samples
    assert model.capabilities.scores == "none"
    assert model.sample(7, random_state=0).shape == (7, X.shape[1])
    means = model.sample(4000, mean=True, random_state=0)
    reconstructed = model.inverse_transform(model.transform(X))
    # Decoded draws have the mean and the spread of decoded codes, in units of that spread; errors of 300 rows are 0.06.
    spread = reconstructed.std(0)
    np.testing.assert_allclose(means.mean(0) / spread, reconstructed.mean(0) / spread, atol=0.25)
    np.testing.assert_allclose(means.std(0) / spread, 1.0, atol=0.25)
    model.save(tmp_path / "run")
    again = isthmus.load(tmp_path / "run").sample(5, random_state=1)
    np.testing.assert_array_equal(again, model.sample(5, random_state=1))


def test_it_is_evaluated_and_diagnosed_without_a_density():
    model = small("Autoencoder", prior="refit(3)", latent_dim=2, epochs=5).fit(X)
    measured = isthmus.evaluate(model, X).to_dict()
    assert "log_likelihood" not in measured
    assert "kl" not in measured
    assert isinstance(isthmus.diagnose(model, X), list)
    with pytest.raises(AttributeError, match="has no density"):
        model.score_samples(X)


def test_without_it_an_autoencoder_does_not_sample_and_other_priors_are_refused():
    assert not small("Autoencoder").fit(X).capabilities.samples
    with pytest.raises(isthmus.InputError, match=r"prior must be 'refit\(k\)', or 'normal' for none"):
        small("Autoencoder", prior="mixture(3)").fit(X)
