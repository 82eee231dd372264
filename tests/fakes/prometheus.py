"""A real Prometheus over a server, from Debian's package, and the selectors of an expression."""

import contextlib
import json
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.live_server import free_port

CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: {rules}
scrape_configs:
  - job_name: tidemill
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_RANGE = re.compile(r"\[[^\]]*\]")
_SELECTOR = re.compile(r"(?<![\w:.])([A-Za-z_:][\w:]*)\s*(\{[^}]*\})?(?![\w:]|\s*\()")
_WORDS = {"and", "or", "unless", "bool", "offset"}


def selectors(expression: str) -> list[str]:
    """Every selector of an expression, without its range."""
    bare = _RANGE.sub("", _GROUPING.sub("", expression))
    return [name + (matchers or "") for name, matchers in _SELECTOR.findall(bare) if name not in _WORDS]


@dataclass(frozen=True)
class Prometheus:
    """A running one."""

    port: int

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API. Raises `OSError` until it listens, `AssertionError` with what it says."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression at this moment."""
        result: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return result

    def poll(self, expression: str, seconds: float = 30.0) -> list[dict[str, Any]]:
        """Ask until there is an answer: Prometheus scrapes on its own clock and tells nobody."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                if found := self.query(expression):
                    return found
            time.sleep(0.25)
        return []

    def wait_gone(self, expression: str, seconds: float) -> bool:
        """Ask until there is no answer any more; whether it came to that."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not self.query(expression):
                return True
            time.sleep(0.25)
        return False


@contextlib.contextmanager
def prometheus(folder: Path, target_port: int, rules: Mapping[str, str] | None = None) -> Iterator[Prometheus]:
    """One that scrapes a server every second, with rule files of given names and texts."""
    rules = rules or {}
    for name, text in rules.items():
        (folder / name).write_text(text)
    (folder / "prometheus.yml").write_text(CONFIG.format(port=target_port, rules=json.dumps(list(rules))))
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield Prometheus(port)
        finally:
            process.terminate()
