"""The public models, one file a group."""
