"""The history of a fit: a list with a record for each epoch, which becomes a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


class History(list[dict[str, Any]]):
    """A dict for each epoch: its number, step, progress, seconds, and the means of the loss and of each term, nats."""

    def to_frame(self) -> pd.DataFrame:
        """A row for each epoch, indexed by its number; NaN where an epoch was not validated."""
        import pandas as pd

        frame = pd.DataFrame(list(self))
        return frame.set_index("epoch") if len(frame) else frame
