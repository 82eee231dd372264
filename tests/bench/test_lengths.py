"""The notation of lengths, and what is drawn from it."""

import random
import statistics

import pytest

from tidemill.bench.lengths import Between, Fixed, LogNormal, parse_lengths
from tidemill.core.errors import ConfigurationError


def test_the_notation() -> None:
    assert parse_lengths("128", flag="--x") == Fixed(128)
    assert parse_lengths(" 64-512 ", flag="--x") == Between(64, 512)
    assert parse_lengths("lognormal:200,0.6", flag="--x") == LogNormal(200, 0.6)


@pytest.mark.parametrize(
    "text", ["", "0", "-3", "512-64", "1e9", "9999999", "lognormal:0,1", "lognormal:5", "a-b", "0-5"]
)
def test_what_is_no_length_names_the_flag(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--prompt-tokens is"):
        parse_lengths(text, flag="--prompt-tokens")


def test_draws_are_within_their_bounds() -> None:
    rng = random.Random(1)
    assert {Fixed(7).draw(rng) for _ in range(5)} == {7}
    assert {Between(3, 5).draw(rng) for _ in range(200)} == {3, 4, 5}
    drawn = [LogNormal(200, 0.6).draw(rng) for _ in range(4000)]
    assert 190 < statistics.median(drawn) < 210
    assert min(drawn) >= 1
    assert (Fixed(7).longest, Between(3, 5).longest, LogNormal(200, 0.6).longest) == (7, 5, None)
