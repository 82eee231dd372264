"""The search on curves whose answer is known, exact and noisy."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.bench.search import Probe, Search, SearchResult

Curve = Callable[[float, int], float]


async def find(
    curve: Curve,
    *,
    start: float = 1.0,
    is_whole: bool = False,
    max_probes: int = 60,
    resolution: float = 0.05,
    max_seconds: float = 1e9,
    stop_after: int | None = None,
) -> SearchResult:
    seen = 0

    async def run_probe(load: float, repeat: int) -> Probe | None:
        nonlocal seen
        seen += 1
        if stop_after is not None and seen > stop_after:
            return None
        return Probe(load, repeat, round(100 * curve(load, repeat)), 100, load, load, None, None)

    search = Search(
        run_probe,
        what="users" if is_whole else "rate",
        target_ratio=0.95,
        resolution_ratio=resolution,
        max_probes=max_probes,
        max_seconds=max_seconds,
        clock=lambda: 10.0 * seen,
        is_whole=is_whole,
    )
    return await search.find(start)


def cliff(limit: float) -> Curve:
    return lambda load, _: 1.0 if load <= limit else 0.2


@given(st.floats(0.02, 900.0), st.floats(0.02, 900.0))
@settings(deadline=None)
async def test_a_rate_is_found_within_the_resolution(limit: float, start: float) -> None:
    found = await find(cliff(limit), start=start)
    assert found.is_resolved
    assert found.best is not None
    assert found.lowest_failed is not None
    assert found.best <= limit < found.lowest_failed <= found.best * 1.05


@given(st.integers(1, 3000), st.integers(1, 500))
@settings(deadline=None)
async def test_few_users_are_found_exactly(limit: int, start: int) -> None:
    found = await find(cliff(limit), start=start, is_whole=True)
    assert found.is_resolved
    assert found.best is not None
    assert found.lowest_failed is not None
    assert found.best <= limit < found.lowest_failed
    assert found.lowest_failed - found.best <= max(1, 0.05 * found.best)
    assert all(probe.load == int(probe.load) for probe in found.probes)


async def test_the_best_load_is_probed_twice() -> None:
    found = await find(cliff(10.0))
    assert [probe.repeat for probe in found.probes if probe.load == found.best] == [0, 1]


async def test_luck_is_found_out() -> None:
    # 12 passes once, by luck; its second probe is much worse, and both count.
    def curve(load: float, repeat: int) -> float:
        if load > 8:
            return 1.0 if repeat == 0 and load <= 12 else 0.5
        return 1.0

    found = await find(curve, is_whole=True)
    assert found.best == 8
    assert found.lowest_failed == 9
    assert found.is_resolved


async def test_a_share_is_judged_over_all_probes_of_a_load() -> None:
    found = await find(cliff(10.0))
    verdict = next(v for v in found.verdicts if v.load == found.best)
    assert (verdict.num_judged, verdict.met_ratio) == (200, 1.0)
    assert verdict.met_ratio_low == pytest.approx(0.981, abs=1e-3)


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=30)
async def test_noise_moves_the_answer_little(seed: int) -> None:
    rng = random.Random(seed)

    def curve(load: float, _: int) -> float:
        # The share falls smoothly from 1 through 0.95 at a load of 20.
        share = 1 / (1 + (load / 20) ** 8 / 19)
        return sum(rng.random() < share for _ in range(100)) / 100

    found = await find(curve)
    assert found.best is not None
    assert 14 < found.best < 28


async def test_nothing_passes() -> None:
    found = await find(cliff(0.0), is_whole=True, start=4)
    assert found.best is None
    assert [probe.load for probe in found.probes] == [4, 2, 1]
    assert not found.is_resolved


async def test_nothing_fails_within_the_probes() -> None:
    found = await find(cliff(1e9), max_probes=5)
    assert (found.best, found.lowest_failed) == (16.0, None)
    assert not found.is_resolved
    assert found.ended_by == "5 probes were used up"


async def test_time_runs_out() -> None:
    # A probe takes ten seconds: the third one ends after 25.
    found = await find(cliff(1e9), max_seconds=25.0)
    assert [probe.load for probe in found.probes] == [1.0, 2.0, 4.0]
    assert found.ended_by == "25 s had passed"
    assert (await find(cliff(10.0))).ended_by == "nothing was left to probe"


async def test_a_stopped_search_tells_what_it_has() -> None:
    found = await find(cliff(10.0), stop_after=3)
    assert (found.best, len(found.probes), found.ended_by) == (4.0, 3, "it was stopped")
    assert (await find(cliff(10.0), stop_after=0)).verdicts == ()
