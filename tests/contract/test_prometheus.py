"""A real Prometheus scrapes a server under load and finds every metric that vLLM's boards and autoscalers ask for."""

import json
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

import httpx
import pytest

from tests.fakes.live_server import LiveServer, free_port

pytestmark = pytest.mark.contract
CONFIG = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: tidemill
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
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
]


def query(port: int, expression: str) -> list[dict[str, object]]:
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(url, timeout=10) as answer:
        result: list[dict[str, object]] = json.load(answer)["data"]["result"]
        return result


def poll(port: int, expression: str, seconds: float = 30.0) -> list[dict[str, object]]:
    """Ask until there is an answer: Prometheus scrapes on its own clock and tells nobody."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := query(port, expression):
                return found
        except OSError:
            pass
        time.sleep(0.25)
    return []


def test_a_real_prometheus_finds_every_series(server: LiveServer, tmp_path: Path) -> None:
    body = {"model": "llama2", "prompt": "The river", "max_tokens": 8}
    for _ in range(3):
        httpx.post(f"{server.url}/v1/completions", json=body, timeout=60).raise_for_status()
    (tmp_path / "prometheus.yml").write_text(CONFIG.format(port=server.port))
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as prometheus:
        try:
            assert poll(port, "up == 1"), "the scrape never succeeded"
            missing = [name for name in SERIES if not poll(port, f'{{__name__="{name}"}}', seconds=5)]
            assert missing == []
            assert poll(port, 'vllm:generation_tokens_total{model_name="llama2"} >= 24')
            assert poll(port, "histogram_quantile(0.95, sum by (le) (vllm:time_to_first_token_seconds_bucket)) > 0")
        finally:
            prometheus.terminate()
