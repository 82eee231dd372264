"""The server under load: which model, which fields it takes, how its tokenizer counts. Found out by a few requests."""

from dataclasses import dataclass, replace
from typing import Any

import msgspec

from tidemill.bench.answer_stream import MAX_LINE_BYTES, AnswerStream, Event, refusal_message
from tidemill.bench.dialect import Api, Dialect
from tidemill.bench.exchange_failures import ExchangeFailedError, FailureKind
from tidemill.bench.http_client import HttpClient
from tidemill.bench.record import RequestRecord
from tidemill.bench.words import VOCABULARY, Calibration
from tidemill.bench.workload import PlannedRequest
from tidemill.core.errors import TargetError

_ASSUMED = Calibration(tokens_per_word=1.3, overhead_tokens=0.0)


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """What was found out. `max_model_len` and `server` are None where the server does not tell."""

    dialect: Dialect
    calibration: Calibration
    max_model_len: int | None
    server: str | None
    warnings: tuple[str, ...]


class _Document:
    """A `Receiver` that keeps a whole answer."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.content = bytearray()

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self.status, self.headers = status, headers

    def body(self, now: float, data: bytes) -> None:
        del now
        self.content += data
        if len(self.content) > MAX_LINE_BYTES:
            raise ExchangeFailedError(FailureKind.PROTOCOL, f"The answer is over {MAX_LINE_BYTES} bytes.")


class Target:
    """One server. Questions before the load raise `TargetError`; under load, failures go into the records."""

    def __init__(self, client: HttpClient, url: str, *, timeout_seconds: float) -> None:
        self._client = client
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._decoder = msgspec.json.Decoder(Event)
        self._server: str | None = None

    async def look(self, api: Api, model: str | None, temperature: float | None, *, ignore_eos: bool) -> TargetFacts:
        """Find the model, what the server accepts, and how it counts. Sends three requests, or a few more."""
        cards = await self._models()
        names = [str(card.get("id")) for card in cards]
        if model is None:
            if not names:
                raise TargetError(f"{self._url} names no model.", next_step="Name one with --model.")
            model = names[0]
            if not model.isprintable():
                raise self._foreign("its model's name cannot be shown")
        card = next((card for card in cards if card.get("id") == model), {})
        warnings: list[str] = []
        if len(names) > 1 and card is cards[0]:
            warnings.append(f"The server has {len(names)} models; '{model}' was taken.")
        dialect = await self._accepted(Dialect(api, model, temperature, ignore_eos), warnings)
        calibration = await self._calibrate(dialect, warnings)
        length = card.get("max_model_len") or card.get("context_length")
        return TargetFacts(
            dialect, calibration, length if isinstance(length, int) else None, self._server, tuple(warnings)
        )

    async def send(self, dialect: Dialect, planned: PlannedRequest, record: RequestRecord) -> None:
        """Send one request of the load and fill its record. Raises nothing but cancellation."""
        body = dialect.body(planned.prompt, planned.num_output_tokens, stream=True, seed=abs(planned.index))
        stream = AnswerStream(record, self._decoder)
        try:
            await self._client.exchange("POST", dialect.path, body, stream, timeout_seconds=self._timeout_seconds)
            stream.finish()
        except ExchangeFailedError as error:
            record.error, record.detail = error.label, error.detail

    async def _models(self) -> list[dict[str, Any]]:
        answer = await self._ask("GET", "/v1/models", None)
        if answer.status != 200:
            raise self._refused(answer, "/v1/models")
        document = self._decoded(answer, "/v1/models")
        cards = document.get("data")
        if not isinstance(cards, list) or not all(isinstance(card, dict) for card in cards):
            raise self._foreign("/v1/models has no list of models")
        return cards

    async def _accepted(self, dialect: Dialect, warnings: list[str]) -> Dialect:
        """Ask with everything, then leave out what servers are known to refuse."""
        tries = [dialect]
        if dialect.ignores_eos:
            tries.append(replace(dialect, ignores_eos=False))
        tries.append(replace(tries[-1], has_stream_usage=False))
        first_refusal: _Document | None = None
        for attempt in tries:
            answer = await self._ask("POST", attempt.path, attempt.body("Hello", 1, stream=True))
            if answer.status == 200:
                if attempt.ignores_eos != dialect.ignores_eos:
                    warnings.append("The server refuses ignore_eos: how long answers get is the model's choice.")
                if not attempt.has_stream_usage:
                    warnings.append("The server refuses stream_options: output tokens are counted as pieces of stream.")
                return attempt
            if answer.status not in {400, 422}:
                raise self._refused(answer, attempt.path)
            first_refusal = first_refusal or answer
        assert first_refusal is not None
        raise self._refused(first_refusal, dialect.path)

    async def _calibrate(self, dialect: Dialect, warnings: list[str]) -> Calibration:
        """Two prompts, of one round and of two rounds of the vocabulary; shorter ones if those do not fit."""
        for num_words in (len(VOCABULARY), len(VOCABULARY) // 4, len(VOCABULARY) // 16):
            words = VOCABULARY[:num_words]
            once = await self._count(dialect, " ".join(words))
            twice = None if once is None else await self._count(dialect, " ".join(words * 2))
            if once is None or twice is None or twice <= once:
                continue
            per_word = (twice - once) / num_words
            return Calibration(per_word, once - per_word * num_words)
        warnings.append(
            f"The server does not count prompt tokens (usage.prompt_tokens): "
            f"{_ASSUMED.tokens_per_word} a word are assumed."
        )
        return _ASSUMED

    async def _count(self, dialect: Dialect, prompt: str) -> int | None:
        answer = await self._ask("POST", dialect.path, dialect.body(prompt, 1, stream=False))
        if answer.status in {400, 413, 422}:
            return None
        if answer.status != 200:
            raise self._refused(answer, dialect.path)
        usage = self._decoded(answer, dialect.path).get("usage")
        count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        return count if isinstance(count, int) else None

    async def _ask(self, method: str, path: str, body: bytes | None) -> _Document:
        answer = _Document()
        try:
            await self._client.exchange(method, path, body, answer, timeout_seconds=self._timeout_seconds)
        except ExchangeFailedError as error:
            step = {
                FailureKind.CONNECT: "Is the server running, is this its address, and is it http or https?",
                FailureKind.TIMEOUT: "Give it more time with --timeout, or look at what it is doing.",
            }.get(error.kind, "Is this an HTTP server with OpenAI's interface, and http or https right?")
            raise TargetError(f"{self._url} cannot be used. {error.detail}", next_step=step) from error
        self._server = answer.headers.get(b"server", b"").decode("latin-1") or self._server
        return answer

    def _decoded(self, answer: _Document, path: str) -> dict[str, Any]:
        try:
            document = msgspec.json.decode(answer.content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise self._foreign(f"{path} does not answer with a JSON object")
        return document

    def _foreign(self, why: str) -> TargetError:
        return TargetError(
            f"{self._url} does not speak OpenAI's interface: {why}.",
            next_step="Give the URL that its paths begin at, without /v1.",
        )

    def _refused(self, answer: _Document, path: str) -> TargetError:
        said = f"{path} answers {answer.status}: {refusal_message(bytes(answer.content))}"
        if answer.status in {401, 403}:
            return TargetError(
                f"{self._url} refuses access. {said}", next_step="Give a key with --api-key-file or --api-key."
            )
        if answer.status in {404, 405}:
            return self._foreign(said)
        step = "Wait until the server is ready." if answer.status in {429, 503} else None
        return TargetError(f"{self._url} refuses a request. {said}", next_step=step)
