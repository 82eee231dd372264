import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.cli.conftest import FakeSession
from tidemill import __version__
from tidemill.cli import main as command_line
from tidemill.cli.chat import _lines as typed_lines
from tidemill.config.leaves import leaves
from tidemill.config.settings import Settings
from tidemill.core.requests import ChatPrompt, TextPrompt

COMMANDS = ["serve", "run", "chat", "bench", "ledger", "models", "doctor"]


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in [name for name in os.environ if name.startswith("TIDEMILL_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.chdir(tmp_path)


def tidemill(
    *words: str, stdin: str = "", monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    """The exit status, standard output and standard error of `main` itself, errors included."""
    import io

    monkeypatch.setattr(sys, "argv", ["tidemill", *words])
    monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    captured = capsys.readouterr()
    code = ended.value.code
    return code if isinstance(code, int) else 0, captured.out, captured.err


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*words: str, stdin: str = "") -> tuple[int, str, str]:
        return tidemill(*words, stdin=stdin, monkeypatch=monkeypatch, capsys=capsys)

    return call


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that `serve` hands to the service."""
    calls: list[Settings] = []

    def fake_serve(settings: Settings) -> int:
        calls.append(settings)
        return 0

    monkeypatch.setattr("tidemill.runtime.service.serve", fake_serve)
    return calls


def test_help_of_every_command_has_examples() -> None:
    runner = CliRunner()
    assert runner.invoke(command_line.app, ["--help"]).exit_code == 0
    for command in COMMANDS:
        shown = runner.invoke(command_line.app, [command, "--help"])
        assert shown.exit_code == 0
        assert f"tidemill {command}" in shown.output


def test_serve_has_a_flag_for_every_setting() -> None:
    shown = CliRunner().invoke(command_line.app, ["serve", "--help"], env={"COLUMNS": "240"}).output
    for leaf in leaves():
        if leaf.name != "model":
            assert leaf.flag in shown


def test_help_in_a_process_of_its_own_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['tidemill', 'serve', '--help']\n"
        "from tidemill.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: code = end.code\n"
        "heavy = {'torch', 'numpy', 'numba', 'starlette', 'uvicorn', 'huggingface_hub', 'tokenizers', 'aiohttp'}\n"
        "print(code, sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_the_module_runs_as_a_command() -> None:
    done = subprocess.run([sys.executable, "-m", "tidemill", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"tidemill {__version__}\n"
    failed = subprocess.run(
        [sys.executable, "-m", "tidemill", "serve", "--port", "x"], capture_output=True, check=False
    )
    assert failed.returncode == 2
    assert b"Traceback" not in failed.stderr


def test_serve_passes_the_merged_settings(cli: Any, served: list[Settings], monkeypatch: Any, tmp_path: Path) -> None:
    (tmp_path / "tidemill.toml").write_text('[server]\nport = 1\n[model]\nmodel = "from-file"\n')
    monkeypatch.setenv("TIDEMILL_MAX_QUEUE", "9")
    words = ["--port", "18080", "--served-model-name", "a", "--served-model-name", "b", "--kv-cache-memory", "2GiB"]
    assert cli("serve", *words, "--no-prefix-caching", "--precision", "bf16")[0] == 0
    assert cli("serve", "./named", "--offline")[0] == 0
    first, second = served
    assert first.server.port == 18080
    assert first.model.model == "from-file"
    assert first.model.served_model_name == ("a", "b")
    assert first.cache.kv_cache_memory == 2 * 2**30
    assert first.cache.prefix_caching is False
    assert first.model.precision == "bf16"
    assert first.scheduler.max_queue == 9
    assert second.model.model == "./named"
    assert second.model.offline is True
    assert second.server.port == 1


def test_serve_takes_the_named_file(cli: Any, served: list[Settings], tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("[scheduler]\nmax_queue = 7\n")
    assert cli("serve", "--config", "x.toml")[0] == 0
    assert served[0].scheduler.max_queue == 7


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        (["serve", "--max-model-len", "3"], {}, "--max-model-len"),
        (["serve", "--kv-cache-memory", "much"], {}, "size such as"),
        (["serve", "--config", "none.toml"], {}, "cannot be read"),
        (["serve"], {"TIDEMILL_PROT": "3"}, "Did you mean TIDEMILL_PORT?"),
        (["serve", "--port", "99999"], {}, "port is 99999"),
        (["serve", "--port", "x"], {}, "--port"),
        (["serve", "--prot", "3"], {}, "No such option"),
        (["bogus"], {}, "No such command"),
        (["run", "a", "b", "c"], {}, "quotes"),
        (["run"], {}, "empty"),
        (["run", "x", "--temperature", "nan"], {}, "temperature is nan"),
        (["run", "x", "--top-k", "0"], {}, "top_k is 0"),
        (["run", "x", "--raw", "--system", "y"], {}, "--system"),
        (["chat", "--top-p", "2"], {}, "top_p is 2"),
    ],
)
def test_a_wrong_command_line_is_one_sentence_and_exit_2(
    words: list[str], environment: dict[str, str], message: str, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    code, out, err = cli(*words)
    assert code == 2
    assert message in err
    assert "Traceback" not in out + err


def test_a_missing_model_is_exit_1(cli: Any) -> None:
    code, _, err = cli("run", "./nowhere", "x")
    assert code == 1
    assert err.startswith("Error: There is no folder ./nowhere")


def test_an_unexpected_error_is_a_line_unless_asked_for_more(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(settings: Settings) -> int:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("tidemill.runtime.service.serve", fail)
    code, _, err = cli("serve")
    assert code == 1
    assert "ZeroDivisionError: oops" in err
    assert "--debug" in err
    monkeypatch.setattr(sys, "argv", ["tidemill", "--debug", "serve"])
    with pytest.raises(ZeroDivisionError):
        command_line.main()


def test_run_streams_an_answer_of_the_chat_template(cli: Any, session: FakeSession) -> None:
    code, out, err = cli(
        "run", "hello", "--system", "be brief", "--stats", "--seed", "7", "--stop", "x", "--max-tokens", "5"
    )
    assert (code, out) == (0, "seen 2\n")
    assert "2 tokens in 0.5 s (4.0 tokens/s" in err
    request = session.requests[0]
    assert isinstance(request.prompts[0], ChatPrompt)
    assert [m.content for m in request.prompts[0].messages] == ["be brief", "hello"]
    params = request.sampling
    assert (params.seed, params.stop, params.max_tokens) == (7, ("x",), 5)
    assert (params.temperature, params.top_k) == (0.6, 20)
    assert session.num_closed == 1


def test_run_prefers_flags_to_what_the_model_recommends(cli: Any, session: FakeSession) -> None:
    assert cli("run", "hello", "--temperature", "0", "--top-k", "3", "--top-p", "0.5")[0] == 0
    params = session.requests[0].sampling
    assert (params.temperature, params.top_k, params.top_p) == (0.0, 3, 0.5)


def test_run_takes_a_model_and_settings(cli: Any, session: FakeSession) -> None:
    assert cli("run", "./m", "hello", "--threads", "1")[0] == 0
    assert session.settings is not None
    assert (session.settings.model.model, session.settings.model.threads) == ("./m", 1)


@pytest.mark.parametrize("words", [["run"], ["run", "-"], ["run", "./m", "-"]])
def test_run_reads_standard_input(words: list[str], cli: Any, session: FakeSession) -> None:
    assert cli(*words, "--raw", stdin="two\nlines\n")[0] == 0
    assert session.requests[0].prompts == (TextPrompt(text="two\nlines"),)


def test_run_continues_text_where_there_is_no_template(cli: Any, session: FakeSession) -> None:
    session.chat_template = None
    assert cli("run", "Once", "--system", "Tell.")[0] == 0
    assert session.requests[0].prompts == (TextPrompt(text="Tell.\nOnce"),)


def test_ctrl_c_ends_run_with_its_own_status(cli: Any, session: FakeSession) -> None:
    code, out, _ = cli("run", "interrupt me")
    assert (code, out) == (130, "seen \n")
    assert session.num_closed == 1


def test_a_conversation_keeps_its_turns(cli: Any, session: FakeSession) -> None:
    lines = "one\n\ntwo\\\nmore\n/stats\n/reset\nthree\n/system be brief\nfour\n"
    lines += "/system\n/system -\nfive\n/nonsense\n/help\n/exit\nsix\n"
    code, out, err = cli("chat", stdin=lines)
    assert code == 0
    assert out.splitlines() == ["seen 1", "seen 3", "seen 1", "seen 2", "seen 1"]
    prompts = [request.prompts[0] for request in session.requests]
    second, fourth = prompts[1], prompts[3]
    assert isinstance(second, ChatPrompt)
    assert isinstance(fourth, ChatPrompt)
    assert [m.content for m in second.messages] == ["one", "seen 1", "two\nmore"]
    assert [m.role for m in fourth.messages] == ["system", "user"]
    for shown in ("4.0 tokens/s", "starts anew", "be brief", "There is no command /nonsense", "/reset"):
        assert shown in err


def test_the_end_of_a_conversation_leaves_the_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("one\n"))
    assert list(typed_lines()) == ["one"]
    assert capsys.readouterr().out == "> > \n"


def test_ctrl_c_stops_the_answer_not_the_conversation(cli: Any, session: FakeSession) -> None:
    code, out, err = cli("chat", stdin="interrupt me\nand on\n")
    assert code == 0
    assert "(stopped)" in err
    assert out.endswith("seen 3\n")
    assert session.num_closed == 1


def test_what_does_not_fit_leaves_the_conversation_as_it_was(cli: Any, session: FakeSession) -> None:
    code, out, err = cli("chat", stdin="too long\nshort\n")
    assert (code, out) == (0, "seen 1\n")
    assert "99 tokens" in err
    assert "/reset" in err


def test_models_lists_the_bundled_one_and_the_cache(cli: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--a--b" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text('{"architectures": ["BertModel"], "model_type": "bert"}')
    (tmp_path / "hub" / "models--a--b" / "refs").mkdir()
    (tmp_path / "hub" / "models--a--b" / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.utils._cache_manager.HF_HUB_CACHE", str(tmp_path / "hub"), raising=False)
    code, out, _ = cli("models", "--json")
    assert code == 0
    bundled, cached = json.loads(out)
    assert (bundled["name"], bundled["supported"], bundled["family"]) == ("minnow", True, "llama")
    assert (cached["name"], cached["supported"]) == ("a/b", False)
    assert cached["reason"]
    code, out, _ = cli("models")
    assert code == 0
    assert "minnow" in out
    assert "a/b" in out


def test_models_without_a_cache(cli: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    monkeypatch.setattr("huggingface_hub.utils._cache_manager.HF_HUB_CACHE", str(tmp_path / "none"), raising=False)
    code, out, _ = cli("models", "--json")
    assert code == 0
    assert [model["name"] for model in json.loads(out)] == ["minnow"]


def test_doctor_tells_the_machine_and_the_choice(cli: Any) -> None:
    code, out, _ = cli("doctor", "--json", "--device", "cpu", "--precision", "fp32", "--threads", "1")
    assert code == 0
    shown = json.loads(out)
    assert shown["machine"]["num_usable_cores"] >= 1
    assert shown["machine"]["packages"]["torch"]
    choice = shown["choice"]
    assert (choice["device"], choice["precision"], choice["num_threads"]) == ("cpu", "fp32", 1)
    assert choice["kv_cache_bytes"] > 0
    code, out, _ = cli("doctor", "--device", "cpu")
    assert code == 0
    assert "This machine" in out
    assert "KV cache" in out


@pytest.mark.parametrize(("words", "reason"), [([], "doctor downloads nothing"), (["--offline"], "--offline is set")])
def test_doctor_asks_only_the_cache(
    cli: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], reason: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    code, out, _ = cli("doctor", "owner/name", *words)
    assert code == 1
    assert f"owner/name is not in the hub's cache and {reason}." in out


def test_doctor_names_a_problem(cli: Any) -> None:
    code, out, _ = cli("doctor", "./nowhere")
    assert code == 1
    assert "There is no folder ./nowhere" in out
