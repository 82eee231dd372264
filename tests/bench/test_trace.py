"""Traces: the published form, our own, and files that are neither."""

from pathlib import Path

import pytest

from tidemill.bench.trace import TraceRow, read_trace, scale_trace
from tidemill.core.errors import ConfigurationError

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:51.3910170,91,16
2023-11-16 18:15:50.9951690,396,109
"""


def test_the_azure_form_is_read_in_order_of_time(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(AZURE)
    rows = read_trace(path)
    assert [row.num_prompt_tokens for row in rows] == [374, 396, 91]
    assert [row.offset_seconds for row in rows] == pytest.approx([0.0, 4.314579, 4.710427], abs=1e-5)
    scaled = scale_trace(rows, rate_scale=2.0, length_scale=0.25)
    assert scaled[1] == TraceRow(pytest.approx(2.1572895, abs=1e-5), 99, 27)


def test_seconds_and_other_names_do_too(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("seconds,prompt_tokens,output_tokens\n5,10,0\n6.5,20,3\n")
    assert read_trace(path) == (TraceRow(0.0, 10, 1), TraceRow(1.5, 20, 3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has the columns"),
        ("a,b\n1,2\n", "has the columns a, b"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n", "has 0 rows"),
        (AZURE + "yesterday,1,1\n", "Line 5"),
        (AZURE + "5,1\n", "Line 5"),
    ],
)
def test_what_is_no_trace(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        read_trace(path)


def test_a_missing_trace(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_trace(tmp_path / "none.csv")
