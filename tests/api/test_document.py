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
