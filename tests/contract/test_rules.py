"""Prometheus' own tool reads every rule, and plays every story of `rule_scenarios` through them."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from deploy import generate
from deploy.alerts import alerts
from deploy.burn_rates import recorded
from deploy.rule import Rule
from tests.fakes.prometheus import selectors
from tests.fakes.rule_scenarios import MODEL, Story, steady, stories

pytestmark = pytest.mark.contract
RULES = generate.HERE / "prometheus"


def promtool(*args: str | Path) -> str:
    done = subprocess.run(["promtool", *args], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_finds_no_fault_in_what_is_installed() -> None:
    assert "SUCCESS" in promtool("check", "config", "--lint=all", "--lint-fatal", RULES / "prometheus.yml")
    for rules in RULES.glob("*.rules.yml"):
        assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", rules)


def run_tests(folder: Path, *tests: dict[str, object]) -> None:
    file = folder / "rules.test.yml"
    document = {"rule_files": [str(p) for p in sorted(RULES.glob("*.rules.yml"))], "tests": list(tests)}
    # The recorded ratios are read in the same turn.
    document["group_eval_order"] = ["tidemill-objectives", "tidemill-alerts"]
    file.write_text(json.dumps(document))
    promtool("test", "rules", file)


@pytest.mark.parametrize("name", sorted(stories()))
def test_exactly_those_alerts_fire_that_should(name: str, tmp_path: Path) -> None:
    run_tests(tmp_path, stories()[name].document())


def metric(series: str) -> str:
    return series.partition("{")[0]


def read_by(expression: str) -> set[str]:
    """The metrics of the server that an expression reads, through what is recorded too."""
    found = {metric(selector) for selector in selectors(expression)}
    through = [rule.expr for rule in recorded() if rule.name in found]
    return (found - {rule.name for rule in recorded()}).union(*map(read_by, through))


def is_put_to_the_test(rule: Rule, story: Story) -> bool:
    """Whether all that an alert reads is there, and something of it, of its own objective, is not as ever."""
    objectives = re.findall(r'objective="(\w+)"', rule.expr)
    changed = {
        metric(series)
        for series in story.changes
        if not objectives or "objective=" not in series or any(f'objective="{o}"' in series for o in objectives)
    }
    read = read_by(rule.expr)
    return bool(changed & read) and read <= {metric(series) for series in story.series()}


def test_every_alert_fires_in_some_story_and_is_silent_in_one_that_puts_it_to_the_test() -> None:
    every = {(rule.name, rule.labels["severity"]): rule for rule in alerts()}
    told = list(stories().values())
    assert {alert for story in told for alert in story.fires} == set(every)
    never_silent = [
        alert
        for alert, rule in every.items()
        if not any(alert not in story.fires and is_put_to_the_test(rule, story) for story in told)
    ]
    assert never_silent == []


def test_an_alert_says_what_is_wrong_and_where_to_read_on(tmp_path: Path) -> None:
    expected = {
        "exp_labels": {"severity": "ticket", "job": "tidemill", "instance": "a:8000", "model_name": "tiny"},
        "exp_annotations": {
            "summary": "a:8000: the KV cache is full",
            "description": "99% of its blocks have been in use, at least, for five minutes and more.",
            "runbook_url": "docs/operate/runbook.md#tidemillkvcachefull",
        },
    }
    run_tests(
        tmp_path,
        {
            "interval": "1m",
            "input_series": [{"series": f"vllm:kv_cache_usage_perc{{{MODEL}}}", "values": steady(0.99)}],
            "alert_rule_test": [{"eval_time": "20m", "alertname": "TidemillKvCacheFull", "exp_alerts": [expected]}],
        },
    )
