"""The numerics fingerprint: equal on two machines only if they give the same bits for the same request."""

import hashlib
from importlib.metadata import version
from pathlib import Path

import torch

from tidemill import __version__
from tidemill.runner.devices import Compute

_WHOLE_FILE_BYTES = 64 * 1024 * 1024
_SAMPLE_BYTES = 4096
_NUM_SAMPLES = 256
_MIXED_FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8", "bf16", "sve")


def weights_digest(folder: Path) -> str:
    """Hex SHA-256 that stands for the weights and config of `folder`.

    Small files count whole. Of a large one: its size, its first `_SAMPLE_BYTES` (of a safetensors file, the header's
    beginning) and samples spread evenly over it, which tells models apart without reading them.
    """
    digest = hashlib.sha256()
    for path in sorted((*folder.glob("*.safetensors"), folder / "config.json")):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}\n".encode())
        with path.open("rb") as file:
            if size <= _WHOLE_FILE_BYTES:
                digest.update(file.read())
                continue
            for index in range(_NUM_SAMPLES):
                file.seek(index * (size - _SAMPLE_BYTES) // (_NUM_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def numerics_fingerprint(
    weights: str, compute: Compute, *, cpu_flags: frozenset[str], kernels: str, max_model_len: int
) -> str:
    """Hex SHA-256 over everything that can change a bit of the output: weights, arithmetic, versions, instructions.

    `weights` is a digest of them as they are computed with, and `kernels` names their backend. The served length counts
    because dynamic rotary scaling depends on it; the number of threads does not count.
    """
    if compute.device.type == "cuda":
        machine = f"{torch.cuda.get_device_name(compute.device)} {torch.version.cuda}"
    else:
        flags = ",".join(flag for flag in _MIXED_FLAGS if flag in cpu_flags)
        machine = f"{torch.backends.cpu.get_cpu_capability()} {flags}"
    parts = (
        weights,
        compute.precision,
        f"keys and values {compute.kv_dtype}",
        f"row tile {compute.row_tile}",
        f"kernels {kernels}",
        f"length {max_model_len}",
        f"torch {torch.__version__}",
        f"numba {version('numba')}",
        f"numpy {version('numpy')}",
        f"tidemill {__version__}",
        machine,
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
