"""Reads a server's `/metrics` as Prometheus would."""

import time

import httpx
from prometheus_client.parser import text_string_to_metric_families


def read_metrics(url: str) -> dict[str, float]:
    """Every sample of the page, summed over its labels."""
    values: dict[str, float] = {}
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=30).text):
        for sample in family.samples:
            values[sample.name] = values.get(sample.name, 0.0) + sample.value
    return values


def wait_for_metric(url: str, name: str, value: float, seconds: float) -> float:
    """Poll until the metric has the value; its last value when the time is up. A scrape is the only way to see it."""
    end = time.monotonic() + seconds
    while True:
        seen = read_metrics(url)[name]
        if seen == value or time.monotonic() > end:
            return seen
        time.sleep(0.02)
