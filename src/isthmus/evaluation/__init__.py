"""Everything that is measured of a trained model, beside linear models on the same rows."""
