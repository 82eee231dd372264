"""What becomes of the cost model beside learning: told now and then, kept at rest, and made by synthetic steps."""

from pathlib import Path

from tests.fakes.promise_rig import TrueRunner, Truth
from tidemill.config.settings import CacheSettings, SimulationSettings
from tidemill.core.clock import VirtualClock
from tidemill.core.kv_cache import KVCacheGroup, KVCacheLayout
from tidemill.cost.model import CostModel
from tidemill.cost.step_shape import streams_shape
from tidemill.cost.store import CostStore
from tidemill.engine.core.calibration import calibrate, synthetic_steps
from tidemill.engine.core.cost_keeper import NEWS_SECONDS, SAVE_SECONDS, CostKeeper
from tidemill.engine.core.simulated import simulated_layout
from tidemill.scheduler.batch import Batch, StepHandle


def observe(model: CostModel, num: int) -> None:
    for number in range(num):
        model.observe(streams_shape(1 + number % 8, 100), 0.01)


def test_the_client_is_told_now_and_then() -> None:
    clock, model = VirtualClock(), CostModel()
    keeper = CostKeeper(model, CostStore(None, ""), clock)
    clock.advance(NEWS_SECONDS)
    assert keeper.news() is None, "it knows nothing yet"
    observe(model, 100)
    news = keeper.news()
    assert news is not None
    assert news.num_steps == 100
    assert keeper.news() is None
    clock.advance(NEWS_SECONDS)
    assert keeper.news() is not None


def test_it_is_kept_at_rest_once_a_minute_and_at_the_end(tmp_path: Path) -> None:
    clock, model = VirtualClock(), CostModel()
    store = CostStore(tmp_path, "k" * 64)
    keeper = CostKeeper(model, store, clock)
    observe(model, 100)
    keeper.rest()
    assert store.load() is None
    clock.advance(SAVE_SECONDS)
    keeper.rest()
    kept = store.load()
    assert kept is not None
    assert kept.num_steps == 100
    keeper.save()
    assert store.load() == kept, "nothing new, nothing written"
    observe(model, 1)
    keeper.save()
    assert (store.load() or kept).num_steps == 101


def test_nothing_half_known_is_kept(tmp_path: Path) -> None:
    model, store = CostModel(), CostStore(tmp_path, "k" * 64)
    keeper = CostKeeper(model, store, VirtualClock())
    observe(model, 10)
    keeper.save()
    assert store.load() is None


class _Noting(TrueRunner):
    """Remembers the batches."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(Truth(), clock, 1)
        self.batches: list[Batch] = []

    def launch(self, batch: Batch) -> StepHandle:  # type: ignore[override]
        self.batches.append(batch)
        return super().launch(batch)


def test_synthetic_steps_respect_every_limit_and_leave_nothing_behind() -> None:
    clock = VirtualClock()
    groups = (KVCacheGroup((0,), None), KVCacheGroup((1,), 64))
    layout = KVCacheLayout(num_blocks=40, block_size=16, block_bytes=1, groups=groups)
    steps = synthetic_steps(max_num_seqs=6, max_num_batched_tokens=100, max_model_len=300)
    assert len(set(steps)) == len(steps) >= 10
    runner, model = _Noting(clock), CostModel()
    calibrate(model, runner, layout, steps, model_id=3, clock=clock, budget_seconds=1e9, progress=lambda _: None)
    for batch in runner.batches[:-1]:
        assert batch.model_id == 3
        assert 0 < batch.num_rows <= 100
        assert len(batch.sequences) <= 6
        for scheduled in batch.sequences:
            assert scheduled.start + scheduled.num_tokens <= 300
            assert len(scheduled.block_tables) == 2
            for table in scheduled.block_tables:
                assert len(table) * 16 >= scheduled.start + scheduled.num_tokens
                assert all(0 < page < 40 for page in table)
    introduced = {new.sequence_id for batch in runner.batches for new in batch.new}
    forgotten = {sequence_id for batch in runner.batches for sequence_id in batch.finished}
    assert max(introduced) < 0
    assert introduced == forgotten


def test_calibration_ends_when_its_time_is_up() -> None:
    clock, model = VirtualClock(), CostModel()
    steps = synthetic_steps(max_num_seqs=64, max_num_batched_tokens=2048, max_model_len=4096)
    layout = simulated_layout(SimulationSettings(), CacheSettings())
    runner = TrueRunner(Truth(), clock, 1)
    calibrate(model, runner, layout, steps, model_id=0, clock=clock, budget_seconds=0.5, progress=lambda _: None)
    assert clock() < 5.0
    assert 0 < model.num_steps < len(steps)


def test_the_tightest_limits_still_have_a_step() -> None:
    steps = synthetic_steps(max_num_seqs=1, max_num_batched_tokens=1, max_model_len=16)
    assert steps
    assert all(step.num_streams + step.chunk == 1 for step in steps)
