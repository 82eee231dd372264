"""A runner that computes nothing: made-up tokens after made-up durations, under the real scheduler, on any clock.

Tokens are a pure function of (seed, all tokens so far), and of the sampling key where sampling was asked for. So they
do not depend on batching, caching or preemption, as with the real runner.
"""

import hashlib
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tidemill.config.settings import CacheSettings, SimulationSettings
from tidemill.core.clock import Clock
from tidemill.core.kv_cache import KVCacheGroup, KVCacheLayout
from tidemill.scheduler.batch import Batch, NewSequence, RawLogprobs, ScheduledSequence, SequenceResult, StepResult

Sleep = Callable[[float], None]
"""Lets so many seconds pass on the runner's clock: `time.sleep`, or `VirtualClock.advance`."""


def simulated_layout(settings: SimulationSettings, cache: CacheSettings) -> KVCacheLayout:
    """A cache of `sim_kv_tokens` tokens under full attention; its pages hold no bytes."""
    num_blocks = settings.sim_kv_tokens // cache.block_size + 1
    group = KVCacheGroup(layers=(0,), window=None)
    return KVCacheLayout(num_blocks=max(2, num_blocks), block_size=cache.block_size, block_bytes=0, groups=(group,))


@dataclass(slots=True)
class _Simulated:
    """A sequence the runner knows; `digest` has taken in the seed and every token so far."""

    new: NewSequence
    digest: Any
    num_tokens: int
    fails: bool


@dataclass(frozen=True, slots=True)
class SimulatedStep:
    """A step under way, over at `ends` seconds of the clock."""

    outcome: StepResult
    ends: float
    clock: Clock
    sleep: Sleep

    def result(self) -> StepResult:
        """Let the rest of the step's time pass."""
        left = self.ends - self.clock()
        if left > 0:
            self.sleep(left)
        return self.outcome


class SimulatedRunner:
    """Implements `Runner`. `allowed_token_ids` are what it answers with; it ends by itself only if settings say so."""

    def __init__(
        self, settings: SimulationSettings, allowed_token_ids: tuple[int, ...], *, clock: Clock, sleep: Sleep
    ) -> None:
        assert allowed_token_ids
        self._settings = settings
        self._allowed = allowed_token_ids
        self._clock = clock
        self._sleep = sleep
        self._known: dict[int, _Simulated] = {}

    def launch(self, batch: Batch) -> SimulatedStep:
        """Start `batch`; its result is there once its time has passed."""
        started = self._clock()
        for sequence_id in batch.finished:
            del self._known[sequence_id]
        for new in batch.new:
            self._known[new.sequence_id] = self._introduce(new)
        seconds = self.step_seconds(batch)
        results = tuple(self._advance(scheduled) for scheduled in batch.sequences)
        return SimulatedStep(StepResult(batch.step, results), started + seconds, self._clock, self._sleep)

    def step_seconds(self, batch: Batch) -> float:
        """How long `batch` takes: a constant, rows of prompts, a prompt's completion, further decoding sequences."""
        num_decoding = num_prompt_rows = 0
        completes_prompt = False
        for scheduled in batch.sequences:
            num_prompt_tokens = len(self._known[scheduled.sequence_id].new.prompt_token_ids)
            end = scheduled.start + scheduled.num_tokens
            if scheduled.start >= num_prompt_tokens and scheduled.num_tokens == 1:
                num_decoding += 1
            else:
                num_prompt_rows += scheduled.num_tokens
                completes_prompt |= scheduled.start < num_prompt_tokens <= end
        settings = self._settings
        return (
            settings.sim_seconds_per_token
            + settings.sim_seconds_per_prompt_token * num_prompt_rows
            + settings.sim_seconds_per_sequence * max(0, num_decoding - 1)
            + (settings.sim_ttft_seconds if completes_prompt else 0.0)
        )

    def _introduce(self, new: NewSequence) -> _Simulated:
        prompt = new.prompt_token_ids
        digest = hashlib.blake2b(struct.pack("<q", self._settings.sim_seed), digest_size=16)
        digest.update(struct.pack(f"<{len(prompt)}I", *prompt))
        draw = hashlib.blake2b(struct.pack("<qq", self._settings.sim_seed, new.sequence_id), digest_size=8).digest()
        return _Simulated(new, digest, len(prompt), fails=_fraction(draw) < self._settings.sim_failure_rate)

    def _advance(self, scheduled: ScheduledSequence) -> SequenceResult:
        known = self._known[scheduled.sequence_id]
        prompt_logprobs = self._prompt_logprobs(known.new, scheduled)
        if not scheduled.samples:
            return SequenceResult(scheduled.sequence_id, (), prompt_logprobs=prompt_logprobs)
        if known.fails:
            return SequenceResult(scheduled.sequence_id, (), error="The simulated engine failed, as it was set to.")
        token = self._next_token(known)
        known.digest.update(struct.pack("<I", token))
        known.num_tokens += 1
        logprobs = self._logprobs(token, known.new.sampling.num_logprobs)
        return SequenceResult(scheduled.sequence_id, (token,), logprobs, prompt_logprobs)

    def _next_token(self, known: _Simulated) -> int:
        new, digest = known.new, known.digest.copy()
        if new.sampling.temperature > 0:
            digest.update(repr(new.sampling_key).encode())
        drawn: bytes = digest.digest()
        num_output_tokens = known.num_tokens - len(new.prompt_token_ids)
        mean = self._settings.sim_mean_output_tokens
        may_end = not new.sampling.ignore_eos and num_output_tokens >= new.sampling.min_tokens and new.eos_token_ids
        if mean is not None and may_end and _fraction(drawn[8:]) < 1 / mean:
            return min(new.eos_token_ids)
        return self._allowed[int.from_bytes(drawn[:8], "little") % len(self._allowed)]

    def _logprobs(self, token: int, num_alternatives: int | None) -> tuple[RawLogprobs, ...]:
        """The uniform distribution over the allowed tokens, `token` first among equals."""
        if num_alternatives is None:
            return ()
        logprob = -math.log(len(self._allowed))
        others = (other for other in self._allowed[: num_alternatives + 1] if other != token)
        top = (token, *others)[:num_alternatives]
        return (RawLogprobs(token, logprob, top, (logprob,) * len(top)),)

    def _prompt_logprobs(self, new: NewSequence, scheduled: ScheduledSequence) -> tuple[RawLogprobs, ...]:
        num_alternatives = new.sampling.num_prompt_logprobs
        if num_alternatives is None:
            return ()
        first = scheduled.start + 1
        tokens = new.prompt_token_ids[first : first + scheduled.num_tokens]
        return tuple(entry for token in tokens for entry in self._logprobs(token, num_alternatives))


def _fraction(eight_bytes: bytes) -> float:
    """A number in [0, 1) from eight uniform bytes."""
    return int.from_bytes(eight_bytes, "little") / 2**64
