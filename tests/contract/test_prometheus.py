"""A real Prometheus scrapes a server under load: vLLM's names, every selector of ours, and an alert that fires live."""

import contextlib
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy import generate
from deploy.alerts import alerts
from deploy.burn_rates import BurnWindow, recorded
from deploy.rule import Group, Rule, rule_file
from tests.fakes.live_server import LiveServer, live_server
from tests.fakes.prometheus import Prometheus, prometheus, selectors

pytestmark = pytest.mark.contract
SERIES = [
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "vllm:num_preemptions_total",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:request_success_total",
    "vllm:time_to_first_token_seconds_bucket",
    "vllm:inter_token_latency_seconds_bucket",
    "vllm:e2e_request_latency_seconds_bucket",
    "vllm:request_queue_time_seconds_bucket",
    "gen_ai_server_request_duration_seconds_bucket",
    "gen_ai_server_time_to_first_token_seconds_bucket",
    "gen_ai_server_time_per_output_token_seconds_bucket",
]
PROMISES = {"x-slo-ttft-ms": "60000", "x-slo-tpot-ms": "60000", "x-slo-deadline-ms": "600000"}
SHORT = (BurnWindow("page", 14.4, "20s", "5s"), BurnWindow("ticket", 3.0, "30s", "10s"))


@pytest.fixture(scope="module")
def promising(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that promises something and keeps books, apart from the one that all clients share."""
    books = tmp_path_factory.mktemp("books") / "ledger.sqlite"
    flags = ("--slo-profile", "relaxed", "--stalled-after-seconds", "2", "--ledger-path", str(books))
    with live_server(*flags) as running:
        yield running


@contextlib.contextmanager
def load(server: LiveServer) -> Iterator[None]:
    """Chats and completions, one after the other, until the block ends; what the server says to them is its own."""
    is_over = threading.Event()

    def ask() -> None:
        chat = {"model": "minnow", "messages": [{"role": "user", "content": "The river"}], "max_tokens": 12}
        text = {"model": "minnow", "prompt": "The river is wide and " * 8, "max_tokens": 12, "n": 2}
        with httpx.Client(base_url=server.url, headers=PROMISES, timeout=60) as client:
            while not is_over.is_set():
                for path, body in (("/v1/chat/completions", chat), ("/v1/completions", text)):
                    with contextlib.suppress(httpx.HTTPError):
                        client.post(path, json=body)
                is_over.wait(0.1)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        is_over.set()
        asking.join()


def panel_expressions() -> dict[str, str]:
    """Every expression of every panel, by where it is, with its variables put in."""
    values = {"$model": ".*", "$instance": ".*", "$__rate_interval": "15s"}
    found = {}
    for file in sorted((generate.HERE / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", ()):
                expression = target["expr"]
                for name, value in values.items():
                    expression = expression.replace(name, value)
                found[f"{file.stem}: {panel['title']} {target['refId']}"] = expression
    return found


def variables() -> set[tuple[str, str]]:
    """The metrics and labels that the boards' variables take their values from."""
    found = set()
    for file in (generate.HERE / "grafana" / "dashboards").glob("*.json"):
        for variable in json.loads(file.read_text())["templating"]["list"]:
            if variable["type"] == "query":
                told = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
                assert told is not None, variable
                found.add((told[1], told[2]))
    return found


def rule_expressions() -> dict[str, str]:
    """The expressions of the rules that are installed."""
    return {f"{rule.name} {rule.labels}": rule.expr for rule in (*recorded(), *alerts())}


def installed_rules() -> dict[str, str]:
    return {path.name: path.read_text() for path in (generate.HERE / "prometheus").glob("*.rules.yml")}


def test_a_real_prometheus_finds_every_series(server: LiveServer, tmp_path: Path) -> None:
    body = {"model": "llama2", "prompt": "The river", "max_tokens": 8}
    for _ in range(3):
        httpx.post(f"{server.url}/v1/completions", json=body, timeout=60).raise_for_status()
    with prometheus(tmp_path, server.port) as real:
        assert real.poll("up == 1"), "the scrape never succeeded"
        missing = [name for name in SERIES if not real.poll(f'{{__name__="{name}"}}', seconds=5)]
        assert missing == []
        assert real.poll('vllm:generation_tokens_total{model_name="llama2"} >= 24')
        assert real.poll("histogram_quantile(0.95, sum by (le) (vllm:time_to_first_token_seconds_bucket)) > 0")


def test_selectors_are_found_in_expressions() -> None:
    found = selectors(
        'sum by (job, le) (rate(a:b_total{x=~"met|or"}[5m])) / on (job) group_left () (up{job="t"} > 0.5)\n'
        "or histogram_quantile(0.9, c) and 14.4 * tidemill:budget:ratio >= 1e3 unless ignoring (place) d offset 5m"
    )
    assert found == ['a:b_total{x=~"met|or"}', 'up{job="t"}', "c", "tidemill:budget:ratio", "d"]


def test_every_selector_of_every_panel_and_rule_matches_a_series(promising: LiveServer, tmp_path: Path) -> None:
    expressions = panel_expressions() | rule_expressions()
    with prometheus(tmp_path, promising.port, installed_rules()) as real, load(promising):
        assert real.poll("tidemill_energy_idle_joules_total > 0"), "the books never closed an interval"
        assert real.poll("tidemill:slo_bad:ratio_rate1h", 20), "no rule was evaluated"
        wanted = {selector for expression in expressions.values() for selector in selectors(expression)}
        assert len(wanted) > 60
        assert [selector for selector in sorted(wanted) if not real.poll(selector, seconds=10)] == []
        for expression in expressions.values():
            real.get("format_query", query=expression)  # Prometheus' own parser
            real.query(expression)
        for metric, label in variables():
            values = real.poll(f"count by ({label}) ({metric})")
            assert all(value["metric"] for value in values), (metric, label)
            assert values, metric
        empty = [place for place, expression in panel_expressions().items() if not real.poll(expression, seconds=20)]
        assert empty == []


def test_an_alert_fires_when_the_engine_hangs_and_clears_when_it_is_back(promising: LiveServer, tmp_path: Path) -> None:
    """With windows of seconds in the place of hours."""
    rules: list[Rule] = [*recorded(SHORT), *alerts(SHORT)]
    text = {"short.rules.yml": rule_file([Group("short", rules)])}
    firing = 'ALERTS{alertname="TidemillAvailabilityBurn", alertstate="firing"}'
    with prometheus(tmp_path, promising.port, text) as real:
        assert real.poll('tidemill:slo_bad:ratio_rate20s{objective="availability"} == 0'), "never measured as available"
        assert real.query('ALERTS{severity="page"}') == []
        engine = promising.engine_pid()
        os.kill(engine, signal.SIGSTOP)
        try:
            fired = real.poll(f'{firing[:-1]}, severity="page"}}')
            assert {alert["metric"]["model_name"] for alert in fired} == {"minnow"}
            told = [alert for alert in alerts_of(real) if alert["labels"]["severity"] == "page"]
            assert {alert["annotations"]["runbook_url"] for alert in told} == {
                "docs/operate/runbook.md#tidemillavailabilityburn"
            }
        finally:
            os.kill(engine, signal.SIGCONT)
        assert real.poll('tidemill_engine_state{state="ready"} == 1'), "the engine never came back"
        assert real.wait_gone(firing, 60), "the alert never cleared"


def test_an_engine_that_is_killed_fires_its_alert_and_lowers_no_counter(promising: LiveServer, tmp_path: Path) -> None:
    with prometheus(tmp_path, promising.port, installed_rules()) as real, load(promising):
        assert real.poll("count_over_time(vllm:generation_tokens_total[1m]) > 3")
        os.kill(promising.engine_pid(), signal.SIGKILL)
        assert real.poll('ALERTS{alertname="TidemillEngineRestarts", alertstate="firing"}', 60)
        names = [name for name in real.get("label/__name__/values") if name.endswith(("_total", "_count", "_sum"))]
        assert len(names) > 40
        assert [name for name in names if real.query(f"resets({name}[5m]) > 0")] == []


def alerts_of(real: Prometheus) -> list[dict[str, dict[str, str]]]:
    """What would be sent to an Alertmanager."""
    found: list[dict[str, dict[str, str]]] = real.get("alerts")["alerts"]
    return found
