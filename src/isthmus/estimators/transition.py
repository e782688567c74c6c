"""Methods of estimators that are being replaced by those of `FittedModel`; this file goes when nothing uses them."""

from __future__ import annotations

import typing
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.examples import Examples
from isthmus.fitted import FittedModel
from isthmus.train.device_data import DeviceDataset


class Transition:
    fitted_: FittedModel
    capabilities: Any

    @property
    def density(self) -> bool:
        return self.capabilities.has_density

    @property
    def device_(self) -> torch.device:
        return self.fitted_.device

    @property
    def dtype_(self) -> torch.dtype:
        return self.fitted_.dtype

    def _used(self) -> typing.ContextManager[None]:
        return self.fitted_.threads()

    def rows(self, X: Any, condition: Any = None, lengths: Any = None, *, bits: str = "mean") -> DeviceDataset:
        return self.fitted_.dataset(self._check(X, condition, lengths), bits)  # type: ignore[attr-defined]

    def lay(self, inputs: Examples, bits: str = "mean") -> DeviceDataset:
        return self.fitted_.dataset(inputs, bits)

    def codes_of(self, rows: DeviceDataset) -> Tensor:
        return self.fitted_.encode_rows(rows)

    def decoded(self, codes: Tensor, condition: Any, *, drawn: bool) -> np.ndarray:
        return self.fitted_.decode(codes, condition, draw=drawn)

    def squared_error(self, X: Any, *, condition: Any = None, lengths: Any = None, observed: Any = None) -> np.ndarray:
        return self.fitted_.squared_errors(self._check(X, condition, lengths, observed))  # type: ignore[attr-defined]

    def misses(self, inputs: Examples, codes: Tensor) -> np.ndarray:
        reconstruction = self.fitted_.decode(codes, inputs.condition, inputs.lengths)
        return self.fitted_.squared_errors(inputs, reconstruction)
