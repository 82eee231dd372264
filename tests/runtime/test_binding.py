"""Where a server may listen, and what it says if it cannot."""

import io
import logging
import re
import shlex
import socket

import msgspec
import pytest

from tests.fakes.backend import MODEL
from tidemill.api.keys import ApiKeys
from tidemill.config.settings import LogSettings, ServerSettings
from tidemill.core.errors import ConfigurationError
from tidemill.runtime.announcer import Announcer, curl_line
from tidemill.runtime.binding import bind, check_exposure, url_of
from tidemill.telemetry.logs import configure_logging


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "example.org"])
def test_beyond_loopback_a_key_is_needed(host: str) -> None:
    with pytest.raises(ConfigurationError, match="API key"):
        check_exposure(ServerSettings(host=host), ApiKeys())
    check_exposure(ServerSettings(host=host), ApiKeys(("a-key-of-ours",)))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_loopback_none_is(host: str) -> None:
    check_exposure(ServerSettings(host=host), ApiKeys())


def test_a_taken_port_is_one_sentence() -> None:
    with bind(ServerSettings(port=0)) as first:
        port = first.getsockname()[1]
        assert url_of(first, ServerSettings(port=0)) == f"http://127.0.0.1:{port}"
        with pytest.raises(ConfigurationError, match=rf"127.0.0.1:{port}.*--port"):
            bind(ServerSettings(port=port))
    with bind(ServerSettings(port=port)) as again:
        assert again.getsockname()[1] == port


def test_what_the_kernel_holds_for_a_client_that_does_not_read_is_bounded() -> None:
    with bind(ServerSettings(port=0, max_stream_buffer_bytes=16_384)) as listener:
        listener.settimeout(5.0)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as served:
            assert served.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * 16_384, "Linux doubles it"


def test_a_host_that_is_not_ours_is_one_sentence() -> None:
    for host in ("203.0.113.1", "no-such-host.invalid"):
        with pytest.raises(ConfigurationError):
            bind(ServerSettings(host=host, port=0))


def test_ipv6_has_brackets() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        sock = bind(ServerSettings(host="::1", port=0))
    except ConfigurationError:
        pytest.skip("no IPv6 loopback here")
    with sock:
        assert url_of(sock, ServerSettings(host="::1")).startswith("http://[::1]:")


def test_the_line_to_try_survives_a_shell() -> None:
    for template, path in (("x", "chat/completions"), (None, "completions")):
        model = msgspec.structs.replace(MODEL, names=("it's",), chat_template=template)
        words = shlex.split(curl_line("http://h:1", model, needs_key=True))
        assert words[:2] == ["curl", f"http://h:1/v1/{path}"]
        assert words[2:4] == ["-H", "Authorization: Bearer $API_KEY"]
        assert msgspec.json.decode(words[-1])["model"] == "it's"


def test_progress_is_a_line_a_stage_without_a_terminal() -> None:
    out = io.StringIO()
    announcer = Announcer(out)
    for stage in ("starting", "loading weights"):
        for percent in range(101):
            announcer.progress(stage, percent / 100)
    announcer.ready("http://h:1", MODEL, needs_key=False)
    lines = out.getvalue().splitlines()
    assert lines[:2] == ["Starting ...", "Loading weights ..."]
    assert lines[2].startswith("Tidemill serves tiny (1M parameters, fp32, context 128) on http://h:1")
    assert lines[-1].strip().startswith("curl http://h:1/v1/chat/completions")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", io.StringIO())
    out = Terminal()
    announcer = Announcer(out)
    announcer.progress("loading weights", 0.5)
    announcer.progress("loading weights", 7.0)
    announcer.say("Done [in part].")
    announcer.settled()
    shown = out.getvalue()
    assert "Loading weights" in shown
    assert "100%" in shown
    assert "Done [in part].\n" in shown
    assert shown.endswith("\x1b[2K")  # the bar's line is erased
    announcer.say("After.")
    assert out.getvalue() == f"{shown}After.\n"


def test_a_log_line_on_the_terminal_goes_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    announcer = Announcer(terminal)
    handler = logging.getLogger()
    before = handler.handlers[:], handler.level
    try:
        configure_logging(LogSettings(log_format="text"))
        announcer.progress("loading weights", 0.5)
        logging.getLogger("tidemill.test").warning("beware")
        announcer.settled()
    finally:
        handler.handlers[:], level = before
        handler.setLevel(level)
    line = next(line for line in terminal.getvalue().split("\n") if "beware" in line)
    assert re.match(r"\d\d:\d\d:\d\d warn ", line.rpartition("\x1b[2K")[2])


def test_a_reader_that_has_left_is_nobodys_failure() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(text)

    announcer = Announcer(Closed())
    announcer.progress("loading weights", 0.5)
    announcer.say("ready")
