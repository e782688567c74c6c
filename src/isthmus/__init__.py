"""isthmus: train, evaluate, diagnose and use autoencoders of every kind.

Names are imported when they are first used, so that `import isthmus` is fast.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

_MODULE_OF = {
    "LatentModel": "isthmus.latent_model",
    "FittedModel": "isthmus.fitted",
    "Batch": "isthmus.batch",
    "Examples": "isthmus.examples",
    "Schema": "isthmus.schema",
    "InputError": "isthmus.errors",
    "TrainingError": "isthmus.errors",
    "fit": "isthmus.train.functional",
    "load": "isthmus.persistence.serialization",
    "save": "isthmus.persistence.serialization",
    "read": "isthmus.data",
    "check": "isthmus.data_checks",
    "evaluate": "isthmus.evaluation.evaluate",
    "diagnose": "isthmus.diagnosis.diagnose",
    "wrap": "isthmus.diagnosis.wrap",
    "report_page": "isthmus.report.from_run",
    "compare": "isthmus.comparison.compare",
}
"""Public names besides the models, which `isthmus.model_registry` lists."""
_MODULES = ("callbacks", "plot")
"""Public modules."""


def __getattr__(name: str) -> Any:
    import importlib

    if name == "__all__":
        return [public for public in __dir__() if not public.startswith("_")]
    if name in _MODULE_OF:
        value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"isthmus.{name}")
    elif name.startswith("_"):
        raise AttributeError(f"module 'isthmus' has no attribute {name!r}")
    else:
        from isthmus.model_registry import models

        if name not in models():
            import difflib

            nearest = difflib.get_close_matches(name, [*models(), *_MODULE_OF, *_MODULES], n=1)
            hint = f". Did you mean {nearest[0]!r}?" if nearest else ""
            raise AttributeError(f"module 'isthmus' has no attribute {name!r}{hint}")
        value = getattr(importlib.import_module(models()[name].module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names alone: no imports of this file, and no modules that happen to be loaded."""
    from isthmus.model_registry import models

    return sorted({"__version__", *_MODULE_OF, *_MODULES, *models()})
