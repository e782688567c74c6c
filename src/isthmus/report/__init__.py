"""Reports on trained models: the page, the figures and the summary of a run."""
