"""The guard on a minnow with outlier channels: it sees them, mends them, and without it the model would be worse."""

import math
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from tests.fakes.checkpoints import make_checkpoint
from tests.fakes.outliers import make_outliers
from tidemill.core.errors import ModelLoadError
from tidemill.kernels.backend import choose_backend
from tidemill.models.decoder import Decoder, load_decoder
from tidemill.models.quantization import guard
from tidemill.models.quantization.guard import Bounds
from tidemill.models.quantization.job import QuantizationJob
from tidemill.models.quantization.packed_cache import PackedCache
from tidemill.models.quantization.quantized_model import load_quantized
from tidemill.models.quantization.smoothing import Channels, smoothing_factors
from tidemill.models.quantization.trial import hidden_states
from tidemill.models.quantization.verdict import why_not
from tidemill.models.spec import load_spec
from training.batches import step_samples
from training.world import Split

CPU = torch.device("cpu")
MINNOW = Path(str(files("tidemill.bundled"))) / "minnow"


def quantized(folder, kind="int8", cache=None):
    job = QuantizationJob(
        folder=folder,
        spec=load_spec(folder),
        wanted=kind,
        fallback_dtype=torch.float32,
        max_model_len=512,
        is_exact=True,
        identity=("test",),
        num_threads=1,
    )
    cache = cache or PackedCache(None, limit_bytes=0, clock=lambda: 0.0, sleep=lambda _: None)
    return load_quantized(job, choose_backend(CPU), cache, progress=lambda *_: None)


def floats(folder) -> Decoder:
    return load_decoder(
        folder,
        load_spec(folder),
        device=CPU,
        dtype=torch.float32,
        row_tile=None,
        max_model_len=512,
        progress=lambda _: None,
    )


def perplexity(decoder, folder, dtype=torch.float32):
    """Of the assistant's words in conversations that minnow has not seen."""
    spec, nats, count = load_spec(folder), 0.0, 0
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for sample in step_samples(tokenizer, 11, Split.NEW_NAMES, 0, 40, 512):
        learnt = torch.tensor(sample.learn[1:]).nonzero()[:, 0]
        padded = list(sample.ids) + [0] * (-len(sample.ids) % 16)
        with torch.inference_mode():
            logits = decoder.logits(hidden_states(decoder, spec, padded, dtype))[learnt]
        targets = torch.tensor(sample.ids)[learnt + 1]
        nats += float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
        count += len(learnt)
    return math.exp(nats / count)


@pytest.fixture(scope="module")
def outliers(tmp_path_factory):
    return make_outliers(MINNOW, tmp_path_factory.mktemp("outliers"))


def test_outliers_change_nothing_in_floats(outliers):
    assert perplexity(floats(outliers), outliers) == pytest.approx(perplexity(floats(MINNOW), MINNOW), rel=1e-4)


def test_outliers_are_seen_and_mended(outliers):
    model = quantized(outliers)
    assert len(model.evidence.mended) >= 20
    assert max(m.plain_error_ratio for m in model.evidence.matrices) > 0.3
    assert all(m.format == "int8" and m.error_ratio < 0.045 for m in model.evidence.matrices)
    assert model.evidence.model.kl_nats < 0.002
    assert why_not(model.evidence) is None
    assert model.row_tile is None
    expected = perplexity(floats(outliers), outliers)
    assert perplexity(model.decoder, outliers, torch.bfloat16) == pytest.approx(expected, rel=0.01)


def test_without_the_mend_the_model_would_be_worse_and_not_taken(tmp_path, monkeypatch):
    outliers = make_outliers(MINNOW, tmp_path, channels=24)
    mended = quantized(outliers)
    assert why_not(mended.evidence) is None
    monkeypatch.setitem(guard.BOUNDS, "int8", Bounds(smooth=9.0, widen=9.0))
    model = quantized(outliers)
    assert model.evidence.mended == ()
    expected = perplexity(floats(outliers), outliers)
    assert perplexity(mended.decoder, outliers, torch.bfloat16) == pytest.approx(expected, rel=0.01)
    assert perplexity(model.decoder, outliers, torch.bfloat16) > 1.02 * expected
    assert "KL divergence" in why_not(model.evidence)


def test_what_smoothing_cannot_mend_gets_a_wider_format(outliers, monkeypatch):
    monkeypatch.setattr(guard, "EXPONENTS", ())
    model = quantized(outliers)
    assert {m.format for m in model.evidence.matrices} == {"fp32", "int8"}  # the output matrix has no outliers
    assert model.row_tile is not None
    assert model.evidence.model.kl_nats < 0.02
    assert "wider format" in why_not(model.evidence)
    narrow = quantized(outliers, "int4").evidence
    assert {m.format for m in narrow.matrices} >= {"int4", "fp32"}


def test_int4_is_mended_too(outliers):
    evidence = quantized(outliers, "int4").evidence
    assert sum(m.plain_error_ratio > 0.15 for m in evidence.matrices) > 10
    assert all(m.error_ratio < 0.15 for m in evidence.matrices)


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "smollm3", "mistral"])
def test_every_family_is_quantized_with_biases_windows_and_norms_of_heads(family, tmp_path, monkeypatch):
    """Smoothing is forced, so that a factor that goes to the wrong place would show."""
    options = {"sliding_window": 40} if family == "mistral" else {}
    make_checkpoint(family, tmp_path, **options)
    monkeypatch.setitem(guard.BOUNDS, "int8", Bounds(smooth=0.0, widen=9.0))
    evidence = quantized(tmp_path).evidence
    assert len(evidence.mended) >= len(evidence.matrices) // 2
    assert evidence.model.logit_error_ratio < 0.06
    assert evidence.summary().num_calibration_tokens == 384


def test_a_model_without_a_tokenizer_is_calibrated_on_random_tokens(tmp_path):
    make_checkpoint("llama", tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    first, second = quantized(tmp_path), quantized(tmp_path)
    assert first.evidence.model.num_tokens == 384
    assert first.digest == second.digest


def test_the_text_beside_a_model_is_what_it_is_calibrated_on(tmp_path):
    make_checkpoint("llama", tmp_path)
    general = quantized(tmp_path)
    (tmp_path / "calibration.txt").write_bytes(b"its own words, and a broken one: \xff " * 40)
    own = quantized(tmp_path)
    assert own.evidence.model.num_tokens == 384
    assert own.evidence.model.kl_nats != general.evidence.model.kl_nats


def test_weights_that_are_not_finite_fail_the_guard(tmp_path):
    from safetensors.torch import load_file, save_file

    make_checkpoint("llama", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.layers.0.mlp.down_proj.weight"][3, 4] = float("inf")
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert why_not(quantized(tmp_path).evidence) is not None


def test_a_missing_tensor_is_refused_and_leaves_no_entry(tmp_path):
    from safetensors.torch import load_file, save_file

    make_checkpoint("llama", tmp_path / "model")
    tensors = load_file(tmp_path / "model/model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, tmp_path / "model/model.safetensors", metadata={"format": "pt"})
    (tmp_path / "cache").mkdir()
    cache = PackedCache(tmp_path / "cache", limit_bytes=2**30, clock=lambda: 0.0, sleep=lambda _: None)
    with pytest.raises(ModelLoadError, match=r"model\.norm\.weight"):
        quantized(tmp_path / "model", cache=cache)
    assert not list((tmp_path / "cache").glob("*.packed"))


def test_a_warm_start_computes_and_says_the_same_as_the_cold_one(outliers, tmp_path):
    cache = PackedCache(tmp_path, limit_bytes=2**30, clock=lambda: 0.0, sleep=lambda _: None)
    cold, warm = quantized(outliers, cache=cache), quantized(outliers, cache=cache)
    memory = quantized(outliers)
    assert len(list(tmp_path.glob("*.packed"))) == 1
    assert warm.evidence == cold.evidence
    assert warm.digest == cold.digest == memory.digest
    assert warm.mapped_bytes == warm.weight_bytes == memory.weight_bytes
    assert memory.mapped_bytes == 0
    token_ids = list(range(3, 35))
    with torch.inference_mode():
        rows = [
            hidden_states(model.decoder, load_spec(outliers), token_ids, torch.bfloat16).numpy()
            for model in (cold, warm, memory)
        ]
    assert np.array_equal(rows[0], rows[1])
    assert np.array_equal(rows[0], rows[2])


def test_shared_heads_share_their_factor():
    channels = Channels(2, 3, 2)
    peaks = torch.arange(12.0)
    assert channels.tie(peaks).tolist() == [4, 5, 10, 11]
    assert channels.spread(torch.tensor([1.0, 2, 3, 4])).tolist() == [1, 2, 1, 2, 1, 2, 3, 4, 3, 4, 3, 4]


def test_silent_and_unused_channels_are_left_alone():
    factors = smoothing_factors(torch.tensor([0.0, 8.0, 2.0, 1.0]), torch.tensor([1.0, 1.0, 0.0, 1.0]), 0.5)
    assert factors[0] == factors[2] == 1.0
    assert factors[1] > 1 > factors[3]
