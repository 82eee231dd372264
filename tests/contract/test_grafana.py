"""Grafana's published types read every board: what it does not know, or would not take, is an error of the compiler."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy import generate

pytestmark = pytest.mark.contract
NODE = Path(__file__).parent / "node"
BOARDS = sorted((generate.HERE / "grafana" / "dashboards").glob("*.json"))
_TYPES = {"row": "Row", "stat": "StatPanel", "timeseries": "TimeSeriesPanel"}
_COMPILER = (
    *("--noEmit", "--strict", "--skipLibCheck"),
    *("--module", "esnext", "--moduleResolution", "bundler", "--target", "es2022"),
)


def typed(board: dict[str, Any]) -> str:
    """The board as a program: its panels each of their own type, and the rest of it."""
    whole = {name: value for name, value in board.items() if name != "panels"}
    parts = [("Board", whole), *((_TYPES[panel["type"]], panel) for panel in board["panels"])]
    lines = [f"export const part{i}: {kind} = {json.dumps(part)};" for i, (kind, part) in enumerate(parts)]
    return "\n".join([f"import type {{ Board, {', '.join(_TYPES.values())} }} from './grafana';", *lines])


def complaints(program: str, folder: Path) -> list[str]:
    """What the compiler says of it."""
    (folder / "node_modules").symlink_to(NODE / "node_modules")
    (folder / "grafana.ts").write_text((NODE / "grafana.ts").read_text())
    (folder / "board.ts").write_text(program)
    command = [NODE / "node_modules" / ".bin" / "tsc", *_COMPILER, "board.ts"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    return done.stdout.splitlines()


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_grafana_knows_all_that_is_in_a_board(path: Path, tmp_path: Path) -> None:
    assert complaints(typed(json.loads(path.read_text())), tmp_path) == []


def test_a_mistake_in_a_board_would_be_seen(tmp_path: Path) -> None:
    program = typed(json.loads(BOARDS[0].read_text()))
    for right, wrong in (('"drawStyle": "line"', '"drawStyle": "lines"'), ('"showLegend"', '"showsLegend"')):
        assert right in program
        program = program.replace(right, wrong, 1)
    found = "\n".join(complaints(program, tmp_path))
    assert '"lines"' in found
    assert "showsLegend" in found
