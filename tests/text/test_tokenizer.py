import json
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library

from tidemill.core.errors import ModelLoadError
from tidemill.text.tokenizer import Tokenizer

KINDS = ["byte_level", "byte_fallback", "metaspace", "word_piece"]
TEXTS = ["the quick brown fox", "grüße 你好 🎉", "  two  spaces", "line\nbreak", "", " ", "ünï<|im_end|>x"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", TEXTS)
def test_encodes_and_decodes_as_the_library(kind: str, text: str, folders: dict[str, Path]) -> None:
    library = Library.from_file(str(folders[kind] / "tokenizer.json"))
    tokenizer = Tokenizer.load(folders[kind])
    for adds in (True, False):
        token_ids = tokenizer.encode(text, add_special_tokens=adds)
        assert token_ids == library.encode(text, add_special_tokens=adds).ids
        for skips in (True, False):
            assert tokenizer.decode(token_ids, skips) == library.decode(token_ids, skip_special_tokens=skips)


@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback"])
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_decodes_any_text_as_the_library(kind: str, text: str, tokenizers_by_kind: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers_by_kind[kind]
    token_ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(token_ids, skip_special_tokens=False) == tokenizer._backend.decode(
        token_ids, skip_special_tokens=False
    )


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_text_never_has_fewer_tokens_than_its_least(
    kind: str, text: str, tokenizers_by_kind: dict[str, Tokenizer]
) -> None:
    tokenizer = tokenizers_by_kind[kind]
    assert tokenizer.least_tokens(text) <= len(tokenizer.encode(text, add_special_tokens=False))


@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback"])
def test_the_bytes_of_a_texts_tokens_are_the_text(kind: str, tokenizers_by_kind: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers_by_kind[kind]
    token_ids = tokenizer.encode("the 🎉 grüße", add_special_tokens=False)
    assert b"".join(map(tokenizer.token_bytes, token_ids)).decode().strip() == "the 🎉 grüße"
    assert any("\ufffd" in tokenizer.token_text(i) for i in token_ids)


def test_an_id_beyond_the_vocabulary_has_no_bytes(tokenizers_by_kind: dict[str, Tokenizer]) -> None:
    for tokenizer in tokenizers_by_kind.values():
        assert tokenizer.token_bytes(tokenizer.vocab_size) == b""
        assert tokenizer.token_bytes(-1) == b""
        assert tokenizer.decode([tokenizer.vocab_size + 7], skip_special_tokens=False) == ""


def test_the_config_decides_about_the_first_token(tmp_path: Path, folders: dict[str, Path]) -> None:
    source = (folders["byte_fallback"] / "tokenizer.json").read_text()
    for adds, first in ((True, 1), (False, None)):
        (tmp_path / "tokenizer.json").write_text(source)
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "add_bos_token": adds}))
        token_ids = Tokenizer.load(tmp_path).encode("the", add_special_tokens=True)
        assert (token_ids[0] == 1) is (first == 1)
        assert token_ids.count(1) == (1 if adds else 0)


def test_named_and_flagged_tokens_are_special(tokenizers_by_kind: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers_by_kind["byte_level"]
    special, thought = tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<think>")
    assert special is not None
    assert thought is not None
    assert tokenizer.is_special(special)
    assert not tokenizer.is_special(thought)
    assert tokenizer.eos_token_id == special
    assert tokenizer.bos_token_id is None


def test_a_token_that_only_the_config_names_is_special(tmp_path: Path, folders: dict[str, Path]) -> None:
    (tmp_path / "tokenizer.json").write_text((folders["byte_level"] / "tokenizer.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<think>"}))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.eos_token_id is not None
    assert tokenizer.is_special(tokenizer.eos_token_id)
    assert tokenizer.special_texts == {"<think>", "<|im_start|>", "<|im_end|>"}


def test_truncation_saved_in_a_file_is_not_applied(tmp_path: Path) -> None:
    from tests.text.conftest import byte_level

    backend = byte_level()
    backend.enable_truncation(4)
    backend.enable_padding(length=64)
    backend.save(str(tmp_path / "tokenizer.json"))
    token_ids = Tokenizer.load(tmp_path).encode("zyx " * 50, add_special_tokens=False)
    assert len(token_ids) > 64


def test_missing_or_malformed_files_are_named(tmp_path: Path, folders: dict[str, Path]) -> None:
    with pytest.raises(ModelLoadError, match=r"no tokenizer\.json"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelLoadError, match="cannot be read"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text((folders["metaspace"] / "tokenizer.json").read_text())
    for content in ("[1]", "{", "[" * 100_000):
        (tmp_path / "tokenizer_config.json").write_text(content)
        with pytest.raises(ModelLoadError, match="tokenizer_config"):
            Tokenizer.load(tmp_path)


def test_a_token_id_beyond_all_measure_is_refused(tmp_path: Path, folders: dict[str, Path]) -> None:
    content = json.loads((folders["byte_level"] / "tokenizer.json").read_text())
    content["model"]["vocab"]["far away"] = 2**22
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ModelLoadError, match="token id 4194304"):
        Tokenizer.load(tmp_path)


def test_a_long_text_does_not_hold_up_other_threads(tokenizers_by_kind: dict[str, Tokenizer]) -> None:
    encoding, encoded = threading.Event(), threading.Event()

    def encode() -> None:
        encoding.set()
        tokenizers_by_kind["byte_level"].encode("a" * 2_000_000, add_special_tokens=False)
        encoded.set()

    # The wait ends as soon as this thread gets the lock: while the text is being encoded, or only after that.
    before = sys.getswitchinterval()
    sys.setswitchinterval(10.0)
    thread = threading.Thread(target=encode)
    try:
        thread.start()
        encoding.wait()
        assert not encoded.is_set()
    finally:
        sys.setswitchinterval(before)
        thread.join()
