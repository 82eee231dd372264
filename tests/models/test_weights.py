"""Loading: shards, damaged and missing files, shapes, and where a model is looked for."""

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from tests.fakes.checkpoints import make_checkpoint
from tests.fakes.decoder_driver import DecoderDriver
from tidemill.core.errors import ModelLoadError
from tidemill.models.weights.hub import resolve_model

PROMPT = [5, 9, 300, 17]


def test_shards_load_like_one_file(tmp_path: Path) -> None:
    make_checkpoint("llama", tmp_path / "one")
    make_checkpoint("llama", tmp_path / "many", max_shard_size="60KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 2
    assert torch.equal(
        DecoderDriver.load(tmp_path / "many").run(PROMPT), DecoderDriver.load(tmp_path / "one").run(PROMPT)
    )


def test_the_decoder_does_not_need_its_files_any_more(tmp_path: Path) -> None:
    make_checkpoint("llama", tmp_path, tie_word_embeddings=True)
    driver = DecoderDriver.load(tmp_path)
    want = driver.run(PROMPT)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert torch.equal(driver.run(PROMPT), want)


def change(folder: Path, name: str, tensor: torch.Tensor | None) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors = {key: value.clone() for key, value in tensors.items() if key != name}
    save_file(tensors if tensor is None else tensors | {name: tensor}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("model.layers.1.mlp.up_proj.weight", None, r"no tensor model\.layers\.1\.mlp\.up_proj\.weight"),
        ("model.layers.0.self_attn.q_proj.weight", torch.zeros(3, 3), r"q_proj.* has shape \[3, 3\]"),
        ("model.norm.weight", torch.zeros(64, dtype=torch.int8), "int8"),
        ("model.layers.0.extra.weight", torch.zeros(2), r"does not know: model\.layers\.0\.extra"),
    ],
)
def test_wrong_tensors_are_named(name: str, tensor: torch.Tensor | None, words: str, tmp_path: Path) -> None:
    make_checkpoint("llama", tmp_path)
    change(tmp_path, name, tensor)
    with pytest.raises(ModelLoadError, match=words):
        DecoderDriver.load(tmp_path)


def test_old_buffers_in_a_checkpoint_do_no_harm(tmp_path: Path) -> None:
    make_checkpoint("llama", tmp_path)
    want = DecoderDriver.load(tmp_path).run(PROMPT)
    change(tmp_path, "model.layers.0.self_attn.rotary_emb.inv_freq", torch.zeros(8))
    assert torch.equal(DecoderDriver.load(tmp_path).run(PROMPT), want)


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: b"\xff" * 64 + data[64:], lambda _: b""])
def test_a_damaged_file_is_an_error(damage: Any, tmp_path: Path) -> None:
    make_checkpoint("llama", tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelLoadError, match="damaged"):
        DecoderDriver.load(tmp_path)


def test_a_missing_shard_is_an_error(tmp_path: Path) -> None:
    make_checkpoint("llama", tmp_path, max_shard_size="60KB")
    min(tmp_path.glob("*.safetensors")).unlink()
    with pytest.raises(ModelLoadError, match="missing"):
        DecoderDriver.load(tmp_path)


def test_an_index_cannot_point_outside_its_folder(tmp_path: Path) -> None:
    make_checkpoint("llama", tmp_path)
    index = {"weight_map": {"model.norm.weight": "../model.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelLoadError, match="not a file beside it"):
        DecoderDriver.load(tmp_path)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    make_checkpoint("llama", tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelLoadError, match="pickled"):
        DecoderDriver.load(tmp_path)


def test_a_local_folder_is_itself(tmp_path: Path) -> None:
    assert resolve_model(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("model", ["./nowhere", "/nowhere/at/all", "a/b/c", "bad name", "~/nowhere"])
def test_a_path_that_is_not_there_is_an_error(model: str) -> None:
    with pytest.raises(ModelLoadError, match="There is no folder"):
        resolve_model(model)


def test_a_file_is_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(ModelLoadError, match="is a file"):
        resolve_model(str(tmp_path / "x"))


def test_only_safe_files_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def download(model: str, **options: Any) -> str:
        asked.update(options, model=model)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve_model("owner/name", revision="main", offline=True) == tmp_path
    assert (asked["model"], asked["revision"], asked["local_files_only"]) == ("owner/name", "main", True)
    assert set(asked["allow_patterns"]) == {"*.json", "*.jinja", "*.txt", "*.model", "*.safetensors"}


def test_offline_and_not_cached_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(model: str, **options: Any) -> str:
        raise LocalEntryNotFoundError(f"{model} {options}")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(ModelLoadError, match="--offline is set"):
        resolve_model("owner/name", offline=True)
