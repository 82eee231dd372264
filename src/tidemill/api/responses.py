"""A struct as a JSON response."""

import msgspec
from starlette.responses import Response


def json_response(document: msgspec.Struct, status: int = 200) -> Response:
    """`document` as JSON."""
    return Response(msgspec.json.encode(document), status, media_type="application/json")
