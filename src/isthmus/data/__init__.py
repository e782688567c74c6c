"""Reading: built-in names, arrays (.npy, .npz), tables (.csv, .parquet), folders of images.

Heavy modules are imported where they are used, so that listing what there is starts at once.
"""

from __future__ import annotations

from isthmus.data.built_in import BUILT_IN
from isthmus.data.dataset import Dataset
from isthmus.data.sources import FILES, read, read_raw
from isthmus.data.tables import NonNumericColumn, as_numbers, doubled

__all__ = ["BUILT_IN", "FILES", "Dataset", "NonNumericColumn", "as_numbers", "doubled", "read", "read_raw"]
