"""The routes of Ollama's dialect."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tidemill import __version__
from tidemill.api.body import BodyDecoder
from tidemill.api.edge import facts_of
from tidemill.api.exchange import StreamedResponse, WholeResponse
from tidemill.api.footprint import is_asked
from tidemill.api.ollama.answers import (
    OllamaChatResponse,
    OllamaGenerateResponse,
    OllamaModelList,
    OllamaRunningList,
    OllamaShowResponse,
    OllamaVersion,
)
from tidemill.api.ollama.conversion import (
    RENAMED,
    chat_to_generation,
    check_common,
    generate_to_generation,
    model_named,
)
from tidemill.api.ollama.description import listed, running, shown
from tidemill.api.ollama.rendering import NDJSON, OllamaStream, OllamaWhole, Shape, chat_shape, generate_shape
from tidemill.api.ollama.requests import OllamaChatRequest, OllamaFields, OllamaGenerateRequest, OllamaShowRequest
from tidemill.api.operation import JSON, Operation, Reply
from tidemill.api.promise import note_asked, promised
from tidemill.api.responses import json_response
from tidemill.api.service import Service
from tidemill.core.backend import ModelInfo
from tidemill.core.errors import InvalidRequestError
from tidemill.core.requests import GenerationRequest

TAG = "Ollama"
_GENERATION_ERRORS = (400, 404, 413, 429, 500, 503)


class OllamaRoutes:
    """Endpoints over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        depth = service.settings.max_json_depth
        self._generates = BodyDecoder(OllamaGenerateRequest, max_depth=depth)
        self._chats = BodyDecoder(OllamaChatRequest, max_depth=depth)
        self._shows = BodyDecoder(OllamaShowRequest, max_depth=depth)

    async def generate(self, request: Request) -> Response:
        """POST /api/generate."""
        note_asked(facts_of(request.scope), request.headers, self._service.settings)
        body = self._generates.decode(await self._service.bodies.read(request))
        info, ids = self._start(request, body, is_load=not body.prompt)
        if not body.prompt:
            return self._loaded(generate_shape, body)
        return self._answer(request, body, generate_to_generation(body, info, self._service, **ids), generate_shape)

    async def chat(self, request: Request) -> Response:
        """POST /api/chat."""
        note_asked(facts_of(request.scope), request.headers, self._service.settings)
        body = self._chats.decode(await self._service.bodies.read(request))
        info, ids = self._start(request, body, is_load=not body.messages)
        if not body.messages:
            return self._loaded(chat_shape, body)
        return self._answer(request, body, chat_to_generation(body, info, self._service, **ids), chat_shape)

    def _start(self, request: Request, body: OllamaFields, *, is_load: bool) -> tuple[ModelInfo, dict[str, Any]]:
        facts = facts_of(request.scope)
        if is_load:
            facts.asked = None
        check_common(body)
        info = model_named(self._service, body.model)
        facts.model = info.names[0]
        facts.generation_id = f"gen-{self._service.new_id()}"
        return info, {"generation_id": facts.generation_id, "cache_salt": facts.cache_salt}

    def _answer(self, request: Request, body: OllamaFields, generation: GenerationRequest, shape: Shape) -> Response:
        facts = facts_of(request.scope)
        generation = promised(generation, facts, self._service.settings, priority=None)
        wanted = self._service.wants_footprint(is_asked(request.headers))
        chunks = self._service.backend.generate(generation)
        if body.stream is None or body.stream:
            stream = OllamaStream(shape, body.model, self._service, with_footprint=wanted)
            return StreamedResponse(chunks, stream, num_samples=1, facts=facts, renamed=RENAMED)
        whole = OllamaWhole(shape, body.model, self._service, with_footprint=wanted)
        return WholeResponse(chunks, whole, num_samples=1, facts=facts, renamed=RENAMED)

    def _loaded(self, shape: Shape, body: OllamaFields) -> Response:
        """The answer to a request without a prompt, with which clients load a model ahead of time."""
        done = shape("", model=body.model, created_at=self._service.now(), done=True, done_reason="load")
        if body.stream is None or body.stream:
            return Response(msgspec.json.encode(done) + b"\n", media_type=NDJSON)
        return json_response(done)

    async def tags(self, _: Request) -> Response:
        """GET /api/tags."""
        models = [listed(info, name) for info in self._service.models() for name in info.names]
        return json_response(OllamaModelList(models=models))

    async def ps(self, _: Request) -> Response:
        """GET /api/ps."""
        models = [running(info, info.names[0]) for info in self._service.models()]
        return json_response(OllamaRunningList(models=models))

    async def show(self, request: Request) -> Response:
        """POST /api/show."""
        body = self._shows.decode(await self._service.bodies.read(request))
        name = body.model or body.name
        if not name:
            raise InvalidRequestError("The field 'model' is required.", param="model")
        return json_response(shown(model_named(self._service, name)))

    async def version(self, _: Request) -> Response:
        """GET /api/version."""
        return json_response(OllamaVersion(version=__version__))

    def operations(self) -> tuple[Operation, ...]:
        """Everything served here."""
        example = {"model": "minnow", "prompt": "Hello!", "stream": False}
        chat = {"model": "minnow", "messages": [{"role": "user", "content": "Hello!"}], "stream": False}
        return (
            Operation(
                "POST",
                "/api/generate",
                "Answer a prompt",
                TAG,
                self.generate,
                (Reply("The answer", {JSON: OllamaGenerateResponse, NDJSON: OllamaGenerateResponse}),),
                OllamaGenerateRequest,
                _GENERATION_ERRORS,
                example=example,
            ),
            Operation(
                "POST",
                "/api/chat",
                "Continue a conversation",
                TAG,
                self.chat,
                (Reply("The answer", {JSON: OllamaChatResponse, NDJSON: OllamaChatResponse}),),
                OllamaChatRequest,
                _GENERATION_ERRORS,
                example=chat,
            ),
            Operation("GET", "/api/tags", "List the served models", TAG, self.tags, _LIST, errors=(500, 503)),
            Operation("GET", "/api/ps", "List the loaded models", TAG, self.ps, _RUNNING, errors=(500, 503)),
            Operation(
                "POST",
                "/api/show",
                "Show a model",
                TAG,
                self.show,
                (Reply("The model", {JSON: OllamaShowResponse}),),
                OllamaShowRequest,
                (400, 404, 413, 500, 503),
                example={"model": "minnow"},
            ),
            Operation("GET", "/api/version", "The server's version", TAG, self.version, _VERSION, errors=(500,)),
        )


_LIST = (Reply("Every name a model answers to", {JSON: OllamaModelList}),)
_RUNNING = (Reply("The loaded models", {JSON: OllamaRunningList}),)
_VERSION = (Reply("The version", {JSON: OllamaVersion}),)
