"""Log records as lines, and what they must not do."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from tidemill.config.settings import LogSettings
from tidemill.telemetry.logs import JsonFormatter, TextFormatter, configure_logging


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield root
    root.handlers[:], level = before
    root.setLevel(level)


def record(message: str = "request", **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("tidemill.access", logging.INFO, __file__, 1, message, None, None)
    made.created = 1_800_000_000.25
    made.fields = fields
    return made


def test_json_is_one_object_a_line() -> None:
    line = JsonFormatter().format(record(path="/a\nb", status=200))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "info",
        "logger": "tidemill.access",
        "message": "request",
        "path": "/a\nb",
        "status": 200,
    }


def test_text_cannot_be_forged() -> None:
    line = TextFormatter().format(record(path="/a\n00:00:00 info fake\x1b[2J", query='a="b c"'))
    assert "\n" not in line
    assert "\x1b" not in line
    assert 'query="a=\\"b c\\""' in line
    assert "\n" not in TextFormatter().format(record("one\ntwo"))


def test_a_traceback_is_told() -> None:
    try:
        raise ZeroDivisionError("here")
    except ZeroDivisionError as error:
        made = record()
        made.exc_info = (type(error), error, error.__traceback__)
    assert "ZeroDivisionError: here" in json.loads(JsonFormatter().format(made))["traceback"]
    assert TextFormatter().format(made).endswith("ZeroDivisionError: here")


@pytest.mark.parametrize(("form", "is_json"), [("json", True), ("text", False), ("auto", True)])
def test_settings_decide(root: logging.Logger, form: str, is_json: bool) -> None:
    out = io.StringIO()
    configure_logging(LogSettings(log_format=form, log_level="warning"), out)  # type: ignore[arg-type]
    logging.getLogger("tidemill.x").info("quiet")
    logging.getLogger("tidemill.x").warning("loud")
    (line,) = out.getvalue().splitlines()
    assert line.startswith("{") is is_json
    assert "loud" in line
