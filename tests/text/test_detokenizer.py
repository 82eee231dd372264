from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidemill.text.detokenizer import IncrementalDetokenizer
from tidemill.text.tokenizer import Tokenizer

RULED = ["byte_level", "byte_fallback", "metaspace"]
TEXT = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("the quick🎉你é  \n")))
quick = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def pieces_of(detokenizer: IncrementalDetokenizer, token_ids: Sequence[int], cuts: list[int]) -> list[str]:
    """What each push gives when the ids arrive in runs of the lengths in `cuts`, and the flush."""
    pieces, done = [], 0
    for cut in [*cuts, len(token_ids)]:
        pieces.append(detokenizer.push(token_ids[done : done + cut]))
        done += cut
    return [*pieces, detokenizer.flush()]


@pytest.mark.parametrize("kind", RULED)
@given(text=TEXT, cuts=st.lists(st.integers(0, 5)), skips=st.booleans())
@quick
def test_any_split_of_a_text_gives_the_whole(
    kind: str, text: str, cuts: list[int], skips: bool, tokenizers_by_kind: dict[str, Tokenizer]
) -> None:
    tokenizer = tokenizers_by_kind[kind]
    token_ids = tokenizer.encode(text, add_special_tokens=True)
    pieces = pieces_of(IncrementalDetokenizer(tokenizer, skip_special_tokens=skips), token_ids, cuts)
    assert "".join(pieces) == tokenizer.decode(token_ids, skips)
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("kind", RULED)
@given(data=st.data(), cuts=st.lists(st.integers(0, 3)), skips=st.booleans())
@quick
def test_any_ids_at_all_give_the_whole(
    kind: str, data: st.DataObject, cuts: list[int], skips: bool, tokenizers_by_kind: dict[str, Tokenizer]
) -> None:
    tokenizer = tokenizers_by_kind[kind]
    token_ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size + 3), max_size=30))
    pieces = pieces_of(IncrementalDetokenizer(tokenizer, skip_special_tokens=skips), token_ids, cuts)
    assert "".join(pieces) == tokenizer.decode(token_ids, skips)


@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback"])
def test_half_a_character_is_held_back_and_shown_at_the_end(
    kind: str, tokenizers_by_kind: dict[str, Tokenizer]
) -> None:
    tokenizer = tokenizers_by_kind[kind]
    rocket = [i for i in tokenizer.encode("🤖", add_special_tokens=False) if tokenizer.token_bytes(i) != b" "]
    assert len(rocket) >= 2
    detokenizer = IncrementalDetokenizer(tokenizer, skip_special_tokens=True)
    assert [detokenizer.push([i]) for i in rocket[:-1]] == [""] * (len(rocket) - 1)
    assert detokenizer.push(rocket[-1:]) == "🤖"
    detokenizer.push(rocket[:1])
    assert detokenizer.flush() == "\ufffd"


def test_the_leading_space_is_kept_only_in_a_continuation(tokenizers_by_kind: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers_by_kind["byte_fallback"]
    token_ids = tokenizer.encode("the", add_special_tokens=False)
    assert IncrementalDetokenizer(tokenizer, skip_special_tokens=True).push(token_ids) == "the"
    continued = IncrementalDetokenizer(tokenizer, skip_special_tokens=True, continues_text=True)
    assert continued.push(token_ids) == " the"


def test_a_decoder_without_a_rule_gives_the_whole(tokenizers_by_kind: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers_by_kind["word_piece"]
    assert not tokenizer.has_piece_rule
    token_ids = tokenizer.encode("the quick brown fox jumps", add_special_tokens=False)
    detokenizer = IncrementalDetokenizer(tokenizer, skip_special_tokens=True)
    text = "".join(detokenizer.push([i]) for i in token_ids) + detokenizer.flush()
    assert text == tokenizer.decode(token_ids, skip_special_tokens=True) == "the quick brown fox jumps"
