from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.text.stop import StopMatcher

ALPHABET = st.text("ab\n", max_size=14)
STOPS = st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=4)


def plain_match(text: str, stops: list[str], include: bool) -> tuple[str, str | None]:
    """The same by its definition: a character at a time, the longest stop that ends there."""
    for end in range(1, len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            stop = max(ending, key=len)
            return text[:end] if include else text[: end - len(stop)], stop
    return text, None


@given(pieces=st.lists(ALPHABET, max_size=8), stops=STOPS, include=st.booleans())
@settings(max_examples=300, deadline=None)
def test_equals_its_definition_however_the_text_is_cut(pieces: list[str], stops: list[str], include: bool) -> None:
    matcher = StopMatcher(stops, include)
    emitted, matched = "", None
    for piece in pieces:
        text, stop = matcher.push(piece)
        emitted += text
        matched = matched or stop
    emitted += matcher.flush()
    assert (emitted, matched) == plain_match("".join(pieces), stops, include)


@given(text=st.text("abc", max_size=20), stops=STOPS)
@settings(max_examples=100, deadline=None)
def test_holds_back_only_what_may_become_a_stop(text: str, stops: list[str]) -> None:
    matcher = StopMatcher(stops, include_stop=False)
    emitted, matched = matcher.push(text)
    if matched is None:
        held = text[len(emitted) :]
        assert not held or any(stop.startswith(held) for stop in stops)


def test_says_nothing_after_a_match() -> None:
    matcher = StopMatcher(["END"], include_stop=True)
    assert matcher.push("one E") == ("one ", None)
    assert matcher.push("ND two") == ("END", "END")
    assert matcher.push(" three END") == ("", None)
    assert matcher.flush() == ""
