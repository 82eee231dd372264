"""Decoders, their dimensions and their weights."""
