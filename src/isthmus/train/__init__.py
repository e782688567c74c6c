"""Training: rows resident on the device, one flat update, checkpoints that resume to the last bit."""
