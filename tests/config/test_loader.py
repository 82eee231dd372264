from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidemill.config.leaves import Leaf, leaves
from tidemill.config.loader import load_settings
from tidemill.config.settings import Settings
from tidemill.core.errors import ConfigurationError


def load(
    folder: Path,
    *,
    flags: dict[str, Any] | None = None,
    environ: dict[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    return load_settings(flags=flags or {}, environ=environ or {}, config_file=file, working_directory=folder)


def test_without_sources_all_is_default(tmp_path: Path) -> None:
    assert load(tmp_path, environ={"PATH": "/bin", "TIDEMILL": "x"}) == Settings()


@given(
    in_file=st.none() | st.integers(1, 9),
    in_environment=st.none() | st.integers(11, 19),
    in_flags=st.none() | st.integers(21, 29),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_later_sources_win(
    in_file: int | None, in_environment: int | None, in_flags: int | None, tmp_path: Path
) -> None:
    text = "" if in_file is None else f"[scheduler]\nmax_queue = {in_file}\n"
    (tmp_path / "tidemill.toml").write_text(text + "[server]\nport = 77\n")
    loaded = load(
        tmp_path,
        environ={} if in_environment is None else {"TIDEMILL_MAX_QUEUE": str(in_environment)},
        flags={} if in_flags is None else {"max_queue": in_flags},
    )
    given_values = [value for value in (in_flags, in_environment, in_file) if value is not None]
    assert loaded.scheduler.max_queue == (given_values[0] if given_values else Settings().scheduler.max_queue)
    assert loaded.server.port == 77


def test_every_kind_of_value_in_every_source(tmp_path: Path) -> None:
    (tmp_path / "tidemill.toml").write_text(
        '[model]\nserved_model_name = ["a", "b"]\noffline = true\nprecision = "bf16"\n'
        '[cache]\nkv_cache_memory = "1.5GiB"\n[server]\ndrain_seconds = 3\nmax_body_bytes = 2048\n'
    )
    loaded = load(tmp_path)
    assert loaded.model.served_model_name == ("a", "b")
    assert loaded.model.offline is True
    assert loaded.model.precision == "bf16"
    assert loaded.cache.kv_cache_memory == 3 * 2**29
    assert loaded.server.drain_seconds == 3.0
    assert loaded.server.max_body_bytes == 2048
    loaded = load(
        tmp_path,
        environ={
            "TIDEMILL_SERVED_MODEL_NAME": "x, y",
            "TIDEMILL_OFFLINE": "no",
            "TIDEMILL_KV_CACHE_MEMORY": "1000",
            "TIDEMILL_DRAIN_SECONDS": "0.5",
            "TIDEMILL_REVISION": "",
        },
        flags={"kv_cache_memory": "2GB", "served_model_name": ["z"]},
    )
    assert loaded.model.served_model_name == ("z",)
    assert loaded.model.offline is False
    assert loaded.model.revision is None
    assert loaded.cache.kv_cache_memory == 2 * 10**9
    assert loaded.server.drain_seconds == 0.5


def test_the_file_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "tidemill.toml").write_text("[server]\nport = 1\n")
    (tmp_path / "other.toml").write_text("[server]\nport = 2\n")
    (tmp_path / "third.toml").write_text("[server]\nport = 3\n")
    assert load(tmp_path).server.port == 1
    assert load(tmp_path, environ={"TIDEMILL_CONFIG": "other.toml"}).server.port == 2
    named = tmp_path / "third.toml"
    assert load(tmp_path, environ={"TIDEMILL_CONFIG": "other.toml"}, file=named).server.port == 3


BAD_FILES = [
    ("[scheduler]\nmax_queu = 3\n", "Did you mean max_queue?"),
    ("[schedular]\nmax_queue = 3\n", "Did you mean scheduler?"),
    ("[server]\nmax_queue = 3\n", r"belongs in the table \[scheduler\]"),
    ("max_queue = 3\n", r"belongs in the table \[scheduler\]"),
    ("server = 3\n", "must be a table"),
    ("[server]\nport = 70000\n", "port is 70000"),
    ("[server]\nport = '80'\n", "port is '80'"),
    ("[server]\ndrain_seconds = nan\n", "drain_seconds is nan"),
    ("[server]\nkeep_alive_seconds = inf\n", "finite"),
    ("[model]\nprecision = 'fp16'\n", "one of auto, fp32, bf16"),
    ("[model]\nserved_model_name = 'a'\n", "list of names"),
    ("[model]\nserved_model_name = ['a', 'a']\n", "twice"),
    ("[model]\nmodel = ' '\n", "model is empty"),
    ("[server]\nhost = ''\n", "host is empty"),
    ("[cache]\nkv_cache_memory = '2XB'\n", "size such as"),
    ("[cache]\nkv_cache_memory = 0\n", "kv_cache_memory is 0"),
    ("[engine]\ndead_after_seconds = 2.0\n", "must rise so"),
    ("[engine]\nheartbeat_seconds = 5.0\n", "must rise so"),
    ("[scheduler]\nmax_num_batched_tokens = 8\n", "less than max_num_seqs"),
    ("[server]\nmax_arriving_bytes = 4096\n", "less than max_body_bytes"),
    ("[server\n", "not valid TOML"),
    ("\x00", "not valid TOML"),
]


@pytest.mark.parametrize(("text", "message"), BAD_FILES)
def test_a_wrong_file_is_refused_with_the_reason(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "tidemill.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        load(tmp_path)


BAD_VARIABLES = [
    ("TIDEMILL_MAX_QUEU", "3", "Did you mean TIDEMILL_MAX_QUEUE?"),
    ("TIDEMILL_ZZZZZZ", "3", "Unset it"),
    ("TIDEMILL_PORT", "eighty", "expected a whole number"),
    ("TIDEMILL_PORT", "70000", "port is '70000'"),
    ("TIDEMILL_DRAIN_SECONDS", "soon", "expected a number"),
    ("TIDEMILL_DRAIN_SECONDS", "inf", "finite"),
    ("TIDEMILL_OFFLINE", "maybe", "true or false"),
    ("TIDEMILL_DEVICE", "tpu", "one of auto, cpu, cuda"),
    ("TIDEMILL_KV_CACHE_MEMORY", "lots", "size such as"),
    ("TIDEMILL_CONFIG", "nowhere.toml", "cannot be read"),
]


@pytest.mark.parametrize(("variable", "value", "message"), BAD_VARIABLES)
def test_a_wrong_variable_is_refused_with_the_reason(tmp_path: Path, variable: str, value: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load(tmp_path, environ={variable: value})


def test_a_wrong_flag_names_the_flag(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="from --max-model-len"):
        load(tmp_path, flags={"max_model_len": 3})


def test_a_missing_or_huge_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(tmp_path, file=tmp_path / "no.toml")
    (tmp_path / "big.toml").write_text("#" * 2_000_000)
    with pytest.raises(ConfigurationError, match="bytes"):
        load(tmp_path, file=tmp_path / "big.toml")


@pytest.mark.parametrize("leaf", leaves(), ids=lambda leaf: leaf.name)
def test_every_setting_can_be_given_as_a_variable(leaf: Leaf, tmp_path: Path) -> None:
    samples = {"text": "x", "whole": "64", "number": "2.5", "switch": "true", "names": "a", "size": "64KiB"}
    text = leaf.choices[-1] if leaf.choices else samples[leaf.kind]
    if leaf.name in ("sim_failure_rate", "max_arriving_bytes"):
        text = {"sim_failure_rate": "0.5", "max_arriving_bytes": "8MiB"}[leaf.name]
    if leaf.name in ("slo_attainment_ratio", "slo_availability_ratio", "slo_error_ratio"):
        text = "0.25"
    if leaf.name in ("stalled_after_seconds", "dead_after_seconds"):
        text = {"stalled_after_seconds": "2.5", "dead_after_seconds": "25"}[leaf.name]
    loaded = load(tmp_path, environ={leaf.variable: text})
    assert getattr(getattr(loaded, leaf.section), leaf.name) == leaf.check(leaf.parse(text))


def test_a_machine_is_paid_for_once(tmp_path: Path) -> None:
    assert load(tmp_path, flags={"machine_purchase_price": 1000.0, "electricity_price_per_kwh": 0.2})
    for name in ("machine_purchase_price", "electricity_price_per_kwh"):
        with pytest.raises(ConfigurationError, match="counted twice"):
            load(tmp_path, flags={"machine_price_per_hour": 1.0, name: 1.0})


def test_names_are_unique_across_the_tree() -> None:
    names = [leaf.name for leaf in leaves()]
    assert len(set(names)) == len(names)
    assert all(leaf.description for leaf in leaves())
