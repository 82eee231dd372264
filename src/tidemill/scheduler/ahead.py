"""What lies ahead of a request: prompts, crowds of them, streams, and what a step may hold. Plays nothing."""

from dataclasses import dataclass

from tidemill.scheduler.prompt_order import Standing


@dataclass(frozen=True, slots=True)
class PromptAhead:
    """A prompt with `num_tokens` to compute behind `context` computed ones; it has a place already, or needs one.

    Once complete it is a stream that is expected to yield `num_output_tokens`.
    """

    num_tokens: int
    context: int
    num_output_tokens: int
    has_place: bool
    standing: Standing = (0, False)
    """What counts before any due time."""
    yields: bool = False
    """Whether its steps are short, since others may come that go before it."""


@dataclass(frozen=True, slots=True)
class CrowdAhead:
    """`num` prompts without a place, of which only sums are known: each counts as the mean of them.

    `num_output_tokens` is what the mean one is expected to yield.
    """

    num: int
    num_tokens: int
    context: int
    num_output_tokens: int
    standing: Standing = (0, False)
    """Of the last of them."""
    yields: bool = False

    def mean(self) -> PromptAhead:
        """One of them; rounded up, so that many small errors do not promise too much."""
        num_tokens, context = -(-self.num_tokens // self.num), self.context // self.num
        return PromptAhead(
            num_tokens, context, self.num_output_tokens, has_place=False, standing=self.standing, yields=self.yields
        )


@dataclass(frozen=True, slots=True)
class StreamAhead:
    """A stream of `context` tokens that is expected to yield `num_output_tokens` more."""

    context: int
    num_output_tokens: int
    patience_seconds: float | None = None
    """For how long it may sit out beside a prompt that does not yield, see `Turns`; None if it never does."""

    def may_wait(self, seconds: float) -> bool:
        """Whether it may sit out for so long."""
        return self.patience_seconds is not None and self.patience_seconds >= seconds


@dataclass(frozen=True, slots=True)
class StepLimits:
    """What a step may hold: rows, sequences, and time where streams were promised theirs."""

    max_num_batched_tokens: int
    max_num_seqs: int
    tpot_seconds: float | None
    richer_tpot_seconds: float | None
    """The shortest of tenants that were served more than the one that asks; `tpot_seconds` is of the others."""
    num_richer: int
    """Streams of those tenants."""
    ttft_seconds: float | None
    keeps_promises: bool
    """Whether everybody is promised something: then a step may end with the prompts it completes, see `StepSharing`."""
