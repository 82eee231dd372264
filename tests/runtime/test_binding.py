"""Where a server may listen, and what it says if it cannot."""

import io
import shlex
import socket

import msgspec
import pytest

from tests.fakes.backend import MODEL
from tidemill.api.keys import ApiKeys
from tidemill.config.settings import ServerSettings
from tidemill.core.errors import ConfigurationError
from tidemill.runtime.announcer import Announcer, curl_line
from tidemill.runtime.binding import bind, check_exposure, url_of


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


def test_progress_is_a_line_a_quarter_without_a_terminal() -> None:
    out = io.StringIO()
    announcer = Announcer(out)
    for percent in range(101):
        announcer.progress("Loading weights", percent / 100)
    announcer.ready("http://h:1", MODEL, needs_key=False)
    lines = out.getvalue().splitlines()
    assert lines[:5] == [f"Loading weights: {p}%" for p in (0, 25, 50, 75, 100)]
    assert lines[5].startswith("Tidemill serves tiny (1M parameters, fp32, context 128) on http://h:1")
    assert lines[-1].strip().startswith("curl http://h:1/v1/chat/completions")


def test_progress_is_one_line_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    announcer = Announcer(out)
    announcer.progress("Loading weights", 0.5)
    announcer.progress("Loading weights", 7.0)
    assert "\n" not in out.getvalue()
    assert out.getvalue().endswith("100% Loading weights")
    announcer.say("Done.")
    assert out.getvalue().endswith("\r\x1b[KDone.\n")
