"""The interactive documentation: Swagger UI from the package that carries it, so that a browser needs no network."""

from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from swagger_ui_bundle import swagger_ui_path

from tidemill.api.operation import Operation, Reply
from tidemill.core.errors import RouteNotFoundError

TAG = "Documentation"

# Swagger UI sets style attributes and shows images as data URLs; scripts come from this server alone.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {"content-security-policy": _POLICY, "referrer-policy": "no-referrer"}

_PAGE = b"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Tidemill API</title>
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/assets/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/assets/start.js"></script>
</body>
</html>
"""
_START = b"""window.onload = () => {
  window.ui = SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, tryItOutEnabled: true});
};
"""
_MEDIA_TYPES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}


class Docs:
    """Endpoints of the documentation; `document` is the OpenAPI document, and `assets` the folder of Swagger UI."""

    def __init__(self, document: dict[str, Any], assets: Path = swagger_ui_path) -> None:
        self._document = msgspec.json.encode(document)
        self._assets = assets

    async def page(self, _: Request) -> Response:
        """GET /docs."""
        return Response(_PAGE, headers=_HEADERS, media_type="text/html")

    async def document(self, _: Request) -> Response:
        """GET /openapi.json."""
        return Response(self._document, media_type="application/json")

    async def asset(self, request: Request) -> Response:
        """GET /docs/assets/{name}: one of the few files the page needs, and no other."""
        name = request.path_params["name"]
        if name == "start.js":
            return Response(_START, headers=_HEADERS, media_type="text/javascript")
        if name not in _MEDIA_TYPES:
            raise RouteNotFoundError(f"There is no asset {name[:100]}.")
        body = (self._assets / name).read_bytes()
        headers = {**_HEADERS, "cache-control": "public, max-age=86400"}
        return Response(body, headers=headers, media_type=_MEDIA_TYPES[name])

    def operations(self) -> tuple[Operation, ...]:
        """Everything served here."""
        html = (Reply("A page", {"text/html": None}),)

        def operation(path: str, summary: str, endpoint: Any) -> Operation:
            return Operation("GET", path, summary, TAG, endpoint, html, is_open=True, is_documented=False)

        return (
            operation("/docs", "This documentation", self.page),
            operation("/docs/assets/{name}", "A file of the documentation", self.asset),
            operation("/openapi.json", "The API as OpenAPI", self.document),
        )
