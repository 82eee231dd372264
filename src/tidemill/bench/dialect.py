"""The two interfaces that can be loaded, as request bodies. What comes back is read in `answer_stream.py`."""

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

Api = Literal["completions", "chat"]
PATHS: dict[Api, str] = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """How this server wants to be asked: what it refuses is left out."""

    api: Api
    model: str
    temperature: float | None
    ignores_eos: bool
    has_stream_usage: bool = True

    @property
    def path(self) -> str:
        """The route below the base path."""
        return PATHS[self.api]

    def body(self, prompt: str, num_output_tokens: int, *, stream: bool, seed: int | None = None) -> bytes:
        """A request as JSON."""
        fields: dict[str, Any] = {"model": self.model}
        if self.api == "chat":
            fields["messages"] = [{"role": "user", "content": prompt}]
        else:
            fields["prompt"] = prompt
        fields["max_tokens"] = num_output_tokens
        if self.temperature is not None:
            fields["temperature"] = self.temperature
            if self.temperature > 0 and seed is not None:
                fields["seed"] = seed
        if self.ignores_eos:
            fields["ignore_eos"] = True
        if stream:
            fields["stream"] = True
            if self.has_stream_usage:
                fields["stream_options"] = {"include_usage": True}
        return msgspec.json.encode(fields)
