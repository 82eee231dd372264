"""The packed form of a model as one file: arrays, 64-byte aligned, and a JSON header that says what and where they are.

Layout: a preamble of 64 bytes (magic, version, place and SHA-256 of the header), the arrays, the header. Nothing in it
is ever unpickled. Which arrays a model has is `packed_parts.py`'s business.
"""

import contextlib
import hashlib
import logging
import mmap
import os
import struct
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from tidemill.core.regular_file import open_regular
from tidemill.models.quantization.evidence import Evidence, Format

Array = NDArray[Any]
ALIGNMENT = 64
_MAGIC = b"TIDEPACK"
_VERSION = 1
_PREAMBLE = struct.Struct("<8sII QQ 32s")
_MAX_HEADER_BYTES = 64 * 1024 * 1024
_PIECE_BYTES = 1024 * 1024
_LANE_BYTES = 4096
_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float32")


class DamagedFileError(Exception):
    """The file is not one of ours, or not as it was written."""


class ArrayPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One array in the file. `digest` is `digest_of` its bytes."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    digest: str

    @property
    def num_bytes(self) -> int:
        """Its size."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count * int(np.dtype(self.dtype).itemsize)


class PackedMatrix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One matrix; its arrays are named after it."""

    format: Format
    in_features: int
    out_features: int


class PackedHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file holds. `key` is what it was made from."""

    key: str
    arrays: dict[str, ArrayPlace]
    matrices: dict[str, PackedMatrix]
    evidence: Evidence

    @property
    def digest(self) -> str:
        """Hex SHA-256 over all arrays: models with the same one compute the same."""
        lines = (f"{name} {place.dtype} {place.shape} {place.digest}\n" for name, place in sorted(self.arrays.items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def digest_of(array: Array) -> str:
    """Hex digest of an array's bytes, at the speed of memory.

    Each MiB is added up, modulo 2^64, into 512 lanes, and the lanes are hashed with SHA-256: a changed byte always
    shows. It guards against accidents; nobody else can write to the folder.
    """
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    digest = hashlib.sha256(str(data.size).encode())
    for start in range(0, data.size, _PIECE_BYTES):
        piece = data[start : start + _PIECE_BYTES]
        whole = piece.size // _LANE_BYTES * _LANE_BYTES
        lanes = piece[:whole].view(np.uint64).reshape(-1, _LANE_BYTES // 8)
        digest.update(np.add.reduce(lanes, axis=0, dtype=np.uint64).tobytes())
        digest.update(piece[whole:].tobytes())
    return digest.hexdigest()


class PackedWriter:
    """Takes arrays one by one, to a file or, where there is none or it refuses, to memory."""

    def __init__(self, path: Path | None) -> None:
        """Write to `path`, which must not exist; None keeps everything in memory."""
        self._path = path
        self._places: dict[str, ArrayPlace] = {}
        self._matrices: dict[str, PackedMatrix] = {}
        self._arrays: dict[str, Array] = {}
        self._file: BinaryIO | None = None
        if path is not None:
            try:
                self._file = path.open("xb+")
                self._file.write(bytes(_PREAMBLE.size))
            except OSError as error:
                self._give_up(error)

    @property
    def is_file(self) -> bool:
        """Whether everything so far is in the file."""
        return self._file is not None

    def put(self, name: str, array: Array) -> None:
        """Take `array` under `name`."""
        assert name not in self._places, name
        assert array.dtype.name in _DTYPES, array.dtype
        array = np.ascontiguousarray(array)
        offset = 0 if self._file is None else self._write(array)
        self._places[name] = ArrayPlace(array.dtype.name, array.shape, offset, digest_of(array))
        if self._file is None:
            self._arrays[name] = array

    def put_matrix(self, name: str, matrix: PackedMatrix, arrays: Mapping[str, Array]) -> None:
        """Take a matrix and its arrays."""
        self._matrices[name] = matrix
        for part, array in arrays.items():
            self.put(f"{name}/{part}", array)

    def arrays(self) -> dict[str, Array]:
        """Everything that was put, from where it is now: the mapped file, or memory."""
        if self._file is None:
            return self._arrays
        self._file.flush()
        return _map(self._file, self._places)

    @property
    def matrices(self) -> dict[str, PackedMatrix]:
        """The matrices that were put."""
        return self._matrices

    def header(self, key: str, evidence: Evidence) -> PackedHeader:
        """What would be said about the file."""
        return PackedHeader(key, self._places, self._matrices, evidence)

    def finish(self, header: PackedHeader) -> bool:
        """Make the file whole and durable; False if it is not to be had."""
        if self._file is None:
            return False
        body = msgspec.json.encode(header)
        try:
            start = self._file.seek(0, os.SEEK_END)
            self._file.write(body)
            self._file.seek(0)
            digest = hashlib.sha256(body).digest()
            self._file.write(_PREAMBLE.pack(_MAGIC, _VERSION, 0, start, len(body), digest))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            logging.getLogger(__name__).warning("The packed weights could not be kept: %s", error)
            self._remove()
            return False
        return True

    def _write(self, array: Array) -> int:
        assert self._file is not None
        try:
            end = self._file.seek(0, os.SEEK_END)
            offset = -(-end // ALIGNMENT) * ALIGNMENT
            self._file.write(bytes(offset - end))
            self._file.write(array.reshape(-1).view(np.uint8).data)
            # What is buffered may be refused too.
            self._file.flush()
        except OSError as error:
            self._give_up(error)
            return 0
        return offset

    def _give_up(self, error: OSError) -> None:
        """Go on in memory, and leave nothing behind on a disk that may be full."""
        logging.getLogger(__name__).warning("The packed weights cannot be kept on disk, serving without: %s", error)
        file, self._file = self._file, None
        if file is None:
            return
        self._arrays = {name: np.array(array) for name, array in _map(file, self._places).items()}
        with contextlib.suppress(OSError):
            file.close()
        self._remove()

    def _remove(self) -> None:
        """Whatever is mapped of the file stays so."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()


def read_packed(path: Path, key: str, *, num_threads: int) -> tuple[PackedHeader, dict[str, Array]]:
    """Map the file at `path`, made for `key`. Raises OSError, and DamagedFileError if a byte is not as it was."""
    with open_regular(path) as file:
        header = _read_header(file)
        if header.key != key:
            raise DamagedFileError("it was made for another model")
        arrays = _map(file, header.arrays)
    names = list(arrays)
    with ThreadPoolExecutor(num_threads) as pool:
        digests = list(pool.map(lambda name: digest_of(arrays[name]), names))
    damaged = [name for name, digest in zip(names, digests, strict=True) if header.arrays[name].digest != digest]
    if damaged:
        raise DamagedFileError(f"the array {damaged[0]} has changed")
    return header, arrays


def _read_header(file: BinaryIO) -> PackedHeader:
    size = os.fstat(file.fileno()).st_size
    preamble = file.read(_PREAMBLE.size)
    if len(preamble) != _PREAMBLE.size:
        raise DamagedFileError("it is cut short")
    magic, version, _, start, length, digest = _PREAMBLE.unpack(preamble)
    if (magic, version) != (_MAGIC, _VERSION):
        raise DamagedFileError("it is not whole, or of another version")
    if length > _MAX_HEADER_BYTES or start + length != size:
        raise DamagedFileError("it is cut short")
    file.seek(start)
    body = file.read(length)
    if hashlib.sha256(body).digest() != digest:
        raise DamagedFileError("its header has changed")
    try:
        header = msgspec.json.decode(body, type=PackedHeader)
    except msgspec.MsgspecError as error:
        raise DamagedFileError(f"its header is malformed: {error}") from error
    if not _are_sound(header.arrays.values(), start):
        raise DamagedFileError("an array lies outside of it")
    return header


def _are_sound(places: Iterable[ArrayPlace], end: int) -> bool:
    return all(
        place.dtype in _DTYPES
        and min((0, *place.shape)) == 0
        and place.offset % ALIGNMENT == 0
        and _PREAMBLE.size <= place.offset <= end - place.num_bytes
        for place in places
    )


def _map(file: BinaryIO, places: Mapping[str, ArrayPlace]) -> dict[str, Array]:
    """The arrays, read-only, in the memory of the file. The file may be unlinked: its pages live as long as they."""
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return {
        name: np.frombuffer(
            mapped, dtype=place.dtype, count=place.num_bytes // np.dtype(place.dtype).itemsize, offset=place.offset
        ).reshape(place.shape)
        for name, place in places.items()
    }
