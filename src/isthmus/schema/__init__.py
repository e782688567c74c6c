"""What the data are, learned by `fit`: columns, their kinds and scaling, and the condition of a conditional model."""

from isthmus.schema.array_statistics import (
    DROP_COLUMNS,
    IMPUTE,
    MAX_ABSOLUTE_VALUE,
    MIN_DIFFERENCE,
    NUMBERS_AT_ONCE,
    OBSERVED,
    Rows,
    blocks_of,
    check_finite,
    has_underflow,
    is_integer_valued,
    kind_of,
    moments,
    row_count,
    safe_std,
    scaling_of,
    weighted_sum,
)
from isthmus.schema.columns import ARRAYS, KINDS, WHOLE_KINDS, Column, InputScaler, Schema
from isthmus.schema.condition import Condition, json_label
from isthmus.schema.labels import Labels

__all__ = [
    "ARRAYS",
    "DROP_COLUMNS",
    "IMPUTE",
    "KINDS",
    "MAX_ABSOLUTE_VALUE",
    "MIN_DIFFERENCE",
    "NUMBERS_AT_ONCE",
    "OBSERVED",
    "WHOLE_KINDS",
    "Column",
    "Condition",
    "InputScaler",
    "Labels",
    "Rows",
    "Schema",
    "blocks_of",
    "check_finite",
    "has_underflow",
    "is_integer_valued",
    "json_label",
    "kind_of",
    "moments",
    "row_count",
    "safe_std",
    "scaling_of",
    "weighted_sum",
]
