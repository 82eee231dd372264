"""In which type keys and values are kept: a choice of its own beside the arithmetic of weights and activations."""

import torch

from tidemill.config.settings import KVPrecision

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}


def choose_kv_dtype(asked: KVPrecision, *, model_dtype: torch.dtype) -> torch.dtype:
    """The type asked for; left to us, that of the model's own activations, which is bf16 under integer weights."""
    return model_dtype if asked == "auto" else _DTYPES[asked]


def kv_precision_name(dtype: torch.dtype) -> str:
    """The name of a cache's type in settings."""
    return next(name for name, named in _DTYPES.items() if named == dtype)
