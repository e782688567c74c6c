"""The public models, one file per group."""
