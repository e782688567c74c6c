"""Built-in data sets: those that ship with scikit-learn, those that it downloads, and sprites, which are drawn."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from isthmus.data.dataset import Dataset
from isthmus.errors import InputError
from isthmus.examples import Examples
from isthmus.wording import one_line

if TYPE_CHECKING:
    import numpy as np

BUILT_IN = {
    "digits": "1,797 images of handwritten digits, 8 x 8 pixels of 17 grey levels, ten classes",
    "wine": "a table of 178 wines, 13 chemical measurements, three cultivars",
    "iris": "a table of 150 flowers, 4 measurements, three species",
    "breast_cancer": "a table of 569 tumours, 30 measurements, two diagnoses",
    "sprites": "6,144 binary images of a shape, 64 x 64, one for each combination of five generating factors",
    "mnist": "70,000 images of handwritten digits, 28 x 28 bytes, ten classes (downloaded at first use)",
    "fashion_mnist": "70,000 images of clothes, 28 x 28 bytes, ten classes (downloaded at first use)",
    "olivetti_faces": "400 images of 40 faces, 64 x 64 floats from 0 to 1 (downloaded at first use)",
}
"""Names that `read` accepts, each with a one-line description."""


def load_built_in(name: str) -> Dataset:
    """Load a built-in data set; raises InputError if it has to be downloaded and cannot be."""
    if name == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        return Dataset(name, Examples(digits.images.astype("uint8"), digits.target), levels=17)
    if name in ("mnist", "fashion_mnist"):
        x, y = download(name, _openml)
        return Dataset(name, Examples(x[:60_000], y[:60_000]), test=Examples(x[60_000:], y[60_000:]))
    if name == "olivetti_faces":
        x, y = download(name, _faces)
        return Dataset(name, Examples(x, y))
    if name == "sprites":
        from isthmus.data.sprites import sprites

        return sprites()
    from sklearn import datasets

    table = getattr(datasets, f"load_{name}")(as_frame=True)
    return Dataset(name, Examples(table.data.astype("float64"), table.target.to_numpy()))


def _openml(name: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import fetch_openml

    title = {"mnist": "mnist_784", "fashion_mnist": "Fashion-MNIST"}[name]
    x, y = fetch_openml(title, version=1, as_frame=False, return_X_y=True, n_retries=1)
    return x.reshape(-1, 28, 28).astype("uint8"), y.astype("int64")


def _faces(name: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import fetch_olivetti_faces

    faces = fetch_olivetti_faces(n_retries=1)
    return faces.images, faces.target


def download(name: str, fetch: Callable[[str], tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Call `fetch(name)`; without a network, raise an InputError that says what to do instead."""
    from http.client import HTTPException

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn warns before each retry; one error at the end is enough
            return fetch(name)
    except (OSError, HTTPException, ValueError) as error:
        why = one_line(str(getattr(error, "reason", "") or error)) or type(error).__name__
        raise InputError(
            f"cannot download {name}: {why}. Without a network, pass the path of a file that holds it, "
            f"e.g. {name}.npz with the keys x_train, y_train, x_test, y_test."
        ) from None
