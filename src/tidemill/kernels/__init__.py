"""Functions on tensors: no request, no configuration."""
