"""A runner that computes nothing but checks everything: the batch's contract, and the content of each cached position.

Each KV slot holds the name of the prefix that was written there. Before a sequence's next token is made, every position
that each group looks at must hold exactly that sequence's prefix: aliased, stale or uncomputed blocks fail.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from tidemill.core.kv_cache import KVCacheLayout
from tidemill.scheduler.batch import Batch, NewSequence, RawLogprobs, ScheduledSequence, SequenceResult, StepResult

NextTokens = Callable[[NewSequence, tuple[int, ...]], tuple[int, ...]]


def hashed_token(vocab_size: int = 50) -> NextTokens:
    """A next token that depends on the seed and on every token so far."""
    return lambda new, tokens: (hash((new.sampling.seed, tokens)) % vocab_size,)


@dataclass
class _Known:
    new: NewSequence
    tokens: list[int]


@dataclass
class CheckingRunner:
    """`run` returns a step's result; `errors` maps sequence ids to what their next result should say."""

    layout: KVCacheLayout
    max_num_seqs: int
    max_num_batched_tokens: int
    next_tokens: NextTokens = field(default_factory=hashed_token)
    errors: dict[int, str] = field(default_factory=dict)
    known: dict[int, _Known] = field(default_factory=dict)
    slots: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Slot (page * block_size + offset) to (group, name of the prefix that ends there)."""
    num_rows: int = 0

    def run(self, batch: Batch) -> StepResult:
        self._admit(batch)
        assert 0 < len(batch.sequences) <= self.max_num_seqs
        assert 0 < batch.num_rows <= self.max_num_batched_tokens
        assert len({s.sequence_id for s in batch.sequences}) == len(batch.sequences)
        self.num_rows += batch.num_rows
        for scheduled in batch.sequences:  # all writes before all reads: a page written twice in a step is a clash
            self._write(scheduled)
        return StepResult(batch.step, tuple(self._compute(scheduled) for scheduled in batch.sequences))

    def _admit(self, batch: Batch) -> None:
        for sequence_id in batch.finished:
            del self.known[sequence_id]
        for new in batch.new:
            assert new.sequence_id not in self.known, "announced twice"
            self.known[new.sequence_id] = _Known(new, list(new.prompt_token_ids))
        assert {new.sequence_id for new in batch.new} <= {s.sequence_id for s in batch.sequences}

    def _prefix_names(self, tokens: list[int], end: int) -> list[int]:
        name, names = 0, []
        for token in tokens[:end]:
            name = hash((name, token))
            names.append(name)
        return names

    def _write(self, scheduled: ScheduledSequence) -> None:
        tokens = self.known[scheduled.sequence_id].tokens
        end = scheduled.start + scheduled.num_tokens
        assert scheduled.num_tokens > 0
        assert end <= len(tokens), "a position beyond the known tokens"
        names = self._prefix_names(tokens, end)
        size = self.layout.block_size
        for group, table in enumerate(scheduled.block_tables):
            assert len(table) == -(-end // size), "blocks are taken only when needed"
            for position in range(scheduled.start, end):
                page = table[position // size]
                assert 0 < page < self.layout.num_blocks
                self.slots[page * size + position % size] = (group, names[position])

    def _compute(self, scheduled: ScheduledSequence) -> SequenceResult:
        known = self.known[scheduled.sequence_id]
        end = scheduled.start + scheduled.num_tokens
        self._check_reads(scheduled, self._prefix_names(known.tokens, end))
        if scheduled.sequence_id in self.errors:
            return SequenceResult(scheduled.sequence_id, (), error=self.errors.pop(scheduled.sequence_id))
        prompt_logprobs = self._prompt_logprobs(known.new, scheduled.start, end)
        if not scheduled.samples:
            return SequenceResult(scheduled.sequence_id, (), prompt_logprobs=prompt_logprobs)
        assert end == len(known.tokens)
        token_ids = self.next_tokens(known.new, tuple(known.tokens))
        known.tokens.extend(token_ids)
        wants_logprobs = known.new.sampling.num_logprobs is not None
        logprobs = tuple(RawLogprobs(token, -1.0, (), ()) for token in token_ids) if wants_logprobs else ()
        return SequenceResult(scheduled.sequence_id, token_ids, logprobs, prompt_logprobs)

    def _check_reads(self, scheduled: ScheduledSequence, names: list[int]) -> None:
        size = self.layout.block_size
        for group, table in enumerate(scheduled.block_tables):
            window = self.layout.groups[group].window
            first = 0 if window is None else max(0, scheduled.start - window + 1)
            for position in range(first, len(names)):
                slot = table[position // size] * size + position % size
                assert self.slots.get(slot) == (group, names[position]), (scheduled.sequence_id, group, position)
            if window is not None:
                assert not any(table[: first // size]), "a window's left-behind blocks are freed"

    @staticmethod
    def _prompt_logprobs(new: NewSequence, start: int, end: int) -> tuple[RawLogprobs, ...]:
        if new.sampling.num_prompt_logprobs is None:
            return ()
        spoken_of = new.prompt_token_ids[start + 1 : end + 1]
        return tuple(RawLogprobs(token, -1.0, (), ()) for token in spoken_of)
