"""`tidemill bench` from its command line: flags, files, messages and exit statuses."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.scripted_server import Call, Reply, ScriptedServer, complete
from tidemill.bench.arrivals import Arrivals
from tidemill.bench.config import BenchConfig
from tidemill.bench.lengths import Between
from tidemill.bench.load import ClosedLoop, OpenLoop
from tidemill.cli import main as command_line

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tidemill", "bench", *words])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return call


@contextlib.contextmanager
def running(server: ScriptedServer) -> Iterator[str]:
    """The server, in a thread of its own; its URL."""
    started, over = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with server.running():
            started.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert started.wait(30)
    try:
        yield server.url
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(30)
        loop.close()


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[BenchConfig, str | None]]:
    """What the flags became; nothing is run."""
    seen: list[tuple[BenchConfig, str | None]] = []

    def keep(config: BenchConfig, key: str | None, outputs: object, *, progress: bool) -> int:
        seen.append((config, key))
        return 0

    monkeypatch.setattr("tidemill.cli.bench._run", keep)
    return seen


def test_a_run_prints_and_writes(cli: Cli, tmp_path: Path) -> None:
    with running(ScriptedServer()) as url:
        words = ["--concurrency", "2", "--requests", "5", "--output-tokens", "3", "--slo-ttft-ms", "60000"]
        code, out, err = cli(url, *words, "--json", "a/found.json", "--html", "report.html", "--records")
    assert (code, err) == (0, "")
    assert "5 of 5 succeeded" in out
    document = json.loads((tmp_path / "a/found.json").read_text())
    assert document["summary"]["output_tokens"]["total"] == 15
    assert document["machine"]["cores"] >= 1
    assert len(document["requests"]) == 5
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_json_on_standard_output_is_alone_there(cli: Cli) -> None:
    with running(ScriptedServer()) as url:
        code, out, _ = cli(url, "--requests", "2", "--output-tokens", "3", "--json", "-")
    assert code == 0
    assert json.loads(out)["summary"]["num_succeeded"] == 2


def test_flags_become_a_closed_loop(cli: Cli, configured: Any) -> None:
    words = ["--concurrency", "1", "--duration", "5", "--ramp", "2", "--prompt-tokens", "10-20", "--seed", "7"]
    assert cli("host:1", *words, "--slo-words-per-minute", "250", "--api", "chat", "--no-ignore-eos")[0] == 0
    config, _ = configured[0]
    assert config.load == ClosedLoop(1, None, 5.0, 2.0, 0.0)
    assert config.objectives.tpot_seconds == pytest.approx(0.18)
    assert (config.request.prompt_tokens, config.request.seed) == (Between(10, 20), 7)
    assert (config.request.api, config.request.ignore_eos) == ("chat", False)


def test_flags_become_an_open_loop(cli: Cli, configured: Any) -> None:
    assert cli("host:1", "--rate", "1", "--arrivals", "burst", "--burst-size", "3", "--max-in-flight", "9")[0] == 0
    config, _ = configured[0]
    assert config.load == OpenLoop(100, None, 9)
    assert config.arrivals == Arrivals("burst", 1.0, 3)


def test_a_trace_gives_times_unless_something_else_does(cli: Cli, configured: Any, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("seconds,prompt_tokens,output_tokens\n0,100,8\n10,50,4\n")
    assert cli("host:1", "--trace", "t.csv", "--trace-scale", "2", "--length-scale", "0.5")[0] == 0
    assert cli("host:1", "--trace", "t.csv", "--rate", "3")[0] == 0
    assert cli("host:1", "--trace", "t.csv", "--concurrency", "3")[0] == 0
    assert cli("host:1", "--trace", "t.csv", "--find", "rate", "--slo-ttft-ms", "5")[0] == 0
    replayed, paced, closed, found = (config for config, _ in configured)
    assert replayed.load == OpenLoop(None)
    assert replayed.arrivals is None
    assert [(r.offset_seconds, r.num_prompt_tokens) for r in replayed.request.rows] == [(0.0, 50), (5.0, 25)]
    assert paced.arrivals == Arrivals("poisson", 3.0, 8)
    assert closed.load == ClosedLoop(3, 100)
    assert found.search.what == "rate"
    assert len(found.request.rows) == 2


def test_a_search_has_its_flags(cli: Cli, configured: Any) -> None:
    words = ["--find", "users", "--slo-e2e-ms", "900", "--target", "0.9", "--probe-requests", "50"]
    assert cli("host:1", *words, "--resolution", "0.1", "--start", "4", "--max-probes", "9", "--think", "1")[0] == 0
    config, _ = configured[0]
    search = config.search
    assert (search.what, search.target_ratio, search.probe_requests) == ("users", 0.9, 50)
    assert (search.resolution_ratio, search.start, search.max_probes) == (0.1, 4.0, 9)
    assert config.load.think_seconds == 1.0


def test_a_key_comes_from_a_flag_or_a_file(cli: Cli, configured: Any, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# first\n\nkey-in-file\nanother\n")
    assert cli("host:1", "--api-key", "given-key")[0] == 0
    assert cli("host:1", "--api-key-file", "keys")[0] == 0
    assert [key for _, key in configured] == ["given-key", "key-in-file"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--concurrency", "1", "--rate", "1"], "--concurrency and --rate cannot both be given"),
        (["--slo-tpot-ms", "5", "--slo-words-per-minute", "5"], "cannot both be given"),
        (["--api-key", "a", "--api-key-file", "b"], "cannot both be given"),
        (["--rate", "1", "--think", "1"], "--rate and --think"),
        (["--find", "rate", "--slo-ttft-ms", "1", "--think", "1"], "--find rate and --think"),
        (["--find", "rate", "--slo-ttft-ms", "1", "--rate", "1"], "--find and --rate"),
        (["--find", "users"], "--find says nothing without --slo-ttft-ms"),
        (["--arrivals", "poisson"], "--arrivals says nothing without --rate"),
        (["--rate", "1", "--burst-size", "4"], "--burst-size says nothing without --arrivals burst"),
        (["--length-scale", "1"], "--length-scale says nothing without --trace"),
        (["--target", "0.9"], "--target says nothing without --find"),
        (["--records"], "--records says nothing without --json"),
        (["--words-per-token", "1"], "--words-per-token says nothing without"),
        (["--max-in-flight", "4"], "--max-in-flight says nothing without"),
        (["--trace", "t", "--prompt-tokens", "4"], "--trace and --prompt-tokens"),
        (["--rate", "inf"], "--rate is inf"),
        (["--prompt-tokens", "many"], "--prompt-tokens is 'many'"),
        (["--trace", "none.csv"], "cannot be read"),
        (["--api-key-file", "none"], "cannot be read"),
        (["--api-key", "a b"], "no header can hold"),
        (["--json", "/proc/none/x"], "cannot be written"),
        (["--rate", "0"], "--rate"),
    ],
)
def test_a_wrong_command_line_is_one_sentence_and_exit_2(cli: Cli, words: list[str], message: str) -> None:
    code, out, err = cli("http://127.0.0.1:9", *words)
    assert code == 2
    assert message in err
    assert "Traceback" not in out + err


def test_a_wrong_url_is_exit_2_and_nobody_there_exit_1(cli: Cli) -> None:
    assert cli("ftp://x")[0] == 2
    code, _, err = cli("http://127.0.0.1:9")
    assert code == 1
    assert "Cannot connect to 127.0.0.1:9" in err
    assert "Is the server running" in err


def test_no_success_is_exit_1_with_the_figures(cli: Cli, tmp_path: Path) -> None:
    async def refuse(call: Call, reply: Reply) -> None:
        if call.body["max_tokens"] == 1:
            await complete(call, reply)
        else:
            await reply.document(500, {"error": {"message": "broken"}})

    with running(ScriptedServer(answer=refuse)) as url:
        code, out, err = cli(url, "--requests", "3", "--warmup", "0", "--json", "found.json")
    assert code == 1
    assert "3 x status 500: broken" in out
    assert "None of 3 requests succeeded" in err
    assert json.loads((tmp_path / "found.json").read_text())["summary"]["errors"] == {"status 500": 3}


def test_ctrl_c_writes_what_there_is(tmp_path: Path) -> None:
    held = threading.Event()

    async def answer(call: Call, reply: Reply) -> None:
        if call.body["max_tokens"] == 3 and sum(c.body.get("max_tokens") == 3 for c in server.calls) > 4:
            held.set()
            await asyncio.Event().wait()
        await complete(call, reply)

    server = ScriptedServer(answer=answer)
    path = tmp_path / "found.json"
    with running(server) as url:
        command = [sys.executable, "-m", "tidemill", "bench", url, "--output-tokens", "3", "--json", str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert held.wait(60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == ""
    assert "interrupted" in out
    document = json.loads(path.read_text())
    assert document["is_interrupted"]
    assert document["summary"]["num_succeeded"] == 3


def test_the_display_counts() -> None:
    from array import array

    from tidemill.bench.load import Load
    from tidemill.bench.record import RequestRecord
    from tidemill.cli.bench_display import LiveDisplay, open_display

    async def show() -> str:
        from io import StringIO

        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        async def send(*_: object) -> None:
            return

        screen = StringIO()
        load = Load(send, asyncio.get_running_loop().time, asyncio.sleep)
        with Live(Text(), console=Console(file=screen, width=200), auto_refresh=False, transient=True) as live:
            display = LiveDisplay(live)
            display.begin("Load", load, 3, None)
            good = RequestRecord(
                0, 1.0, 1.0, piece_seconds=array("d", [1.25, 1.5]), last_seconds=1.5, ended_seconds=1.5
            )
            bad = RequestRecord(1, 1.0, 1.0, error="timeout", ended_seconds=2.0)
            for record in (good, bad):
                for watcher in load.watchers:
                    watcher(record)
            display.end()
        return screen.getvalue()

    shown = asyncio.run(show())
    assert "2 of 3 requests" in shown
    assert "TTFT 250 ms, TPOT 250 ms, 1 failed" in shown
    with open_display(is_wanted=False) as nothing:
        assert not isinstance(nothing, LiveDisplay)
