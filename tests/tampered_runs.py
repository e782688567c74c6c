"""Runs that were tampered with: a seeded generator of damaged and hostile folders."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import isthmus
from isthmus.persistence.serialization import config_hash
from models import images, small, table

FILES = ("config.json", "model.safetensors", "history.jsonl")
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 7, 10**8, 2**31, 2**63, 2**64, 10**30, -(10**30)),
    *(0.5, -0.5, 0.0, 1e-320, 1e308, float("inf"), float("-inf"), float("nan")),
    *("", "x", "auto", "none", "normal", "\x1b[31mred\nline", "a" * 20_000, "\ud800", "\u202e", "a\0b"),
    *("../../etc/passwd", "/dev/zero", "cuda:99", "meta", "mixture(100000000)", "full_mixture(1e400)", "refit(nan)"),
    *("iwae(1000000000)", "top_k(-1)", "blur(1e9)", "mask(nan)", "normal(1e-400)", "(" * 3000, "-" * 3000 + "1"),
    *([], [0], [-1], [10**8], [1] * 5000, ["x"], [[[]]], [float("nan")], [None], {}, {"module": "Net"}, {"x": {}}),
)
"""What an entry of a configuration is replaced by."""


def base_runs(folder: Path) -> list[Path]:
    """Sound runs of several kinds of models and data, each small."""
    x, y = table(60), np.arange(60) % 3
    fitted = {
        "vae": small("VAE", epochs=2).fit(x),
        "auto": small("VAE", epochs=1, latent_dim="auto", hidden="auto", prior="auto").fit(x),
        "conditional": small("ConditionalVAE", epochs=1, prior="conditional").fit(x, condition=y),
        "images": small("VAE", epochs=1, network="conv", channels=(2, 3), prior="mixture(2)").fit(images(40)),
        "sparse": small("SparseAutoencoder", epochs=1, latent_dim=6, sparsity="top_k(2)").fit(x),
        "columns": small("VAE", epochs=1, likelihood=("normal",) * 4 + ("laplace",)).fit(x),
        "ppca": small("ProbabilisticPCA").fit(x),
    }
    for name, model in fitted.items():
        model.save(folder / name)
    return [folder / name for name in fitted]


def codes_of(model: Any) -> np.ndarray:
    """The codes of fixed rows of the kind that a model was trained on."""
    rows = images(5) if len(model.schema_.event_shape) == 2 else table(60)[:5]
    condition = None if model.schema_.condition is None else np.arange(5) % 3
    return model.transform(rows, condition=condition)


def paths(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a JSON value with each of its keys or positions."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from paths(item)


def write_config(folder: Path, config: Any, *, with_hash: bool) -> None:
    """Write a configuration; with the weights' note of its hash, so that the mismatch does not give it away."""
    (folder / "config.json").write_text(json.dumps(config))
    if with_hash and isinstance(config, dict) and {"class", "fields", "schema"} <= set(config):
        rewrite(folder / "model.safetensors", values={"config_hash": config_hash(config)})


def rewrite(
    path: Path, change: Callable[[dict[str, torch.Tensor]], Any] | None = None, values: dict[str, Any] | None = None
) -> None:
    """Write a file of tensors anew with other tensors or values, and without a checksum."""
    if not path.exists():
        return
    with safe_open(str(path), framework="pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        stored = json.loads(file.metadata()["values"])
    if change is not None:
        change(tensors)
    stored = {name: value for name, value in (stored | (values or {})).items() if value is not REMOVED}
    save_file(tensors, str(path), metadata={"values": json.dumps(stored)})


def an_entry(folder: Path, random: np.random.Generator) -> str:
    """Replace, remove or rename one entry of the configuration."""
    config = json.loads((folder / "config.json").read_text())
    places = [(c, key) for c, key in paths(config) if not isinstance(c, list) or random.random() < 0.1]
    container, key = places[random.integers(len(places))]
    how = random.integers(8)
    if how == 0:
        del container[key]
    elif how == 1 and isinstance(container, dict):
        container[str(key) + "x"] = container.pop(key)
    else:
        container[key] = VALUES[random.integers(len(VALUES))]
    write_config(folder, config, with_hash=bool(random.integers(4)))
    return f"entry {key}"


def bytes_of(folder: Path, random: np.random.Generator) -> str:
    """Change, cut off, add or overwrite bytes of one file."""
    path = folder / FILES[random.integers(len(FILES))]
    if not path.exists():
        path = folder / FILES[0]
    data = bytearray(path.read_bytes())
    how = random.integers(5)
    if how < 2:
        for place in random.integers(len(data), size=random.integers(1, 4)):
            data[place] = random.integers(256)
    elif how == 2:
        del data[random.integers(len(data)) :]
    elif how == 3:
        data += bytes(random.integers(0, 256, random.integers(1, 50), dtype=np.uint8))
    else:
        start = random.integers(len(data))
        data[start : start + 40] = bytes(random.integers(0, 256, 40, dtype=np.uint8))
    path.write_bytes(bytes(data))
    return f"bytes of {path.name}"


def no_file(folder: Path, random: np.random.Generator) -> str:
    """Put nothing, a link, a pipe, a folder or another file in the place of one file."""
    path = folder / FILES[random.integers(len(FILES))]
    path.unlink(missing_ok=True)
    how = ("nothing", "a link", "a link to a device", "a dangling link", "a pipe", "a folder", "another")
    what = how[random.integers(len(how))]
    if what == "a link":
        path.symlink_to(Path(__file__))
    elif what == "a link to a device":
        path.symlink_to("/dev/zero")
    elif what == "a dangling link":
        path.symlink_to(folder / "missing")
    elif what == "a pipe":
        os.mkfifo(path)
    elif what == "a folder":
        path.mkdir()
    elif what == "another":
        path.write_bytes(Path(__file__).read_bytes())
    return f"{what} for {path.name}"


def tensors_of(folder: Path, random: np.random.Generator, file: str = "model.safetensors") -> str:
    """Change names, shapes, types or number of the tensors."""

    def change(tensors: dict[str, torch.Tensor]) -> None:
        name = sorted(tensors)[random.integers(len(tensors))]
        value = tensors.pop(name)
        how = random.integers(7)
        if how == 1:
            tensors[name + "x"] = value
        elif how == 2:
            tensors[name] = value.reshape(-1, 1)
        elif how == 3:
            tensors[name] = value.double() if value.dtype == torch.float32 else value.float()
        elif how == 4:
            tensors |= {name: value, "extra": torch.zeros(3)}
        elif how == 5:
            tensors[name] = torch.zeros(2, 3, 4)
        elif how == 6:
            tensors[name] = value.reshape(-1)[:0]

    rewrite(folder / file, change)
    return "tensors"


def checkpoint_of(folder: Path, random: np.random.Generator) -> str:
    """Change the checkpoint of a run that is not finished: its tensors, its values, the file or its folder."""
    path = folder / "checkpoint" / "state.safetensors"
    how = random.integers(6)
    if how < 2:
        return tensors_of(folder, random, "checkpoint/state.safetensors")
    if how < 4:
        names = ("step", "best_step", "best_value", "seconds", "epochs")
        name = names[random.integers(len(names))]
        value = (*VALUES, REMOVED)[random.integers(len(VALUES) + 1)]
        rewrite(path, values={name: value})
        return f"value of {name}"
    if how == 4:

        def change(tensors: dict[str, torch.Tensor]) -> None:
            name = ("order", "rng.cpu", "best/weight/model.likelihood.net.layers.0.weight")[random.integers(3)]
            tensors[name] = torch.from_numpy(random.integers(0, 99, tuple(tensors[name].shape))).to(tensors[name].dtype)

        rewrite(path, change)
        return "numbers"
    inner = path.parent
    shutil.move(inner, folder / "elsewhere")
    if random.integers(2):
        inner.symlink_to(folder / "elsewhere")
        return "a link for checkpoint"
    inner.mkdir()
    os.mkfifo(path)
    return "a pipe for the checkpoint"


def lines_of(folder: Path, random: np.random.Generator) -> str:
    """Add or change lines of the history."""
    path = folder / "history.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    record = {"epoch": 1, "step": 2, "progress": 0.1, "seconds": 0.1, "loss": VALUES[random.integers(len(VALUES))]}
    bad = ("[1]", "{", "null", '"x"', "[" * 2000, "1" * 6000, "{}", json.dumps(record))
    lines.insert(random.integers(len(lines) + 1), bad[random.integers(len(bad))])
    path.write_text("\n".join(lines) + "\n")
    return "lines"


REMOVED = object()
WAYS = (an_entry, an_entry, an_entry, an_entry, bytes_of, no_file, tensors_of, lines_of)


WAYS_TO_RESUME = (an_entry, checkpoint_of, checkpoint_of, checkpoint_of, lines_of)


def tampered(base: Path, folder: Path, seed: int, ways: tuple[Callable[..., str], ...] = WAYS) -> str:
    """Copy a sound run to `folder` and tamper with it; what was done, in words."""
    random = np.random.default_rng(seed)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder)
    return ways[random.integers(len(ways))](folder, random)


def outcome(folder: Path) -> tuple[str, str, Any]:
    """Load a run: "loaded" or "refused", the message, and the codes of fixed rows."""
    try:
        model = isthmus.load(folder)
    except isthmus.InputError as error:
        return "refused", str(error), None
    return "loaded", "", model


# ------------------------------------------------------------------ what would cost time or memory


def with_entry(*keys: Any, value: Any) -> Callable[[Path], None]:
    """A change of one entry of the configuration, whose hash is then stored with the weights."""

    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        container = config
        for key in keys[:-1]:
            container = container[key]
        container[keys[-1]] = value
        write_config(folder, config, with_hash=True)

    return change


def with_file(name: str, data: bytes, size: int = 0) -> Callable[[Path], None]:
    """A change of one file: other bytes, then a hole up to a size."""

    def change(folder: Path) -> None:
        with (folder / name).open("wb") as file:
            file.write(data)
            if size:
                file.truncate(size)

    return change


def with_pipe(name: str) -> Callable[[Path], None]:
    """A pipe that nobody writes to in the place of a file."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return change


def header(specs: dict[str, Any]) -> bytes:
    """The start of a file of tensors."""
    text = json.dumps(specs).encode()
    return len(text).to_bytes(8, "little") + text


def many_tensors(count: int) -> bytes:
    """A file of many empty tensors."""
    return header({f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(count)})


BIG = 20 * 2**30
COSTLY: dict[str, Callable[[Path], None]] = {
    "a wide layer": with_entry("fields", "hidden", value=[10**8]),
    "many layers": with_entry("fields", "hidden", value=[1] * 10**6),
    "as many as can be read": with_entry("fields", "channels", value=[1] * 10**5),
    "a wide code": with_entry("fields", "latent_dim", value=10**6),
    "large examples": with_entry("schema", "event_shape", value=[10**9]),
    "examples without end": with_entry("schema", "event_shape", value=[2**40] * 8),
    "a mixture": with_entry("fields", "prior", value="full_mixture(100000000)"),
    "a blur": with_entry("fields", "corruption", value="blur(1e9)"),
    "draws": with_entry("fields", "bound", value="iwae(1000000000)"),
    "a nested name": with_entry("fields", "prior", value="(" * 10**6),
    "columns": with_entry(
        *("schema", "columns"),
        value=[{"kind": "real", "likelihood": "normal", "levels": 0, "discrete": False, "width": 1}] * 10**5,
    ),
    "fewer columns": with_entry(
        *("schema", "columns"),
        value=[{"kind": "real", "likelihood": "normal", "levels": 0, "discrete": False, "width": 1}] * 10**4,
    ),
    "names": with_entry("schema", "names", value=["a"] * 3 * 10**5),
    "classes": with_entry("schema", "condition", value={"classes": list(range(3 * 10**5)), "shift": [], "scale": []}),
    "means": with_entry("schema", "shift", value=[0.5] * 3 * 10**5),
    "nested means": with_entry("schema", "shift", value=[[[[0.5]]]] * 5 * 10**4),
    "a long text": with_entry("broken", value="\n" * 3 * 10**7),
    "small lists": with_file("config.json", b"[" + b"[]," * 10**7 + b"0]"),
    "small objects": with_file("config.json", b"[" + b"{}," * 10**7 + b"0]"),
    "deep lists": with_file("config.json", b"[" * 10**6),
    "a large configuration": with_file("config.json", b"{", BIG),
    "lines of small objects": with_file("history.jsonl", b"{}\n" * 10**7),
    "a long line": with_file("history.jsonl", b"[" * 10**7 + b"\n"),
    "a large history": with_file("history.jsonl", b"\n", BIG),
    "good lines": with_file(
        "history.jsonl", b'{"epoch": 1, "step": 1, "progress": 0.5, "seconds": 0.1, "loss": 1.5}\n' * 10**6
    ),
    "weights of holes": with_file(
        "model.safetensors", header({"x": {"dtype": "F32", "shape": [BIG // 4], "data_offsets": [0, BIG]}}), BIG
    ),
    "many tensors": with_file("model.safetensors", many_tensors(6 * 10**4)),
    "a large header": with_file("model.safetensors", (BIG - 8).to_bytes(8, "little") + b"{", BIG),
    "a pipe for the configuration": with_pipe("config.json"),
    "a pipe for the weights": with_pipe("model.safetensors"),
    "a pipe for the history": with_pipe("history.jsonl"),
}
"""Folders that would cost much, if they were believed."""
SLOW_TO_MAKE = (
    *("many layers", "columns", "fewer columns", "names", "classes", "means", "nested means", "a long text"),
    *("small lists", "small objects", "good lines", "many tensors"),
)
"""Those that take a moment to make."""

MEASURE = """
import json, os, resource, sys, warnings
import isthmus
from isthmus.persistence import serialization
warnings.simplefilter("ignore")
isthmus.load(sys.argv[1])  # imports whatever loading needs
for folder in sys.argv[1:]:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        try:
            isthmus.load(folder)
            said = "loaded"
        except isthmus.InputError as error:
            said = str(error)
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode("utf-8", "replace")[:4000])
        os._exit(0)
    _, status, used = os.wait4(child, 0)
    os.close(writing)
    said = os.read(reading, 4000).decode() if not status else f"died: {status}"
    print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, said]), flush=True)
"""
"""Loads folders, each in a process of its own; prints seconds of the CPU, the peak of memory in bytes, and what it
said."""
