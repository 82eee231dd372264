"""Prefix hits: what is found, for whom, until when, and never before it has been computed."""

from tests.fakes.scheduling import FULL, Bench, make_bench, request, window
from tidemill.scheduler.block_hash import BlockHasher

PROMPT = tuple(range(100, 120))


def cached(bench: Bench, sequence_id: int) -> int:
    return bench.finishes[sequence_id].num_cached_tokens


def test_second_request_computes_only_what_is_new() -> None:
    bench = make_bench(max_num_batched_tokens=64)
    bench.add(request(0, PROMPT, 2))
    bench.drain()
    bench.add(request(1, (*PROMPT, 1, 2), 2))
    batch = bench.step()
    assert batch is not None
    assert [(s.start, s.num_tokens) for s in batch.sequences] == [(20, 2)]
    bench.drain()
    assert (cached(bench, 0), cached(bench, 1)) == (0, 20)
    assert sum(stats.num_prefix_queries for stats in bench.stats) == 42
    assert sum(stats.num_prefix_hits for stats in bench.stats) == 20


def test_last_prompt_token_is_always_computed() -> None:
    bench = make_bench()
    bench.add(request(0, PROMPT, 2))
    bench.drain()
    bench.add(request(1, PROMPT, 2))
    bench.drain()
    assert cached(bench, 1) == 16
    assert bench.tokens[0] == bench.tokens[1]


def test_generated_tokens_are_cached_too() -> None:
    bench = make_bench()
    bench.add(request(0, PROMPT[:6], 12))
    bench.drain()
    conversation = PROMPT[:6] + tuple(bench.tokens[0])
    bench.add(request(1, (*conversation, 5), 2))
    bench.drain()
    assert cached(bench, 1) == 16, "the last generated token was never computed: 17 positions are 4 full blocks"


def test_salts_do_not_share() -> None:
    bench = make_bench()
    bench.add(request(0, PROMPT, 2, salt="a"))
    bench.drain()
    bench.add(request(1, PROMPT, 2, salt="b"), request(2, PROMPT, 2, salt="a"))
    bench.drain()
    assert (cached(bench, 1), cached(bench, 2)) == (0, 16)


def test_blocks_are_not_hit_before_their_step_has_returned() -> None:
    bench = make_bench(max_num_batched_tokens=64)
    bench.add(request(0, PROMPT, 2), request(1, PROMPT, 2))
    batch = bench.step()
    assert batch is not None
    assert [s.start for s in batch.sequences] == [0, 0]
    bench.add(request(2, PROMPT, 2))
    bench.drain()
    assert [cached(bench, i) for i in range(3)] == [0, 0, 16]


def test_failed_step_leaves_nothing_to_hit() -> None:
    bench = make_bench()
    bench.add(request(0, PROMPT, 2))
    batch = bench.scheduler.schedule()
    assert batch is not None
    bench.scheduler.fail(batch, "broken")
    bench.add(request(1, PROMPT, 2))
    batch = bench.scheduler.schedule()
    assert batch is not None
    assert batch.sequences[0].start == 0
    assert batch.finished == (0,)


def test_prompt_logprobs_are_never_skipped() -> None:
    bench = make_bench()
    bench.add(request(0, PROMPT, 2))
    bench.drain()
    bench.add(request(1, PROMPT, 2, num_prompt_logprobs=0))
    bench.drain()
    assert cached(bench, 1) == 0
    assert [entry.token_id for entry in bench.prompt_logprobs[1]] == list(PROMPT[1:])


def test_least_recently_used_is_evicted_first() -> None:
    bench = make_bench(num_blocks=12, max_model_len=40)
    first, second = tuple(range(200, 216)), tuple(range(300, 316))
    for sequence_id, prompt in enumerate((first, second, (*first, 1))):  # the third makes `first` the more recent
        bench.add(request(sequence_id, prompt, 1))
        bench.drain()
    assert cached(bench, 2) == 16
    bench.add(request(3, 26, 1))  # takes the four unused pages, then three of the oldest
    bench.drain()
    bench.add(request(4, (*first, 2), 1), request(5, (*second, 2), 1))
    bench.drain()
    assert (cached(bench, 4), cached(bench, 5)) == (16, 4), "of the evicted prefix its end went first"


def test_hit_blocks_count_as_free_until_taken() -> None:
    bench = make_bench(num_blocks=6, max_model_len=24)
    bench.add(request(0, PROMPT, 1))
    bench.drain()
    bench.add(request(1, (*PROMPT, 3), 3))
    bench.drain()
    assert cached(bench, 1) == 20


def test_a_window_group_is_hit_by_what_its_window_sees() -> None:
    bench = make_bench(num_blocks=40, groups=(FULL, window(6)))
    bench.add(request(0, PROMPT, 1))
    bench.drain()
    bench.add(request(1, (*PROMPT, 7), 2))
    batch = bench.scheduler.schedule()
    assert batch is not None
    full, windowed = batch.sequences[0].block_tables
    assert batch.sequences[0].start == 20
    assert all(full)
    assert [page == 0 for page in windowed] == [True, True, True, False, False, False], "position 20 sees 15 to 20"
    bench.scheduler.update(batch, bench.runner.run(batch))
    assert [page == 0 for page in windowed] == [True, True, True, True, False, False], "position 21 sees 16 to 21"
    bench.drain()


def test_every_group_must_have_its_blocks() -> None:
    bench = make_bench(num_blocks=40, groups=(FULL, window(6)))
    bench.add(request(0, PROMPT, 1))
    bench.drain()
    kv = bench.scheduler._kv
    hashes: list[bytes] = []
    BlockHasher(b"model", 4).extend(hashes, list(PROMPT), salt="")
    assert kv._prefixes is not None
    page = kv._prefixes.find(1, hashes[4])
    assert page is not None
    kv._prefixes.forget(page)
    kv._pool._retained.discard(page)
    kv._pool._idle.pop(page)
    kv._pool._empty.append(page)
    assert kv._prefixes.longest_hit(hashes, 5) == 4
    bench.add(request(1, (*PROMPT, 7), 2))
    bench.drain()
    assert cached(bench, 1) == 16


def test_switched_off_nothing_is_hit_or_counted() -> None:
    bench = make_bench(prefix_caching=False)
    bench.add(request(0, PROMPT, 2))
    bench.drain()
    bench.add(request(1, PROMPT, 2))
    bench.drain()
    assert cached(bench, 1) == 0
    assert sum(stats.num_prefix_queries for stats in bench.stats) == 0


def test_names_depend_on_every_part() -> None:
    hasher = BlockHasher(b"model", 4)
    names: list[bytes] = []
    hasher.extend(names, [1, 2, 3, 4, 5, 6, 7, 8, 9], salt="s")
    assert len(names) == 2
    other: list[bytes] = []
    hasher.extend(other, [1, 2, 3, 5, 5, 6, 7, 8], salt="s")
    assert names[1] != other[1], "a chain: what comes before counts"
    roots = {hasher.root("s"), hasher.root("s", "adapter"), hasher.root("sa", "dapter"), BlockHasher(b"m", 4).root("s")}
    assert len(roots) == 4
    more = names[:1]
    hasher.extend(more, [1, 2, 3, 4, 5, 6, 7, 8], salt="s")
    assert more == names
