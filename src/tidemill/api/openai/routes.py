"""The routes of OpenAI's dialect."""

from starlette.requests import Request
from starlette.responses import Response

from tidemill.api.body import BodyDecoder
from tidemill.api.edge import facts_of
from tidemill.api.exchange import StreamedResponse, WholeResponse
from tidemill.api.footprint import is_asked
from tidemill.api.openai.answers import ChatCompletion, ChatCompletionChunk, Completion, ModelCard, ModelList
from tidemill.api.openai.chat_rendering import ChatStream, ChatWhole
from tidemill.api.openai.completion_rendering import CompletionStream, CompletionWhole
from tidemill.api.openai.conversion import CHAT_RENAMED, RENAMED, chat_to_generation, completion_to_generation
from tidemill.api.openai.envelope import Envelope
from tidemill.api.openai.requests import ChatCompletionRequest, CompletionRequest, SamplingFields
from tidemill.api.operation import JSON, Operation, Reply
from tidemill.api.promise import note_asked, promised
from tidemill.api.responses import json_response
from tidemill.api.service import Service
from tidemill.core.backend import ModelInfo
from tidemill.core.requests import GenerationRequest

TAG = "OpenAI"
_GENERATION_ERRORS = (400, 404, 413, 429, 500, 503)


class OpenAIRoutes:
    """Endpoints over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        depth = service.settings.max_json_depth
        self._completions = BodyDecoder(CompletionRequest, max_depth=depth)
        self._chats = BodyDecoder(ChatCompletionRequest, max_depth=depth)

    async def completions(self, request: Request) -> Response:
        """POST /v1/completions."""
        facts = facts_of(request.scope)
        note_asked(facts, request.headers, self._service.settings)
        body = self._completions.decode(await self._service.bodies.read(request))
        info = self._service.model(body.model)
        generation = completion_to_generation(
            body, info, self._service, generation_id=f"cmpl-{self._service.new_id()}", cache_salt=facts.cache_salt
        )
        generation = promised(generation, facts, self._service.settings, priority=body.priority)
        envelope = self._envelope(request, generation, body, info)
        chunks = self._service.backend.generate(generation)
        if body.stream:
            stream = CompletionStream(envelope, include_usage=_includes_usage(body, request))
            return StreamedResponse(chunks, stream, num_samples=generation.n, facts=facts, renamed=RENAMED)
        return WholeResponse(chunks, CompletionWhole(envelope), num_samples=generation.n, facts=facts, renamed=RENAMED)

    async def chat_completions(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        facts = facts_of(request.scope)
        note_asked(facts, request.headers, self._service.settings)
        body = self._chats.decode(await self._service.bodies.read(request))
        info = self._service.model(body.model)
        generation = chat_to_generation(
            body, info, self._service, generation_id=f"chatcmpl-{self._service.new_id()}", cache_salt=facts.cache_salt
        )
        generation = promised(generation, facts, self._service.settings, priority=body.priority)
        envelope = self._envelope(request, generation, body, info)
        chunks = self._service.backend.generate(generation)
        if body.stream:
            stream = ChatStream(envelope, include_usage=_includes_usage(body, request))
            return StreamedResponse(chunks, stream, num_samples=generation.n, facts=facts, renamed=CHAT_RENAMED)
        return WholeResponse(chunks, ChatWhole(envelope), num_samples=generation.n, facts=facts, renamed=CHAT_RENAMED)

    def _envelope(
        self, request: Request, generation: GenerationRequest, body: SamplingFields, info: ModelInfo
    ) -> Envelope:
        facts = facts_of(request.scope)
        facts.generation_id, facts.model = generation.request_id, info.names[0]
        return Envelope(
            id=generation.request_id,
            created=int(self._service.wall_clock()),
            model=body.model,
            system_fingerprint=info.numerics_fingerprint,
            request=generation,
            with_footprint=self._service.wants_footprint(is_asked(request.headers)),
        )

    async def list_models(self, _: Request) -> Response:
        """GET /v1/models."""
        cards = [_card(info, name) for info in self._service.models() for name in info.names]
        return json_response(ModelList(data=cards))

    async def show_model(self, request: Request) -> Response:
        """GET /v1/models/{id}."""
        name = request.path_params["id"]
        return json_response(_card(self._service.model(name), name))

    def operations(self) -> tuple[Operation, ...]:
        """Everything served here."""
        messages = [{"role": "user", "content": "Hello!"}]
        return (
            Operation(
                "POST",
                "/v1/chat/completions",
                "Continue a conversation",
                TAG,
                self.chat_completions,
                (Reply("The answer", {JSON: ChatCompletion, "text/event-stream": ChatCompletionChunk}),),
                ChatCompletionRequest,
                _GENERATION_ERRORS,
                example={"model": "minnow", "messages": messages, "max_tokens": 32},
            ),
            Operation(
                "POST",
                "/v1/completions",
                "Continue a text",
                TAG,
                self.completions,
                (Reply("The answer", {JSON: Completion, "text/event-stream": Completion}),),
                CompletionRequest,
                _GENERATION_ERRORS,
                example={"model": "minnow", "prompt": "The river", "max_tokens": 16},
            ),
            Operation("GET", "/v1/models", "List the served models", TAG, self.list_models, _MODELS, errors=(500, 503)),
            Operation(
                "GET", "/v1/models/{id:path}", "Show a model", TAG, self.show_model, _MODEL, errors=(404, 500, 503)
            ),
        )


_MODELS = (Reply("Every name a model answers to", {JSON: ModelList}),)
_MODEL = (Reply("The model", {JSON: ModelCard}),)


def _includes_usage(body: SamplingFields, request: Request) -> bool:
    """Whether a stream ends with its usage: if that is asked for, or what it holds is."""
    asked = body.stream_options is not None and bool(body.stream_options.include_usage)
    return asked or bool(is_asked(request.headers))


def _card(info: ModelInfo, name: str) -> ModelCard:
    return ModelCard(
        id=name,
        created=info.created_unix_seconds,
        root=info.names[0],
        max_model_len=info.max_model_len,
        precision=info.precision,
        precision_reason=info.precision_reason,
        quantization=info.quantization,
        kv_precision=info.kv_precision,
    )
