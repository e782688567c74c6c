"""What holds for every test."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _short_search_for_posteriors():
    """An evaluation splits the inference gap by few steps here; the split itself is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("isthmus.evaluation.log_likelihood.GAP_STEPS", 5)
        yield
