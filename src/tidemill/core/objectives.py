"""Service-level objectives of a request: what it was promised. Where they come from is its caller's business."""

import msgspec

WORDS_PER_TOKEN = 0.75
"""English words a token stands for, about: what turns a reading speed into a time per token."""


class Objectives(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Seconds within which things should happen; None promises nothing.

    `ttft_seconds` from the arrival to the first token, `tpot_seconds` from one token to the next on average,
    `deadline_seconds` from the arrival to the end of the whole answer.
    """

    ttft_seconds: float | None = None
    tpot_seconds: float | None = None
    deadline_seconds: float | None = None

    @property
    def are_any(self) -> bool:
        """Whether anything is promised."""
        return (self.ttft_seconds, self.tpot_seconds, self.deadline_seconds) != (None, None, None)

    def or_else(self, default: "Objectives") -> "Objectives":
        """These, and those of `default` where there is none."""
        return Objectives(
            ttft_seconds=default.ttft_seconds if self.ttft_seconds is None else self.ttft_seconds,
            tpot_seconds=default.tpot_seconds if self.tpot_seconds is None else self.tpot_seconds,
            deadline_seconds=default.deadline_seconds if self.deadline_seconds is None else self.deadline_seconds,
        )


def seconds_per_token(words_per_minute: float) -> float:
    """The time per output token at which text appears at `words_per_minute`."""
    return 60.0 * WORDS_PER_TOKEN / words_per_minute
