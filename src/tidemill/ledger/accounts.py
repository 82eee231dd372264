"""The service's side of the books: charges gathered by request, until its end says whether they were waste.

One event loop; everything here is synchronous, and holds no more than the sequences under way.
"""

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass

from tidemill.core.clock import Clock
from tidemill.core.footprint import Charge, Footprint, IntervalBooks, MeterKind, Outcome, PriceList
from tidemill.ledger.conversion import Conversion
from tidemill.ledger.entries import Entry, IntervalEntry, RequestEntry
from tidemill.ledger.statement import state

ANYONE = "anyone"
"""The key of requests that need none."""


@dataclass(slots=True)
class _Request:
    """A request under way; `num_open` of its sequences are not closed."""

    entry: RequestEntry
    num_open: int


@dataclass(slots=True)
class _Sequence:
    """One sequence of a request. The first sample of a prompt counts that prompt's tokens."""

    request: _Request
    num_prompt_tokens: int
    counts_prompt: bool
    joules: float = 0.0
    redone_joules: float = 0.0
    num_cached_tokens: int = 0
    num_output_tokens: int = 0
    outcome: Outcome | None = None
    is_charged_in_full: bool = False


class Accounts:
    """One engine's requests. `key_labels` names tenants as people know them; `on_entry` takes what is final."""

    def __init__(
        self,
        conversion: Conversion,
        *,
        model: str,
        key_labels: Mapping[str, str],
        on_entry: Callable[[Entry], None],
        on_open: Callable[[float], None],
        wall_clock: Clock,
    ) -> None:
        """`on_open` is told the joules of requests that have not ended, after every interval."""
        self._conversion = conversion
        self._model = model
        self._key_labels = key_labels
        self._on_entry = on_entry
        self._on_open = on_open
        self._wall_clock = wall_clock
        self._sequences: dict[int, _Sequence] = {}
        self._prices: PriceList | None = None
        self._meter: MeterKind | None = None

    def opened(self, request_id: str, tenant: str, first_id: int, prompt_lengths: Seq[int], num_samples: int) -> None:
        """A request is submitted as sequences from `first_id` on, prompt-major: `num_samples` of each prompt."""
        key = self._key_labels.get(tenant, ANYONE)
        entry = RequestEntry(request_id, self._model, key, num_prompt_tokens=sum(prompt_lengths))
        request = _Request(entry, len(prompt_lengths) * num_samples)
        for index in range(request.num_open):
            length = prompt_lengths[index // num_samples]
            self._sequences[first_id + index] = _Sequence(request, length, counts_prompt=index % num_samples == 0)

    def yielded(self, sequence_id: int, num_output_tokens: int, num_cached_tokens: int | None) -> None:
        """A step gave a sequence tokens; what the prefix cache had is known with the first ones."""
        sequence = self._sequences.get(sequence_id)
        if sequence is not None:
            sequence.num_output_tokens += num_output_tokens
            if num_cached_tokens is not None:
                sequence.num_cached_tokens = num_cached_tokens

    def ended(self, sequence_id: int, outcome: Outcome) -> None:
        """A sequence is over for its client; the first word counts."""
        sequence = self._sequences.get(sequence_id)
        if sequence is None:
            return
        sequence.outcome = sequence.outcome or outcome
        if sequence.is_charged_in_full:
            self._close(sequence_id, sequence)

    def posted(self, books: IntervalBooks) -> None:
        """The engine has closed an interval."""
        self._meter = books.meter
        self._prices = books.prices or self._prices
        charged = sum(charge.joules for charge in books.charges)
        busy_seconds = books.seconds - books.idle_seconds
        seconds_per_joule = busy_seconds / charged if charged > 0.0 else 0.0
        claimed = sum(self._charge(charge, seconds_per_joule) for charge in books.charges)
        # What nobody here claims, the idle bear, so that nothing is lost: joules, and the machine's time with them.
        idle_joules = books.idle_joules + charged - claimed
        idle_seconds = books.seconds - claimed * seconds_per_joule
        self._on_entry(
            IntervalEntry(
                closed_unix_seconds=self._wall_clock(),
                model=self._model,
                method=books.meter.method,
                meter_joules=books.meter_joules,
                idle_joules=idle_joules,
                idle_impact=self._conversion.impact(idle_joules, idle_seconds),
                residual_joules=books.residual_joules or 0.0,
                modelled_joules=0.0 if books.residual_joules is None else books.meter_joules,
            )
        )
        self._on_open(sum(sequence.joules for sequence in self._sequences.values()))

    def settle(self) -> None:
        """The engine is gone and nothing more will be charged: what has not ended has failed."""
        for sequence_id, sequence in tuple(self._sequences.items()):
            sequence.outcome = sequence.outcome or "failed"
            self._close(sequence_id, sequence)
        self._on_open(0.0)

    def statement(self, num_prompt_tokens: int, num_cached_tokens: int, num_output_tokens: int) -> Footprint | None:
        """What an answer of these lengths takes at average prices; None until there are prices."""
        if self._prices is None or self._meter is None:
            return None
        joules = self._prices.request_joules(
            num_prompt_tokens=num_prompt_tokens,
            num_cached_tokens=num_cached_tokens,
            num_output_tokens=num_output_tokens,
        )
        avoided = self._prices.avoided_joules(num_cached_tokens)
        return state(joules, avoided, joules * self._prices.seconds_per_joule, self._meter, self._conversion)

    def _charge(self, charge: Charge, seconds_per_joule: float) -> float:
        """Take in a charge; the joules of it that somebody here bears."""
        sequence = self._sequences.get(charge.sequence_id)
        if sequence is None:
            return 0.0
        sequence.joules += charge.joules
        sequence.redone_joules += charge.redone_joules
        entry = sequence.request.entry
        entry.impact = entry.impact.plus(self._conversion.impact(charge.joules, charge.joules * seconds_per_joule))
        sequence.is_charged_in_full = charge.is_final
        if charge.is_final and sequence.outcome is not None:
            self._close(charge.sequence_id, sequence)
        return charge.joules

    def _close(self, sequence_id: int, sequence: _Sequence) -> None:
        """The sequence is over and charged in full: its joules find their line, and with the last one the request."""
        del self._sequences[sequence_id]
        request, entry = sequence.request, sequence.request.entry
        assert sequence.outcome is not None
        useful = sequence.joules - sequence.redone_joules
        entry.waste_joules["recomputed"] += sequence.redone_joules
        if sequence.outcome == "finished":
            entry.requests_joules += useful
        else:
            entry.waste_joules[sequence.outcome] += useful
            entry.outcome = sequence.outcome
        entry.num_output_tokens += sequence.num_output_tokens
        if sequence.counts_prompt:
            entry.num_cached_tokens += sequence.num_cached_tokens
        self._estimate(entry, sequence)
        request.num_open -= 1
        if request.num_open == 0:
            entry.ended_unix_seconds = self._wall_clock()
            self._on_entry(entry)

    def _estimate(self, entry: RequestEntry, sequence: _Sequence) -> None:
        if self._prices is None:
            return
        entry.avoided_joules += self._prices.avoided_joules(sequence.num_cached_tokens)
        entry.stated_joules += self._prices.request_joules(
            num_prompt_tokens=sequence.num_prompt_tokens,
            num_cached_tokens=sequence.num_cached_tokens,
            num_output_tokens=sequence.num_output_tokens,
        )
