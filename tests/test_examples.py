"""Examples: rows are taken together with everything that belongs to them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from isthmus.examples import Examples


def test_examples_are_taken_together():
    frame = pd.DataFrame({"a": [1.0, 2, 3], "b": [4.0, 5, 6]})
    rows = Examples(frame, y=["u", "v", "w"], lengths=np.array([3, 2, 1]), observed=frame.to_numpy() > 1)
    some = rows.take(np.array([2, 0]))
    assert len(rows) == 3
    assert len(some) == 2
    assert list(some.x.columns) == ["a", "b"]
    assert some.x["a"].tolist() == [3, 1]
    assert some.y.tolist() == ["w", "u"]
    assert some.lengths.tolist() == [1, 3]
    assert some.observed.tolist() == [[True, True], [False, True]]
    assert some.condition is None
    assert some.target is None
    assert some.factors is None
    assert set(rows.model_kwargs()) == {"lengths", "observed"}


def test_a_subsample_is_a_random_choice_in_row_order():
    rows = Examples(np.arange(100), factors=np.arange(100)[:, None])
    some = rows.subsample(30, seed=0)
    assert (np.diff(some.x) > 0).all()
    assert (some.factors[:, 0] == some.x).all()
    assert some.x.tolist() != rows.subsample(30, seed=1).x.tolist()
    assert some.x.tolist() == rows.subsample(30, seed=0).x.tolist()
    assert rows.subsample(100, seed=0) is rows
