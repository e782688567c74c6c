"""What holds for every test."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from fuzz_counts import OUTCOMES
from models import OTHER_DEFAULTS


@pytest.fixture(scope="session", autouse=True)
def _short_search_for_posteriors():
    """An evaluation splits the inference gap by few steps here; the split itself is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("isthmus.evaluation.log_likelihood.GAP_STEPS", 5)
        yield


@pytest.fixture(autouse=True)
def _fuzz_counts(request):
    """Outcomes travel with the report of a test, also from other processes."""
    OUTCOMES.clear()
    yield
    if OUTCOMES:
        request.node.user_properties.append(("outcomes", dict(OUTCOMES)))


@pytest.hookimpl(tryfirst=True)  # before the grid is left out
def pytest_collection_modifyitems(items):
    """Models that are another one with other defaults meet the laws in the full grid; their parts are tested always."""
    for item in items:
        values = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if any(isinstance(value, str) and value in OTHER_DEFAULTS for value in values):
            item.add_marker(pytest.mark.grid)


def pytest_terminal_summary(terminalreporter):
    """What became of the broken inputs that each module of tests tried; any other outcome is a failed test."""
    totals: defaultdict[str, Counter] = defaultdict(Counter)
    for report in terminalreporter.stats.get("", []):  # the teardown of tests that passed
        for name, outcomes in getattr(report, "user_properties", ()):
            if name == "outcomes" and report.when == "teardown":
                totals[report.nodeid.partition("::")[0]].update(outcomes)
    for module, outcomes in sorted(totals.items()):
        each = ", ".join(f"{number:,} {outcome}" for outcome, number in outcomes.most_common())
        terminalreporter.write_line(f"{module}: {outcomes.total():,} broken inputs: {each}")
