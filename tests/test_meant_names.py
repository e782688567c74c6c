"""Fields, arguments and words that do not exist: the error names what was probably meant."""

from __future__ import annotations

import pytest
from sklearn.pipeline import make_pipeline

import isthmus
from models import small, table


@pytest.mark.parametrize(
    ("name", "meant"),
    [("lr", "'learning_rate'"), ("seed", "'random_state'"), ("latent_dims", "'latent_dim'"), ("gpu", "device='cuda'")],
)
def test_set_params_names_the_field_that_was_meant(name, meant):
    message = f"^field of VAE must be one of .*, got '{name}'. Did you mean {meant}\\?$"
    with pytest.raises(isthmus.InputError, match=message):
        isthmus.VAE().set_params(**{name: 3})
    with pytest.raises(ValueError, match=message):
        make_pipeline(isthmus.VAE()).set_params(**{f"vae__{name}": 3})


def test_set_params_sets_what_it_knows():
    model = isthmus.VAE()
    assert model.set_params() is model
    assert model.set_params(latent_dim=3, beta=2).get_params()["latent_dim"] == 3
    for name in ("encoder__width", "qqqq", "qqqq__width"):
        with pytest.raises(isthmus.InputError, match=rf"got '{name}'"):
            model.set_params(latent_dim=4, **{name: 3})
    assert model.latent_dim == 3


@pytest.mark.parametrize(
    ("method", "name", "meant"),
    [
        ("fit", "sample_weights", "sample_weight"),
        ("fit", "weights", "sample_weight"),
        ("fit", "validation_data", "validation"),
        ("fit", "callback", "callbacks"),
        ("fit_transform", "sample_weights", "sample_weight"),
        ("transform", "seed", "random_state"),
        ("transform", "n_draws", "draws"),
        ("reconstruct", "length", "lengths"),
        ("posterior_of", "conditions", "condition"),
        ("inverse_transform", "length", "lengths"),
        ("elbo", "n_draws", "draws"),
        ("score_samples", "samples", "draws"),
        ("score", "sample_weights", "sample_weight"),
        ("sample", "seed", "random_state"),
        ("sample", "n_samples", "n"),
    ],
)
def test_methods_name_the_argument_that_was_meant(method, name, meant):
    model, x = small("VAE", epochs=1).fit(table()), () if method == "sample" else (table(),)
    with pytest.raises(TypeError, match=rf"must be one of .*, got '{name}'. Did you mean '{meant}'\?$") as info:
        getattr(model, method)(*x, **{name: 3})
    assert "\n" not in str(info.value)
    with pytest.raises(TypeError, match=r"got 'qqqq'\.$"):
        getattr(model, method)(*x, qqqq=3)


@pytest.mark.parametrize(
    ("field", "value", "meant"),
    [
        ("likelihood", "gausian", "normal"),
        ("likelihood", "gaussian(0.1)", "normal"),
        ("likelihood", "Normal", "normal"),
        ("likelihood", "binary_crossentropy", "bce"),
        ("likelihood", "l2", "mse"),
        ("likelihood", ("normal", "gausian", "normal", "normal", "normal"), "normal"),
        ("prior", "mixtur(5)", "mixture"),
        ("prior", "gmm(3)", "mixture"),
        ("prior", "gaussian", "normal"),
        ("posterior", "gaussian", "normal"),
        ("bound", "ivae(5)", "iwae"),
        ("corruption", "gausian(0.1)", "gaussian"),
        ("network", "cnn", "conv"),
        ("network", "dense", "mlp"),
        ("scaling", "zscore", "standard"),
        ("optimizer", "adam", "adamw"),
        ("initialization", "pcs", "pca"),
        ("activation", "rellu", "relu"),
        ("activation", "swish", "silu"),
        ("precision", "double", "float64"),
        ("precision", "flaot64", "float64"),
        ("device", "gpu", "cuda"),
        ("device", "cdua", "cuda"),
    ],
)
def test_fields_name_the_word_that_was_meant(field, value, meant):
    with pytest.raises(isthmus.InputError, match=rf"^{field} must be .*\. Did you mean '{meant}'\?$"):
        small("VAE", epochs=1, **{field: value}).fit(table())


@pytest.mark.parametrize("field", ["hidden", "channels", "warmup", "latent_dim", "learning_rate", "clip", "patience"])
def test_fields_that_may_be_auto_say_so(field):
    with pytest.raises(isthmus.InputError, match=rf"^{field} must be .* or 'auto', got 'atuo'"):
        small("VAE", **{"epochs": 1, field: "atuo"}).fit(table())
