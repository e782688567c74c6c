"""isthmus: autoencoders of every kind, trained, checked, explained and used.

Names are imported when they are first used, so that `import isthmus` costs nothing.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

_PLACES = {
    "LatentModel": "isthmus.latent_model",
    "Batch": "isthmus.batch",
    "Schema": "isthmus.schema",
    "InputError": "isthmus.errors",
    "TrainingError": "isthmus.errors",
    "fit": "isthmus.train.functional",
    "load": "isthmus.persistence.serialization",
    "read": "isthmus.data",
    "check": "isthmus.data_checks",
    "evaluate": "isthmus.evaluation.evaluate",
    "diagnose": "isthmus.diagnosis.diagnose",
    "wrap": "isthmus.diagnosis.wrap",
    "report_page": "isthmus.report.from_run",
    "compare": "isthmus.comparison.compare",
}
_MODULES = ("plot",)
"""Modules that are imported when they are first used."""


def __getattr__(name: str) -> Any:
    import importlib

    if name == "__all__":
        return [shown for shown in __dir__() if not shown.startswith("_") and shown not in ("Any", "annotations")]
    if name in _PLACES:
        value = getattr(importlib.import_module(_PLACES[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"isthmus.{name}")
    elif name.startswith("_"):
        raise AttributeError(f"module 'isthmus' has no attribute {name!r}")
    else:
        from isthmus.registry import models

        if name not in models():
            import difflib

            near = difflib.get_close_matches(name, [*models(), *_PLACES, *_MODULES], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise AttributeError(f"module 'isthmus' has no attribute {name!r}{hint}")
        value = getattr(importlib.import_module(models()[name].module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    from isthmus.registry import models

    return sorted({*globals(), *_PLACES, *_MODULES, *models()})
