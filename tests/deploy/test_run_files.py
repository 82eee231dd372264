"""What an operator copies to run a server names only settings that there are; so do the pages that say how."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from tidemill.cli.main import app
from tidemill.config.leaves import leaves
from tidemill.config.loader import load_settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY, OPERATE = ROOT / "deploy", ROOT / "docs" / "operate"
UNIT = DEPLOY / "systemd" / "tidemill.service"
DOCKERFILE = DEPLOY / "container" / "Dockerfile"
COMMANDS = get_command(app).commands


def flags_of(command: str) -> set[str]:
    return {name for param in COMMANDS[command].params for name in (*param.opts, *param.secondary_opts)}


def settings(tmp_path: Path, environ: dict[str, str], config: Path | None = None):
    return load_settings(flags={}, environ=environ, config_file=config, working_directory=tmp_path)


def joined(text: str) -> str:
    return text.replace("\\\n", " ")


def test_the_example_of_a_settings_file_is_one(tmp_path: Path) -> None:
    loaded = settings(tmp_path, {}, DEPLOY / "systemd" / "tidemill.toml")
    assert loaded.server.host == "127.0.0.1"
    assert loaded.server.api_key_file is not None


def test_the_unit_starts_a_server_with_flags_that_there_are() -> None:
    start = re.search(r"^ExecStart=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert start is not None
    program, command, *arguments = shlex.split(start[1])
    assert (Path(program).name, command) == ("tidemill", "serve")
    assert {word for word in arguments if word.startswith("--")} <= flags_of("serve")


def test_the_unit_waits_longer_than_the_drain() -> None:
    stop = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert stop is not None
    drain = next(leaf for leaf in leaves() if leaf.name == "drain_seconds").default
    assert int(stop[1]) >= drain + 15


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_images_variables_are_settings(tmp_path: Path) -> None:
    told = dict(re.findall(r"\b(TIDEMILL_\w+)=(\S+)", joined(DOCKERFILE.read_text())))
    assert told
    loaded = settings(tmp_path, told)
    assert loaded.server.host == "0.0.0.0"
    assert loaded.server.api_key_file is not None, "beyond loopback it would not start without keys"
    assert f"EXPOSE {loaded.server.port}\n" in DOCKERFILE.read_text()
    assert f"127.0.0.1:{loaded.server.port}/live" in DOCKERFILE.read_text()


def test_the_image_copies_what_there_is_and_the_build_sends_it() -> None:
    text = joined(DOCKERFILE.read_text())
    copied = [word for line in re.findall(r"^COPY (?!--)(.*)$", text, re.MULTILINE) for word in line.split()[:-1]]
    assert copied
    sent = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines()
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in sent


@pytest.mark.parametrize("page", ["production.md", "deployment.md"])
def test_the_pages_name_flags_and_keys_that_there_are(page: str) -> None:
    text = (OPERATE / page).read_text()
    blocks = "".join(re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    for command, arguments in re.findall(
        r"\btidemill (serve|bench|doctor|run|ledger)\b(.*)$", joined(blocks), re.MULTILINE
    ):
        assert {word for word in arguments.split() if word.startswith("--")} <= flags_of(command)
    known = {leaf.name for leaf in leaves()} | {
        "credentials_file",
        "max_tokens",
        "proxy_buffering",
        "proxy_read_timeout",
    }
    assert set(re.findall(r"`([a-z]+(?:_[a-z]+)+)", text)) <= known


def test_the_checklist_is_in_both_indexes() -> None:
    assert "(operate/production.md)" in (ROOT / "docs" / "README.md").read_text()
    assert "(production.md)" in (OPERATE / "README.md").read_text()
