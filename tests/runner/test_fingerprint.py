import dataclasses

import pytest
import torch

from tidemill.runner import fingerprint
from tidemill.runner.devices import Compute
from tidemill.runner.fingerprint import numerics_fingerprint, weights_digest

COMPUTE = Compute(
    device=torch.device("cpu"),
    dtype=torch.float32,
    row_tile=16,
    num_threads=2,
    precision="fp32",
    kv_dtype=torch.float32,
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(bytes(range(256)) * 64)
    return tmp_path


def test_any_byte_of_a_small_file_counts(folder):
    before = weights_digest(folder)
    assert weights_digest(folder) == before
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[1234] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    assert weights_digest(folder) != before


def test_a_large_file_counts_by_size_and_samples(folder, monkeypatch):
    monkeypatch.setattr(fingerprint, "_WHOLE_FILE_BYTES", 100)
    monkeypatch.setattr(fingerprint, "_SAMPLE_BYTES", 16)
    monkeypatch.setattr(fingerprint, "_NUM_SAMPLES", 4)
    path = folder / "model.safetensors"
    before = weights_digest(folder)
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-1])
    assert weights_digest(folder) != before
    for position in (0, len(data) - 1):
        changed = bytearray(data)
        changed[position] ^= 1
        path.write_bytes(changed)
        assert weights_digest(folder) != before


def test_names_and_config_count(folder):
    before = weights_digest(folder)
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    renamed = weights_digest(folder)
    (folder / "config.json").write_text("{ }")
    assert len({before, renamed, weights_digest(folder)}) == 3


def test_what_can_change_a_bit_changes_the_fingerprint_and_threads_do_not(folder):
    def of(compute, flags=frozenset({"avx2"}), max_model_len=100):
        return numerics_fingerprint(
            weights_digest(folder), compute, cpu_flags=flags, kernels="plain", max_model_len=max_model_len
        )

    assert of(COMPUTE) == of(dataclasses.replace(COMPUTE, num_threads=1))
    assert of(COMPUTE) == of(COMPUTE, flags=frozenset({"avx2", "fpu"}))
    others = {
        of(COMPUTE),
        of(dataclasses.replace(COMPUTE, precision="bf16")),
        of(dataclasses.replace(COMPUTE, row_tile=None)),
        of(dataclasses.replace(COMPUTE, kv_dtype=torch.int8)),
        of(COMPUTE, flags=frozenset({"avx2", "avx512f"})),
        of(COMPUTE, max_model_len=200),
        numerics_fingerprint(
            weights_digest(folder), COMPUTE, cpu_flags=frozenset({"avx2"}), kernels="other", max_model_len=100
        ),
    }
    assert len(others) == 7
