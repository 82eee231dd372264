"""Which precision is tried, and what is said about it."""

from importlib.resources import files
from pathlib import Path

import pytest
import torch

from tidemill.core.errors import ConfigurationError
from tidemill.models.quantization import verdict
from tidemill.models.quantization.job import expected_bytes
from tidemill.models.quantization.verdict import Limits
from tidemill.models.spec import load_spec
from tidemill.runner.precision import plan_precision

SPEC = load_spec(Path(str(files("tidemill.bundled"))) / "minnow")
MIB = 1024 * 1024


def plan(asked="auto", *, device="cpu", path="vector", available=1024 * MIB, fast_bf16=True):
    return plan_precision(
        asked,
        SPEC,
        device=torch.device(device),
        has_fast_bf16=fast_bf16,
        integer_path=lambda: path,
        available_bytes=available,
    )


def test_auto_takes_the_widest_integers_that_fit():
    assert plan().formats == ("int8",)
    between = int((expected_bytes(SPEC, "int8") + expected_bytes(SPEC, "int4")) / 2 / 0.85)
    tight = plan(available=between)
    assert tight.formats == ("int4",)
    assert "int8 was not tried" in tight.reasons[0]
    assert plan(available=MIB).formats == ()
    assert plan(available=None).formats == ("int8",)


def test_without_fast_integers_or_on_another_device_floats_are_taken():
    assert plan(path=None).formats == ()
    assert "no fast products" in plan(path=None).reasons[0]
    assert plan(device="cuda").formats == ()
    assert plan(path=None).first == "bf16"
    assert plan(path=None, fast_bf16=False).first == "fp32"


def test_what_is_asked_for_is_planned():
    assert plan("int4", path=None).formats == ("int4",)
    assert plan("int4").is_asked
    assert plan("fp32").formats == ()
    assert plan("bf16").float_dtype == torch.bfloat16
    with pytest.raises(ConfigurationError, match="'int8' is made for a CPU"):
        plan("int8", device="cuda")


def test_kernels_are_asked_only_if_it_matters():
    def never():
        raise AssertionError

    for asked in ("fp32", "bf16", "int8"):
        plan_precision(
            asked,
            SPEC,
            device=torch.device("cpu"),
            has_fast_bf16=True,
            integer_path=never,
            available_bytes=None,
        )


def test_auto_is_served_in_int8_and_says_why(load):
    info = load(precision="auto").info
    assert info.precision == "int8"
    assert info.precision_reason == "int8 passes its guard"
    assert info.quantization.formats == {"int8": 9}
    assert 0 < info.quantization.worst_error_ratio < 0.035
    assert 0 <= info.quantization.kl_nats < 0.05
    assert info.weight_bytes < 2 * info.num_parameters


def test_auto_turns_back_where_the_guard_does_not_pass_and_asked_for_stays(load, monkeypatch):
    monkeypatch.setitem(verdict.LIMITS, "int8", Limits(kl_nats=0.0, wider_weights_ratio=0.0))
    refused = load(precision="auto").info
    assert refused.precision == "fp32"
    assert refused.quantization is None
    assert "int8 does not pass its guard: its KL divergence" in refused.precision_reason
    asked = load(precision="int8").info
    assert asked.precision == "int8"
    assert asked.precision_reason.startswith("asked for, although its KL divergence")


def test_integers_have_a_fingerprint_of_their_own(load):
    prints = {load(precision=precision).info.numerics_fingerprint for precision in ("fp32", "bf16", "int8", "int4")}
    assert len(prints) == 4
    assert load(precision="int8").info.numerics_fingerprint in prints
