"""The engine's books: whose joules the meter's were. Owns what each sequence has had, and closes interval by interval.

requests + idle = meter, to the last joule: what the model says is scaled to what the meter says. Which joules turn out
to be waste is known where requests end, see `accounts.py`; only what a preemption threw away is known here.
"""

from dataclasses import dataclass, field
from operator import mul

from tidemill.core.clock import Clock
from tidemill.core.footprint import Charge, IntervalBooks
from tidemill.core.kv_cache import KVCacheGroup
from tidemill.cost.step_times import StepTimes
from tidemill.ledger.attribution import Shares, StepSplit, no_shares
from tidemill.ledger.energy_model import EnergyModel
from tidemill.ledger.meter import Meter
from tidemill.ledger.price_average import PriceAverage
from tidemill.scheduler.batch import Batch, ScheduledSequence
from tidemill.scheduler.step_counters import kv_tokens_read, row_context_tokens

INTERVAL_SECONDS = 1.0
"""How often the meter is read: often enough to tell loads apart, seldom enough to cost nothing (counters tick at
10 to 1000 Hz)."""
_MAX_UNTAKEN = 16
"""Steps that may wait to be looked at."""
_PATIENCE_SECONDS = 60.0
"""How long an interval may last for want of a reading; then it closes without joules, and the next one has them."""


@dataclass(slots=True)
class _Account:
    """A sequence: how far it has ever got, and its parts of the interval's steps, by what they were for."""

    num_prompt_tokens: int
    num_reached: int = 0
    prompt: Shares = field(default_factory=no_shares)
    output: Shares = field(default_factory=no_shares)
    redone: Shares | None = None
    has_any: bool = False
    has_left: bool = False


class EnergyBooks:
    """One engine's. `stepped` and `left` as things happen, `close` now and then; nothing here waits."""

    def __init__(self, meter: Meter, groups: tuple[KVCacheGroup, ...], clock: Clock, times: StepTimes) -> None:
        """`times` is what is known of the seconds of steps: they say whose the joules are that go as time does."""
        self._meter = meter
        self._times = times
        self._groups = groups
        self._is_full = len(groups) == 1 and groups[0].window is None
        self._clock = clock
        self._model = EnergyModel()
        self._prices = PriceAverage()
        self._accounts: dict[int, _Account] = {}
        self._untaken: list[Batch] = []
        self._left_unseen: list[int] = []
        """Sequences that left before any step knew them."""
        self._opened_at = clock()
        self._joules_before = meter.joules()
        self._busy_seconds = 0.0

    @property
    def model(self) -> EnergyModel:
        """What has been learnt of the joules of steps."""
        return self._model

    @property
    def has_open(self) -> bool:
        """Whether anything happened since the last close that somebody waits to hear of."""
        return self._busy_seconds > 0.0 or bool(self._left_unseen)

    def stepped(self, batch: Batch, seconds: float) -> None:
        """A step was made, or failed after it was begun; its turn took `seconds`."""
        self._busy_seconds += seconds
        self._untaken.append(batch)
        if len(self._untaken) == _MAX_UNTAKEN:
            self._take_in()

    def _take_in(self) -> None:
        """See whose the rows of the last steps were; of several at once, for a step leaves the processor's caches cold
        for what is not of the model: one by one it takes twice as long.
        """
        for batch in self._untaken:
            self._take(batch)
        self._untaken.clear()

    def _take(self, batch: Batch) -> None:
        for new in batch.new:
            self._accounts[new.sequence_id] = _Account(len(new.prompt_token_ids))
        accounts, split = self._accounts, StepSplit(len(batch.sequences), batch.num_rows)
        num_streamed = streamed_context = 0
        for scheduled in batch.sequences:
            account, start = accounts[scheduled.sequence_id], scheduled.start
            # Nearly every row of nearly every step is a stream's next one: that way is short.
            if (
                scheduled.num_tokens == 1
                and start == account.num_reached >= account.num_prompt_tokens
                and self._is_full
            ):
                split.add_next(account.output, start + 1)
                account.num_reached = start + 1
                account.has_any = True
                num_streamed += 1
                streamed_context += start + 1
            else:
                self._split(split, scheduled, account)
        self._prices.count_outputs(num_streamed, streamed_context)

    def left(self, sequence_id: int) -> None:
        """A sequence has ended, or was given up; nothing more is computed for it."""
        self._take_in()
        account = self._accounts.get(sequence_id)
        if account is None:
            self._left_unseen.append(sequence_id)
        else:
            account.has_left = True

    def close_if_due(self) -> IntervalBooks | None:
        """Close the interval if it is old enough."""
        return self.close() if self._clock() - self._opened_at >= INTERVAL_SECONDS else None

    def close(self) -> IntervalBooks | None:
        """Share out what the meter has counted since the last time; None if it cannot be read just now."""
        now, joules = self._clock(), self._meter.joules()
        seconds = now - self._opened_at
        if seconds <= 0.0 or (joules is None and seconds < _PATIENCE_SECONDS):
            return None
        self._take_in()
        before, metered = self._joules_before, 0.0
        if joules is not None:
            metered = 0.0 if before is None else max(0.0, joules - before)
            self._joules_before = joules
        idle_seconds = max(0.0, seconds - self._busy_seconds)
        books = self._share_out(metered, idle_seconds, seconds - idle_seconds)
        self._opened_at, self._busy_seconds = now, 0.0
        return books

    def _split(self, split: StepSplit, scheduled: ScheduledSequence, account: _Account) -> None:
        start, num_rows = scheduled.start, scheduled.num_tokens
        counts = {
            "num_rows": num_rows,
            "num_samples": int(scheduled.samples),
            "kv_tokens": kv_tokens_read(self._groups, start, num_rows),
            "row_context": row_context_tokens(self._groups, start, num_rows),
        }
        redone = min(num_rows, max(0, account.num_reached - start)) / num_rows
        account.has_any = True
        if redone > 0.0:
            account.redone = account.redone or no_shares()
            split.add(account.redone, redone, **counts)
        if redone < 1.0:
            shares = account.prompt if start < account.num_prompt_tokens else account.output
            split.add(shares, 1.0 - redone, **counts)
            account.num_reached = start + num_rows
        # Prices are of tokens, whatever windows an architecture looks through.
        self._prices.count(num_rows * (1.0 - redone), start, num_rows, is_prompt=start < account.num_prompt_tokens)

    def _share_out(self, metered: float, idle_seconds: float, busy_seconds: float) -> IntervalBooks:
        active = {i: account for i, account in self._accounts.items() if account.has_any or account.has_left}
        prompt, output, redone = (self._total(active, name) for name in ("prompt", "output", "redone"))
        features = [a + b + c for a, b, c in zip(prompt, output, redone, strict=True)]
        residual = self._model.observe(idle_seconds, busy_seconds, features, metered)
        modelled = self._model.joules(idle_seconds, busy_seconds, features)
        scale = metered / modelled if modelled > 0.0 else 0.0
        own = self._model.feature_joules(busy_seconds, features, self._times.coefficients)
        worth = [scale * joules for joules in own]
        charges = [self._charge(i, account, worth) for i, account in active.items()]
        charges += [Charge(i, 0.0, 0.0, is_final=True) for i in self._left_unseen]
        self._left_unseen.clear()
        self._prices.add(
            prompt_joules=tuple(map(mul, prompt, worth)),
            output_joules=tuple(map(mul, output, worth)),
            busy_seconds=busy_seconds,
        )
        return IntervalBooks(
            meter=self._meter.kind,
            seconds=idle_seconds + busy_seconds,
            idle_seconds=idle_seconds,
            meter_joules=metered,
            # The remainder, so that nothing is lost to rounding, or to a model that knows of nothing yet.
            idle_joules=metered - sum(charge.joules for charge in charges),
            charges=tuple(charges),
            residual_joules=residual,
            prices=self._prices.published(),
        )

    def _total(self, active: dict[int, _Account], name: str) -> Shares:
        shares = [getattr(account, name) for account in active.values()]
        return [sum(values) for values in zip(*(s for s in shares if s is not None), strict=True)] or no_shares()

    def _charge(self, sequence_id: int, account: _Account, worth: list[float]) -> Charge:
        """The bill of a sequence, with one of each feature at `worth` joules."""
        redone = 0.0 if account.redone is None else sum(map(mul, account.redone, worth))
        useful = sum(map(mul, account.prompt, worth)) + sum(map(mul, account.output, worth))
        if account.has_left:
            del self._accounts[sequence_id]
        else:
            account.prompt, account.output, account.redone, account.has_any = no_shares(), no_shares(), None, False
        return Charge(sequence_id, useful + redone, redone, is_final=account.has_left)
