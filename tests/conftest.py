"""What holds for every test."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from fuzz_counts import OUTCOMES


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
