"""Log-probabilities in OpenAI's two forms: a list of tokens for chat, parallel lists for completions."""

from collections.abc import Sequence

from tidemill.api.openai.answers import ChatLogprobs, CompletionLogprobs, TokenLogprobs, TopLogprob
from tidemill.core.requests import PositionLogprobs, TokenLogprob

_LEAST = -9999.0
"""What OpenAI writes for a token that is all but impossible; JSON has no infinity."""


def chat_logprobs(positions: Sequence[PositionLogprobs]) -> ChatLogprobs:
    """`positions` as chat completions show them."""
    return ChatLogprobs(content=[_position(p) for p in positions])


def _position(position: PositionLogprobs) -> TokenLogprobs:
    chosen = _token(position.chosen)
    return TokenLogprobs(
        token=chosen.token,
        logprob=chosen.logprob,
        bytes=chosen.bytes,
        top_logprobs=[_token(t) for t in position.top],
    )


def _token(token: TokenLogprob) -> TopLogprob:
    return TopLogprob(token=token.text, logprob=_finite(token.logprob), bytes=list(token.utf8))


def _finite(logprob: float) -> float:
    return max(logprob, _LEAST)


class CompletionLogprobsWriter:
    """Writes the parallel lists of one continuation, keeping count of where in its text each token starts."""

    def __init__(self) -> None:
        self._offset = 0

    def write(
        self,
        text: str,
        prompt: Sequence[PositionLogprobs | None],
        output: Sequence[PositionLogprobs],
    ) -> CompletionLogprobs:
        """Those of a piece of a continuation: of an echoed prompt, of generated tokens, or of both, if they came
        together. `text` is the piece's. The prompt's first token has no probability, nor is its text told: it is what
        stands in `text` before the other tokens of the prompt.
        """
        return self._write((*prompt, *output), _text_before(text, prompt, output) if prompt else "")

    def _write(self, positions: Sequence[PositionLogprobs | None], first: str) -> CompletionLogprobs:
        lists = CompletionLogprobs(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
        for position in positions:
            text = first if position is None else position.chosen.text
            lists.tokens.append(text)
            lists.token_logprobs.append(None if position is None else _finite(position.chosen.logprob))
            lists.top_logprobs.append(None if position is None else {t.text: _finite(t.logprob) for t in position.top})
            lists.text_offset.append(self._offset)
            self._offset += len(text)
        return lists


def _text_before(text: str, prompt: Sequence[PositionLogprobs | None], output: Sequence[PositionLogprobs]) -> str:
    """The part of `text` before the prompt's known tokens, and before the output where it knows none."""
    echoed = text.removesuffix(_text_of(output))
    known = _text_of(prompt)
    if echoed.endswith(known):
        return echoed.removesuffix(known)
    return echoed[: max(0, echoed.find(known))]


def _text_of(positions: Sequence[PositionLogprobs | None]) -> str:
    return "".join(position.chosen.text for position in positions if position is not None)
