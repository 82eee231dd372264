"""How log records look: text for people, one JSON object a line for machines. What is logged is not decided here."""

import datetime as dt
import json
import logging
import sys
from typing import Any, TextIO

from tidemill.config.settings import LogSettings
from tidemill.core.printable import printable

_SHORT = {"DEBUG": "debug", "INFO": "info", "WARNING": "warn", "ERROR": "error", "CRITICAL": "fatal"}


def configure_logging(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send every log record of this process to `stream`, or else to standard error, as `settings` say."""
    handler = _StandardErrorHandler(sys.stderr) if stream is None else logging.StreamHandler(stream)
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not handler.stream.isatty())
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.log_level.upper())
    # Below errors uvicorn tells about its own start and stop, and about what clients send: the service and the access
    # log do that themselves.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)


class _StandardErrorHandler(logging.StreamHandler[TextIO]):
    """Writes to what standard error is when a record comes: a progress bar takes its place for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        """The record as a line."""
        self.stream = sys.stderr
        super().emit(record)


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, dict) else {}


def _time_of(record: logging.LogRecord) -> dt.datetime:
    return dt.datetime.fromtimestamp(record.created, dt.UTC)


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time, level, logger, message, and the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        document = {
            "time": _time_of(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": _SHORT.get(record.levelname, record.levelname.lower()),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields_of(record),
        }
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=True, default=str)


class TextFormatter(logging.Formatter):
    """A line for people. Control characters in values are escaped, so that no client can forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line, and its traceback if it has one."""
        time = _time_of(record).astimezone().strftime("%H:%M:%S")
        fields = " ".join(f"{key}={_shown(value)}" for key, value in _fields_of(record).items())
        level = _SHORT.get(record.levelname, record.levelname.lower())
        line = f"{time} {level:5} {printable(record.getMessage())}{' ' if fields else ''}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _shown(value: object) -> str:
    text = str(value)
    return json.dumps(text) if any(c in text for c in ' "=') or not text.isprintable() else text
