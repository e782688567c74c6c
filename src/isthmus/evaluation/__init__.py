"""Measures of a fitted model on rows, beside baselines fitted to its training rows."""
