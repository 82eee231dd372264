"""Token counts of an answer: of a whole one, and gathered along a stream."""

from collections.abc import Sequence

from msgspec import UNSET, UnsetType

from tidemill.api.footprint import footprint_of
from tidemill.api.openai.answers import PromptTokensDetails, Usage
from tidemill.core.requests import Accepted, Delta, Finish


def usage_of(accepted: Accepted, finishes: Sequence[Finish | None], num_samples: int, *, with_footprint: bool) -> Usage:
    """Token counts. A prompt counts once, and as cached what its first sample found in the cache."""
    prompt = sum(accepted.num_prompt_tokens)
    output = sum(f.timings.num_output_tokens for f in finishes if f is not None)
    cached = sum(f.timings.num_cached_tokens for f in finishes[::num_samples] if f is not None)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=output,
        total_tokens=prompt + output,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=cached),
        footprint=footprint_of(finishes, is_wanted=with_footprint),
    )


class UsageCollector:
    """Remembers what the usage chunk of a stream needs."""

    def __init__(self, num_samples: int, *, is_included: bool, with_footprint: bool) -> None:
        self._num_samples = num_samples
        self._with_footprint = with_footprint
        self._accepted: Accepted | None = None
        self._finishes: dict[int, Finish] = {}
        self.is_included = is_included

    @property
    def placeholder(self) -> UnsetType | None:
        """What chunks before the last carry."""
        return None if self.is_included else UNSET

    def accept(self, accepted: Accepted) -> None:
        """Take in the prompts' counts."""
        self._accepted = accepted

    def add(self, delta: Delta) -> None:
        """Take in a finish, if this is one."""
        if delta.finish is not None:
            self._finishes[delta.index] = delta.finish

    def usage(self) -> Usage:
        """The counts of what has finished."""
        assert self._accepted is not None
        finishes = [self._finishes.get(i) for i in range(len(self._accepted.num_prompt_tokens) * self._num_samples)]
        return usage_of(self._accepted, finishes, self._num_samples, with_footprint=self._with_footprint)
