"""The OpenAPI document and the page that shows it."""

import re
from typing import Any

import httpx
import pytest

from tests.api.conftest import client_of, make_app
from tests.fakes.backend import FakeBackend
from tidemill.api.document import without_null_type


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get("/openapi.json")).json()
    return found


def nodes_of(node: Any) -> list[dict[str, Any]]:
    below = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    own = [node] if isinstance(node, dict) else []
    return own + [found for each in below for found in nodes_of(each)]


async def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    names = set(document["components"]["schemas"])
    references = {n["$ref"] for n in nodes_of(document) if isinstance(n.get("$ref"), str)}
    assert references
    assert {r.removeprefix("#/components/schemas/") for r in references} <= names


async def test_it_speaks_openapi_3_0(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.0.")
    assert not [n for n in nodes_of(document) if n.get("type") == "null" or isinstance(n.get("type"), list)]
    nullable = {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}
    assert without_null_type(nullable) == {"type": "integer", "nullable": True, "default": None}
    for node in nodes_of(document):
        if node.get("nullable"):
            assert "type" in node
            assert None in node.get("enum", [None])


async def test_every_operation_documents_what_it_can_answer(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            statuses = set(operation["responses"])
            assert {"200", "403", "500"} <= statuses, path
            if method == "post":
                assert {"400", "404", "413", "503"} <= statuses, path
                assert operation["requestBody"]["content"]["application/json"]["example"]
    assert "429" in document["paths"]["/v1/completions"]["post"]["responses"]
    chat = document["paths"]["/v1/chat/completions"]["post"]["responses"]["200"]["content"]
    assert set(chat) == {"application/json", "text/event-stream"}


async def test_its_examples_work(document: dict[str, Any], client: httpx.AsyncClient) -> None:
    for path, item in document["paths"].items():
        if "post" in item:
            example = item["post"]["requestBody"]["content"]["application/json"]["example"]
            assert (await client.post(path, json={**example, "model": "tiny"})).status_code == 200, path


async def test_with_keys_it_says_which_routes_need_one() -> None:
    async with client_of(make_app(FakeBackend(), "a-key-of-ours")) as client:
        document = (await client.get("/openapi.json")).json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert document["paths"]["/metrics"]["get"]["security"] == [{"key": []}]
    assert "security" not in document["paths"]["/live"]["get"]
    assert "401" in document["paths"]["/v1/models"]["get"]["responses"]


async def test_the_page_needs_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    wanted = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(wanted) == 4
    for path in wanted:
        assert path.startswith("/docs/assets/")
        assert (await client.get(path)).status_code == 200
    assert "http" not in page.text.replace("https://", "http").split("<body>")[1]


@pytest.mark.parametrize(
    ("path", "kind", "within"),
    [
        ("/v1/completions", "CompletionRequest", None),
        ("/v1/chat/completions", "ChatCompletionRequest", None),
        ("/api/generate", "OllamaOptions", "options"),
    ],
)
async def test_the_bounds_it_tells_are_those_that_hold(
    document: dict[str, Any], client: httpx.AsyncClient, path: str, kind: str, within: str | None
) -> None:
    base = {**document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"], "model": "tiny"}
    base |= {"echo": True} if path == "/v1/completions" else {"logprobs": True}

    async def status(field: str, value: object) -> int:
        change = {field: value} if within is None else {within: {field: value}}
        return (await client.post(path, json={**base, **change})).status_code

    properties = document["components"]["schemas"][kind]["properties"]
    # What is judged together with the prompt is not judged by the fake backend.
    bounded = {n: s for n, s in properties.items() if "minimum" in s and n not in ("num_ctx", "priority")}
    assert len(bounded) >= 9
    for field, schema in bounded.items():
        low = schema["minimum"]
        assert await status(field, low - 1) == 400, field
        if schema.get("exclusiveMinimum"):
            assert await status(field, low) == 400, field
        elif field not in ("max_tokens", "max_completion_tokens"):
            assert await status(field, low) == 200, field
        if "maximum" in schema:
            assert await status(field, schema["maximum"] + 1) == 400, field
            if field != "min_tokens":
                assert await status(field, schema["maximum"]) == 200, field
