"""Restored images beside the filters of scikit-image, at the filters' best settings.

    ISTHMUS_DATA=folder python benchmarks/denoising.py [SET ...] [--damage NAME] [--updates 2000] [--seed 0]

Sets: mnist, frey (the folder holds mnist.npz and freyfaces.npz; without, they are skipped) and colour, squares of
32 x 32 pixels of the photos that scikit-learn and scikit-image ship: the left three quarters of each photo to train on,
squares of the right quarter to test on. A square without contrast is left out. Noise is in units of the
range of bytes; salt and pepper are the extremes of the images. A filter's settings are those with the best PSNR on some
of the test images themselves, which favours the filter; the model is trained with its defaults but for the batch and
the updates. PSNR is that of the squared error over all test images. Needs scikit-image: pip install isthmus[benchmark].
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import skimage.data
import torch
from scipy.ndimage import median_filter
from skimage.restoration import denoise_nl_means, inpaint_biharmonic
from sklearn.datasets import load_sample_images

import isthmus
from isthmus.metrics.image_quality import psnr, ssim

Images = np.ndarray
"""(n, h, w[, c]) bytes."""

TRAIN_ROWS, TEST_ROWS, TUNING_ROWS = 4_000, 200, 25
"""Images to train on and to test on, at most, and those of the latter by which a filter's settings are chosen."""
PEAK = 255
"""The range of bytes."""
BATCH = 16
SIDE_PX, STEP_PX, MIN_CONTRAST = 32, 16, 10
"""Side of a square of a photo, distance of neighbouring ones to train on, and the grey levels that it varies by."""
DAMAGE = {
    "gaussian(0.1)": 2.0,
    "gaussian(0.25)": 6.0,
    "salt_and_pepper(0.1)": 2.0,
    "salt_and_pepper(0.3)": 6.0,
    "mask(0.3)": 6.0,
}
"""Each damage, noise in units of the range, and the decibels by which restored images should be better."""
PATCHES, DISTANCES, STRENGTHS = (3, 5, 7), (6, 11), (0.4, 0.6, 0.8, 1.0, 1.3)
"""Settings of non-local means that are tried; strengths in standard deviations of the damage."""
MEDIANS = (3, 5, 7)


def from_file(name: str) -> dict[str, np.ndarray] | None:
    """Arrays of a file in the folder of the data; None if it is not there."""
    path = Path(os.environ.get("ISTHMUS_DATA") or "/nonexistent") / name
    if not path.exists():
        return None
    with np.load(path) as file:
        return {key: file[key] for key in file.files}


def mnist(random: np.random.Generator) -> tuple[Images, Images] | None:
    arrays = from_file("mnist.npz")
    return None if arrays is None else (arrays["x_train"], arrays["x_test"])


def frey(random: np.random.Generator) -> tuple[Images, Images] | None:
    arrays = from_file("freyfaces.npz")
    if arrays is None:
        return None
    x = arrays["x"][random.permutation(len(arrays["x"]))]
    return x[TEST_ROWS:], x[:TEST_ROWS]


def colour(random: np.random.Generator) -> tuple[Images, Images]:
    photos = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea(), *load_sample_images().images]
    train, test = [], []
    for photo in photos:
        cut = 3 * photo.shape[1] // 4
        train.append(squares(photo[:, :cut], STEP_PX))
        test.append(squares(photo[:, cut:], SIDE_PX))
    return np.concatenate(train), np.concatenate(test)


def squares(photo: np.ndarray, step: int) -> Images:
    """Squares of a photo with some contrast, `step` pixels apart."""
    tops, lefts = (range(0, length - SIDE_PX + 1, step) for length in photo.shape[:2])
    cut = np.stack([photo[i : i + SIDE_PX, j : j + SIDE_PX] for i, j in itertools.product(tops, lefts)])
    return cut[cut.std((1, 2)).mean(-1) > MIN_CONTRAST]


SETS: dict[str, Callable[[np.random.Generator], tuple[Images, Images] | None]] = {
    "mnist": mnist,
    "frey": frey,
    "colour": colour,
}


def restorer(damage: str, train: Images, updates: int, seed: int) -> isthmus.DenoisingAutoencoder:
    """The model, trained to undo this damage."""
    name, amount = kind_and_amount(damage)
    if name == "gaussian":  # a model's noise is in the units that its networks read
        amount *= PEAK / float(np.sqrt(train.var(0, dtype=np.float64).mean()))
    epochs = max(1, round(updates * BATCH / (0.9 * len(train))))
    fields = {"epochs": epochs, "batch_size": BATCH, "threads": 1, "random_state": seed}
    return isthmus.DenoisingAutoencoder(corruption=f"{name}({amount})", **fields).fit(train)


def kind_and_amount(damage: str) -> tuple[str, float]:
    """ "mask(0.3)" as "mask" and 0.3."""
    name, _, amount = damage.rstrip(")").partition("(")
    return name, float(amount)


def damaged(
    damage: str, x: Images, ends: tuple[int, int], random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Damaged images, from 0 to 1 but for noise, and where their elements were replaced."""
    (name, amount), y, u = kind_and_amount(damage), x / PEAK, random.random(x.shape)
    if name == "gaussian":
        return y + amount * random.normal(size=x.shape), np.zeros(x.shape, bool)
    if name == "mask":
        return np.where(u < amount, 0.0, y), u < amount
    low, high = (end / PEAK for end in ends)
    return np.where(u < amount / 2, low, np.where(u < amount, high, y)), u < amount


def channels_last(x: np.ndarray) -> np.ndarray:
    return x[..., None] if x.ndim == 3 else x


def non_local_means(y: np.ndarray, deviation: float, patch: int, distance: int, strength: float) -> np.ndarray:
    fields = {"patch_size": patch, "patch_distance": distance, "h": strength * deviation, "sigma": deviation}
    filtered = [denoise_nl_means(one, fast_mode=False, channel_axis=-1, **fields) for one in channels_last(y)]
    return np.stack(filtered).reshape(y.shape)


def median(y: np.ndarray, deviation: float, side: int) -> np.ndarray:
    return median_filter(channels_last(y), (1, side, side, 1)).reshape(y.shape)


def biharmonic(y: np.ndarray, masked: np.ndarray) -> np.ndarray:
    """Inpainting that is told which elements are masked, a channel at a time: each has a mask of its own."""
    flat, holes = (np.moveaxis(channels_last(a), -1, 1).reshape(-1, *a.shape[1:3]) for a in (y, masked))
    filled = np.stack([inpaint_biharmonic(one, hole) for one, hole in zip(flat, holes)])
    return np.moveaxis(filled.reshape(len(y), -1, *y.shape[1:3]), 1, -1).reshape(y.shape)


def decibels(restored: np.ndarray, clean: np.ndarray) -> float:
    """PSNR of images whose range is 0 to 1."""
    return psnr(np.square(restored.clip(0, 1) - clean).reshape(len(clean), -1).mean(1), 1.0).mean


def best(filtered: Callable[..., np.ndarray], settings: list[tuple], y: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """The images filtered with those settings that are best on the first of them."""
    deviation, few = float((y - clean).std()), slice(TUNING_ROWS)
    chosen = max(settings, key=lambda values: decibels(filtered(y[few], deviation, *values), clean[few]))
    return filtered(y, deviation, *chosen)


def row(name: str, damage: str, train: Images, test: Images, updates: int, seed: int) -> str:
    """A line of the table."""
    started = time.process_time()
    model = restorer(damage, train, updates, seed)
    seconds = time.process_time() - started
    clean = test / PEAK
    y, replaced = damaged(damage, test, (train.min(), train.max()), np.random.default_rng(seed))
    restored = {
        "model": model.reconstruct(PEAK * y).astype(np.float64) / PEAK,
        "means": best(non_local_means, list(itertools.product(PATCHES, DISTANCES, STRENGTHS)), y, clean),
        "median": best(median, [(side,) for side in MEDIANS], y, clean),
    }
    if damage.startswith("mask"):
        restored["biharmonic"] = biharmonic(y, replaced)
    before = decibels(y, clean)
    after = {key: decibels(values, clean) for key, values in restored.items()}
    similar = {key: float(ssim(values.clip(0, 1), clean, 1.0).mean()) for key, values in restored.items()}
    others = [value for key, value in after.items() if key != "model"]
    met = after["model"] > max(others) and after["model"] - before >= DAMAGE[damage]
    cells = [
        f"{after[k]:.2f}, {similar[k]:.3f}" if k in after else "" for k in ("model", "means", "median", "biharmonic")
    ]
    gain = f"{after['model'] - before:+.2f} (≥ {DAMAGE[damage]:g})"
    verdict = "yes" if met else "**no**"
    return f"| {name} | {damage} | {before:.2f} | {' | '.join(cells)} | {gain} | {verdict} | {seconds:.0f} |"


def lines(sets: list[str], damages: list[str], updates: int, seed: int) -> Iterator[str]:
    versions = f"torch {torch.__version__}, skimage {skimage.__version__}"
    yield f"{platform.machine()}, {versions}, seed {seed}, {updates} updates; PSNR in dB and SSIM"
    columns = ("images", "damage", "damaged", "model", "non-local means", "median", "biharmonic", "gain, dB", "met")
    yield f"| {' | '.join(columns)} | training, CPU seconds |"
    yield "|---" * (len(columns) + 1) + "|"
    for name in sets:
        random = np.random.default_rng(seed)
        images = SETS[name](random)
        if images is None:
            yield f"| {name} | skipped: set ISTHMUS_DATA to a folder that holds it |" + " |" * 8
            continue
        train, test = (x[random.permutation(len(x))[:count]] for x, count in zip(images, (TRAIN_ROWS, TEST_ROWS)))
        for damage in damages:
            yield row(name, damage, train, test, updates, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", choices=[[], *SETS], default=list(SETS), metavar="SET")
    parser.add_argument("--damage", choices=list(DAMAGE), help="one of the damages (default: all)")
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    damages = [args.damage] if args.damage else list(DAMAGE)
    for line in lines(args.sets or list(SETS), damages, args.updates, args.seed):
        print(line)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
