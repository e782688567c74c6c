"""Comparing models on the same rows, with the same budget and the same seeds."""
