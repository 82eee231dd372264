"""What the client thinks is cached, beside what a real scheduler finds there."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.scheduling import make_bench, request
from tidemill.engine.client.known_prefixes import KnownPrefixes

TURNS = st.tuples(
    st.lists(st.sampled_from(((1, 2, 3, 4), (1, 2, 3, 5), (7,), (7, 7))), min_size=1, max_size=12),
    st.integers(min_value=1, max_value=9),
    st.sampled_from(("", "salt")),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(TURNS, min_size=1, max_size=8))
def test_with_room_for_all_it_is_what_the_engine_finds(turns: list[tuple[list[tuple[int, ...]], int, str]]) -> None:
    bench = make_bench()
    prefixes = KnownPrefixes(block_size=4, num_blocks=1000)
    for number, (parts, num_new, salt) in enumerate(turns):
        prompt = tuple(token for part in parts for token in part)
        chain = prefixes.chain(prompt, salt)
        expected = prefixes.num_cached(chain)
        bench.add(request(number, prompt, num_new, salt=salt))
        bench.drain()
        assert bench.finishes[number].num_cached_tokens == expected
        chain.more += bench.tokens[number]
        prefixes.note(chain)


def test_no_more_is_kept_than_there_are_pages_and_the_end_goes_first() -> None:
    prefixes = KnownPrefixes(block_size=2, num_blocks=4)
    for first in (1, 100):
        prefixes.note(prefixes.chain(range(first, first + 7), ""))
    assert len(prefixes) == 4
    assert prefixes.num_cached(prefixes.chain(range(100, 107), "")) == 6
    assert prefixes.num_cached(prefixes.chain(range(1, 8), "")) == 2
