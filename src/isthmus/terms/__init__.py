"""The summands of losses."""
