"""Reading data sets: built-in names, arrays (.npy, .npz), tables (.csv, .parquet) and images.

Heavy modules are imported inside functions, so that the list of data sets is available at once.
"""

from __future__ import annotations

from isthmus.data.built_in import BUILT_IN
from isthmus.data.dataset import Dataset
from isthmus.data.image_options import ImageOptions
from isthmus.data.sources import FILE_SUFFIXES, read, read_raw
from isthmus.data.tables import NonNumericColumn, first_duplicate, split_numeric_columns

__all__ = [
    "BUILT_IN",
    "FILE_SUFFIXES",
    "Dataset",
    "ImageOptions",
    "NonNumericColumn",
    "first_duplicate",
    "read",
    "read_raw",
    "split_numeric_columns",
]
