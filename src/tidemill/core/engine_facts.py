"""What an engine's model and machine turned out to be once it was loaded: told by who loads, kept by who serves."""

import msgspec

from tidemill.core.quantization import Quantization


class EngineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of one loaded model on one device."""

    architecture: str
    family: str
    num_parameters: int
    weight_bytes: int
    precision: str
    precision_reason: str = ""
    """Why this precision was chosen, in words."""
    quantization: Quantization | None = None
    kv_precision: str = ""
    """Type of keys and values in the cache; empty where nothing is kept."""
    device: str
    vocab_size: int
    max_model_len: int
    block_size: int
    num_blocks: int
    kv_cache_bytes: int
    num_threads: int
    numerics_fingerprint: str
