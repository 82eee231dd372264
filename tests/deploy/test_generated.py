"""What is installed is what the code says, and every alert and metric has its place in the docs."""

import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy import generate
from deploy.alerts import RUNBOOK, alerts
from deploy.boards import engine, footprint, service_level
from deploy.burn_rates import recorded
from tests.fakes.prometheus import selectors
from tidemill.config.settings import LedgerSettings, Settings
from tidemill.core.clock import VirtualClock
from tidemill.runtime.bookkeeping import Bookkeeping
from tidemill.runtime.instruments import Instruments
from tidemill.telemetry.metrics import FAILURES, REFUSALS

ROOT = generate.HERE.parent
OPERATE = ROOT / "docs" / "operate"
BOARDS = (service_level.board(), engine.board(), footprint.board())


def test_what_is_installed_is_what_the_code_writes() -> None:
    stale = [name for name, text in generate.files().items() if (generate.HERE / name).read_text() != text]
    assert stale == [], "run: python -m deploy.generate"


def headings(page: Path, mark: str) -> list[str]:
    return re.findall(rf"^{mark} (\S.*)$", page.read_text(), re.MULTILINE)


def test_every_alert_has_its_entry_in_the_runbook_and_no_entry_is_for_nothing() -> None:
    entries = headings(ROOT / RUNBOOK, "###")
    assert sorted(entries) == sorted({rule.name for rule in alerts()})
    for rule in alerts():
        assert rule.annotations["runbook_url"] == f"{RUNBOOK}#{rule.name.lower()}"
    text = (ROOT / RUNBOOK).read_text()
    for entry in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        assert all(f"**{part}.**" in entry for part in ("Means", "Look", "Do")), entry.splitlines()[0]


def test_every_alert_is_listed_with_what_makes_it_fire() -> None:
    listed = (OPERATE / "monitoring.md").read_text()
    assert [rule.name for rule in alerts() if f"runbook.md#{rule.name.lower()})" not in listed] == []


def test_the_runbook_speaks_of_panels_that_there_are() -> None:
    titles = {panel.title for board in BOARDS for panel in board.panels}
    text = (ROOT / RUNBOOK).read_text().replace("\n", " ").replace("*of what was admitted*", "")
    spoken = set(re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", text))
    assert len(spoken) > 10
    assert spoken - titles == set()


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_every_panel_is_described(board: object) -> None:
    assert isinstance(board, type(BOARDS[0]))
    text = (OPERATE / "boards.md").read_text()
    assert f"board-{board.uid}.svg" in text
    assert [row for row in board.rows if f"**{row}.**" not in text] == []


@pytest.mark.parametrize(
    "file", sorted((generate.HERE / "grafana" / "dashboards").glob("*.json")), ids=lambda f: f.stem
)
def test_a_board_is_laid_out_without_overlap_and_every_panel_says_its_unit(file: Path) -> None:
    document = json.loads(file.read_text())
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken, panel["title"]
        assert grid["x"] + grid["w"] <= 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert panel["description"]
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])
    names = [variable["name"] for variable in document["templating"]["list"]]
    assert names == ["datasource", "model", "instance"]
    used = set(re.findall(r"\$(\w+)", " ".join(t["expr"] for p in document["panels"] for t in p.get("targets", ()))))
    assert used <= {*names, "__rate_interval"}


def exposed() -> set[str]:
    """The names of every sample of a server, but for the parts of histograms."""
    instruments = Instruments(Settings(), engine_pid=lambda: None, clock=VirtualClock())
    Bookkeeping(
        LedgerSettings(ledger_path="unused"), instruments.registry, model="tiny", key_labels={}, wall_clock=lambda: 0.0
    )
    families = text_string_to_metric_families(instruments.page()[0].decode())
    names = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    return {name for name in names if not name.endswith("_created")}


def test_every_metric_is_documented_and_none_is_that_is_not_there() -> None:
    text = (OPERATE / "metrics.md").read_text()
    documented = set(re.findall(r"`((?:vllm:|tidemill_|gen_ai_server_)\w+[a-z])`", text))
    assert exposed() - documented == set()
    assert documented - exposed() == set()


def test_every_class_of_refusal_is_documented() -> None:
    text = (OPERATE / "metrics.md").read_text()
    assert [name for name in (*REFUSALS, *FAILURES) if f"`{name}`" not in text] == []


def test_rules_and_boards_ask_only_for_what_is_exposed_or_recorded() -> None:
    expressions = [rule.expr for rule in (*recorded(), *alerts())]
    expressions += [query.expr for board in BOARDS for panel in board.panels for query in panel.queries]
    known = exposed() | {rule.name for rule in recorded()} | {"up"}
    asked = {selector.partition("{")[0] for expression in expressions for selector in selectors(expression)}
    assert {name for name in asked if name not in known and name.removesuffix("_bucket") not in known} == set()
