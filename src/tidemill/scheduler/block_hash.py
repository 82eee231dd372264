"""The name of a block's content: a chain of SHA-256 over (salt, model, adapter, all tokens up to the block's end)."""

import hashlib
import struct


class BlockHasher:
    """Names blocks of one model. Equal names mean equal keys and values, within SHA-256's collision resistance."""

    def __init__(self, model_fingerprint: bytes, block_size: int) -> None:
        self._model_fingerprint = model_fingerprint
        self.block_size = block_size
        self._pack = struct.Struct(f"<{block_size}I").pack

    def root(self, salt: str, adapter: str = "") -> bytes:
        """Start of a chain. The parts are length-prefixed, so that no two splits of the same bytes are alike."""
        digest = hashlib.sha256()
        for part in (salt.encode(), self._model_fingerprint, adapter.encode()):
            digest.update(struct.pack("<Q", len(part)))
            digest.update(part)
        return digest.digest()

    def extend(self, hashes: list[bytes], tokens: list[int], *, salt: str) -> None:
        """Append to `hashes` the names of the full blocks of `tokens` that are still missing there."""
        size = self.block_size
        num_full = len(tokens) // size
        if len(hashes) >= num_full:
            return
        parent = hashes[-1] if hashes else self.root(salt)
        for index in range(len(hashes), num_full):
            block = self._pack(*tokens[index * size : (index + 1) * size])
            parent = hashlib.sha256(parent + block).digest()
            hashes.append(parent)
