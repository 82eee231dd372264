"""Turns a batch into tensors, runs the model, samples."""
