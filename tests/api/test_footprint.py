"""What an answer took, in both dialects: asked for by a header or by setting, in whole answers and in streams."""

import json
from typing import Any

import httpx
import pytest

from tests.api.conftest import client_of, make_app
from tests.fakes.backend import FakeBackend
from tidemill.core.footprint import Footprint

ASKED = {"x-tidemill-footprint": "true"}
FOOTPRINT = Footprint(
    joules=12.345,
    joules_low=6.0,
    joules_high=24.0,
    method="model",
    boundary="modelled: a share",
    zone="FRA",
    water_onsite_milliliters=0.0,
    water_offsite_milliliters=0.0126,
    operational_grams_co2e=0.000192,
)
ROUTES = {
    "/v1/completions": {"prompt": "abc"},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
}


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend(footprint=FOOTPRINT)


async def usage(client: httpx.AsyncClient, path: str, headers: dict[str, str], **body: Any) -> dict[str, Any]:
    answer = await client.post(path, json={"model": "tiny", **ROUTES[path], **body}, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["usage"]
    return found


@pytest.mark.parametrize("path", ROUTES)
async def test_an_answer_says_what_it_took_if_asked(client: httpx.AsyncClient, path: str) -> None:
    footprint = (await usage(client, path, ASKED))["footprint"]
    assert footprint["joules"] == 12.0
    assert (footprint["joules_low"], footprint["joules_high"]) == (6.0, 24.0)
    assert (footprint["method"], footprint["zone"]) == ("model", "FRA")
    assert footprint["operational_grams_co2e"] == 0.00019
    assert "cost" not in footprint
    assert "footprint" not in await usage(client, path, {})


async def test_several_choices_add_up(client: httpx.AsyncClient) -> None:
    footprint = (await usage(client, "/v1/completions", ASKED, n=3))["footprint"]
    assert footprint["joules"] == 37.0


async def test_what_is_not_known_yet_is_null(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    backend.footprint = None
    assert (await usage(client, "/v1/completions", ASKED))["footprint"] is None


@pytest.mark.parametrize("path", ROUTES)
async def test_a_stream_ends_with_it(client: httpx.AsyncClient, path: str) -> None:
    body = {"model": "tiny", "stream": True, **ROUTES[path]}
    answer = await client.post(path, json=body, headers=ASKED)
    *_, last, done = [line for line in answer.text.splitlines() if line]
    assert done == "data: [DONE]"
    document = json.loads(last.removeprefix("data: "))
    assert document["choices"] == []
    assert document["usage"]["footprint"]["joules"] == 12.0


async def test_the_setting_puts_it_everywhere_and_the_header_takes_it_away(backend: FakeBackend) -> None:
    async with client_of(make_app(backend, footprint_in_answers=True)) as client:
        assert "footprint" in await usage(client, "/v1/completions", {})
        assert "footprint" not in await usage(client, "/v1/completions", {"x-tidemill-footprint": "false"})
        # A stream that did not ask for usage is not given a chunk without choices.
        answer = await client.post("/v1/completions", json={"model": "tiny", "prompt": "a", "stream": True})
        assert "footprint" not in answer.text


async def test_another_value_of_the_header_is_refused(client: httpx.AsyncClient) -> None:
    for path, body in ROUTES.items():
        answer = await client.post(path, json={"model": "tiny", **body}, headers={"x-tidemill-footprint": "maybe"})
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "x-tidemill-footprint"


@pytest.mark.parametrize("stream", [False, True])
async def test_ollamas_last_piece_has_it(client: httpx.AsyncClient, stream: bool) -> None:
    body = {"model": "tiny", "prompt": "abc", "stream": stream}
    answer = await client.post("/api/generate", json=body, headers=ASKED)
    last = json.loads(answer.text.strip().splitlines()[-1])
    assert last["done"] is True
    assert last["footprint"]["joules"] == 12.0
    silent = await client.post("/api/generate", json=body)
    assert "footprint" not in silent.text
