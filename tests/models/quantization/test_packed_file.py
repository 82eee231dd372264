"""The file of a packed model: what is read is what was written, or an error that says so."""

import errno
import io

import numpy as np
import pytest

from tidemill.models.quantization.evidence import Evidence, MatrixEvidence, ModelEvidence
from tidemill.models.quantization.packed_file import (
    ALIGNMENT,
    DamagedFileError,
    PackedMatrix,
    PackedWriter,
    digest_of,
    read_packed,
)

EVIDENCE = Evidence(
    wanted="int8",
    matrices=(
        MatrixEvidence(
            name="output", format="int8", num_weights=6, smoothing=None, error_ratio=0.01, plain_error_ratio=0.01
        ),
    ),
    model=ModelEvidence(num_tokens=16, kl_nats=0.001, top1_agreement_ratio=1.0, logit_error_ratio=0.01),
)
LARGE = np.random.default_rng(0).integers(0, 256, 3 * 1024 * 1024 + 17, dtype=np.uint8)
ARRAYS = {"panels": LARGE, "scales": np.arange(6, dtype=np.float32)}


def write(path, arrays=ARRAYS):
    writer = PackedWriter(path)
    writer.put("norm", np.ones(3, np.float32))
    writer.put_matrix("output", PackedMatrix("int8", 2, 3), arrays)
    assert writer.finish(writer.header("key", EVIDENCE))
    return writer


def read(path):
    return read_packed(path, "key", num_threads=2)


def test_what_is_read_is_what_was_written(tmp_path):
    writer = write(tmp_path / "file")
    header, arrays = read(tmp_path / "file")
    assert header.evidence == EVIDENCE
    assert header.matrices == {"output": PackedMatrix("int8", 2, 3)}
    assert header.digest == writer.header("key", EVIDENCE).digest
    assert np.array_equal(arrays["output/panels"], LARGE)
    assert np.array_equal(arrays["output/scales"], ARRAYS["scales"])
    for array in arrays.values():
        assert array.ctypes.data % ALIGNMENT == 0
        assert not array.flags.writeable


def test_mapped_arrays_outlive_their_file(tmp_path):
    write(tmp_path / "file")
    _, arrays = read(tmp_path / "file")
    (tmp_path / "file").unlink()
    assert np.array_equal(arrays["output/panels"], LARGE)


def test_any_changed_byte_is_found(tmp_path):
    path = tmp_path / "file"
    write(path)
    data = path.read_bytes()
    for position in (0, 9, 40, 64, 130, len(data) // 2, len(data) - 1200, len(data) - 1):
        changed = bytearray(data)
        changed[position] ^= 1
        path.write_bytes(changed)
        if position in range(76, 128):
            continue  # padding between arrays
        with pytest.raises(DamagedFileError):
            read(path)


@pytest.mark.parametrize("keep", [0, 10, 64, 5000, -1])
def test_a_file_cut_short_is_found(tmp_path, keep):
    path = tmp_path / "file"
    write(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedFileError):
        read(path)


def test_a_file_that_was_not_finished_or_is_of_another_model_is_refused(tmp_path):
    writer = PackedWriter(tmp_path / "file")
    writer.put("norm", np.ones(3, np.float32))
    writer.arrays()
    with pytest.raises(DamagedFileError):
        read(tmp_path / "file")
    write(tmp_path / "other")
    with pytest.raises(DamagedFileError, match="another model"):
        read_packed(tmp_path / "other", "another key", num_threads=1)


def test_every_byte_and_its_place_count():
    data = LARGE.copy()
    before = digest_of(data)
    for position in (0, 1, 4096, 2 * 1024 * 1024, len(data) - 1):
        data[position] ^= 0x80
        assert digest_of(data) != before
        data[position] ^= 0x80
    data[:8], data[8:16] = LARGE[8:16], LARGE[:8]
    assert digest_of(data) != before


class FullDisk(io.FileIO):
    """Refuses to grow beyond a MiB."""

    def write(self, data):
        if self.tell() + memoryview(data).nbytes > 1024 * 1024:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_a_disk_that_fills_up_is_no_reason_not_to_serve(tmp_path, caplog):
    path = tmp_path / "file"
    writer = PackedWriter(path)
    writer._file.close()
    writer._file = FullDisk(path, "rb+")
    writer.put("norm", np.arange(3, dtype=np.float32))
    assert writer.is_file
    writer.put_matrix("output", PackedMatrix("int8", 2, 3), ARRAYS)
    assert not writer.is_file
    assert not path.exists()
    assert "No space left" in caplog.text
    arrays = writer.arrays()
    assert np.array_equal(arrays["norm"], np.arange(3))
    assert np.array_equal(arrays["output/panels"], LARGE)
    assert not writer.finish(writer.header("key", EVIDENCE))
