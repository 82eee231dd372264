"""Renews the plots of docs/performance.md and the tables between its markers from benchmarks/results/*.json.

    python -m benchmarks.performance_page            # writes docs/figures/*.svg and the tables
    python -m benchmarks.performance_page --check    # says whether anything would change

A marker is a comment `table: NAME` and one `end`; what is between them is generated. A result that is not there leaves
its table as one line that says so.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import svg

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE, FIGURES = ROOT / "benchmarks/results", ROOT / "docs/performance.md", ROOT / "docs/figures"
MARKED = re.compile(r"(<!-- table: ([\w.-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

Result = dict[str, Any]
SERVED = [("output_tokens_per_second", "tok/s out", 1), ("ttft_p50_ms", "TTFT ms", 0), ("tpot_p50_ms", "TPOT ms", 1)]
WORK_FIGURES = {
    "prefill": [("prompt_tokens_per_second", "tok/s in", 0), ("ttft_p50_ms", "TTFT ms", 0)],
    "one-stream": [("tpot_p50_ms", "TPOT ms", 1), ("ttft_p50_ms", "TTFT ms", 0)],
    "8-streams": SERVED,
    "16-streams": SERVED,
    "32-streams-decode": [("decode_tokens_per_second", "tok/s out", 1), ("step_ms", "step ms", 1)],
    "rate": [("best", "requests/s", 2)],
    "users-250": [("best", "users", 0)],
    "users-1000": [("best", "users", 0)],
    "start": [("command_to_first_token_seconds", "s", 2), ("ready_seconds", "ready s", 2)],
    "memory": [("resident_mib", "resident MiB", 0), ("unique_mib", "unique", 0), ("weight_file_mib", "weights", 0)],
}  # fmt: skip


MORE_IS_BETTER = {"tok/s out", "tok/s in", "requests/s", "users"}


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def merged(results: list[Result]) -> Result:
    """Comparisons of the same model in several files as one: the runs together, the figures of the last."""
    whole: Result = {"medians": {}, "ratios": {}, "absent": {}}
    for result in results:
        whole |= {"machine": result["machine"]}
        for key in ("medians", "ratios"):
            for work, rows in result[key].items():
                whole[key].setdefault(work, {}).update(rows)
        whole["absent"] |= result["absent"]
    return whole


def peers_table(result: Result) -> str:
    """Each work's figures by contestant, and our ratios."""
    names = list(dict.fromkeys(name for rows in result["medians"].values() for name in rows))
    ours = [name for name in names if name.startswith("tidemill")]
    rows = []
    for work, figures in WORK_FIGURES.items():
        measured = result["medians"].get(work)
        if not measured:
            continue
        for index, (key, unit, digits) in enumerate(figures):
            cells = [f"{measured[n][key]:.{digits}f}" if key in measured.get(n, {}) else "" for n in names]
            ratios = ["" if index else nearest(result["ratios"].get(work, {}).get(n)) for n in ours]
            rows.append([f"{work}, {unit}", *cells, *ratios])
        reads = [reading(measured.get(n, {})) for n in names]
        rows.append([f"{work}, machine read GB/s before, after", *reads, *("" for _ in ours)])
    return table(["", *names, *(f"{name} / nearest peer in the same state" for name in ours)], rows)


def nearest(ratios: dict[str, Any] | None) -> str:
    """The least ratio, and to whom: not every peer met the machine in the state that we met."""
    if not ratios:
        return ""
    peer, ratio = min(ratios["over"].items(), key=lambda each: each[1])
    return f"{ratio} {peer}"


def reading(figures: dict[str, float]) -> str:
    """What the machine's memory did around a figure: figures with unlike readings cannot be compared."""
    keys = ("read_gb_per_second_before", "read_gb_per_second_after")
    return ", ".join(f"{figures[key]:.0f}" for key in keys if key in figures)


def peers_plot(result: Result, title: str) -> str:
    """The main figure of each work, every work on its own scale, apart by whether more or less is better."""
    more: dict[str, dict[str, float]] = {}
    less: dict[str, dict[str, float]] = {}
    for work, figures in WORK_FIGURES.items():
        key, unit, _ = figures[0]
        rows = {n: f[key] for n, f in result["medians"].get(work, {}).items() if key in f}
        if rows:
            (more if unit in MORE_IS_BETTER else less)[f"{work} ({unit})"] = rows
    panels = {"More is better": more, "Less is better": less}
    return svg.panels(title, {heading: groups for heading, groups in panels.items() if groups}, unit="")


def roofline_table(result: Result) -> str:
    """Steps beside their limits."""
    rows = [
        [
            name,
            f"{row['ms']:.2f}",
            f"{row['limit_ms']:.2f}",
            row["limited_by"],
            f"{row['share_of_limit']:.0%}",
            f"{row['machine_read_gb_per_second']:.0f}",
            f"{row['read_gb_per_second']:.1f}",
            f"{row['tera_operations_per_second']:.2f}",
        ]
        for name, row in result["steps"].items()
        if "ms" in row
    ]
    head = ["step", "ms", "limit ms", "limited by", "share", "machine reads GB/s", "step reads GB/s", "TOPS"]
    return table(head, rows)


def limits_table(result: Result) -> str:
    """What the machine can do."""
    reads, operations = result["read_gb_per_second"], result["tera_operations_per_second"]
    rows = [["reads", f"{reads['least_in_this_run']:.0f} to {reads['most_in_this_run']:.0f} GB/s"]]
    rows += [[f"{name} in registers", f"{value:.2f} T/s"] for name, value in operations["in_registers"].items()]
    rows += [[name, f"{value:.2f} T/s"] for name, value in operations["matrix_products_of_512_rows"].items()]
    return table(["limit", "measured"], rows)


def roofline_plot(result: Result, title: str) -> str:
    """Shares of the limit."""
    shares = {
        name: {"share of the limit": row["share_of_limit"]} for name, row in result["steps"].items() if "ms" in row
    }
    return svg.bars(title, shares, unit="", line_at=1.0)


def profile_table(result: Result) -> str:
    """Milliseconds by part."""
    steps = result["steps"]
    parts = list(dict.fromkeys(part for row in steps.values() for part in row["parts_ms"]))
    rows = [[part, *(f"{row['parts_ms'].get(part, 0):.2f}" for row in steps.values())] for part in parts]
    rows.append(["**whole step (median)**", *(f"**{row['step_ms_median']:.2f}**" for row in steps.values())])
    rows.append(["outside kernels", *(f"{row['outside_kernels_ms']:.2f}" for row in steps.values())])
    return table(["ms of a step", *steps], rows)


def profile_plot(result: Result, title: str) -> str:
    """Parts of a step, stacked."""
    return svg.stacked(title, {name: row["parts_ms"] for name, row in result["steps"].items()}, unit="ms")


def growth_table(result: Result) -> str:
    """Decode steps over context and sequences, and the exponents."""
    rows = result["decode_step_over_context_by_sequences"]
    contexts = list(dict.fromkeys(c for row in rows.values() for c in row["ms"]))
    body = [
        [
            f"{n} sequences",
            *(f"{row['ms'][c]:.1f}" if c in row["ms"] else "" for c in contexts),
            str(row["exponent"] or ""),
        ]
        for n, row in rows.items()
    ]
    by_context = result["decode_step_over_sequences_by_context"]
    body.append(["exponent over sequences", *(str(by_context[c]["exponent"] or "") for c in contexts), ""])
    prompts = result["prompt_over_tokens"]
    told = ", ".join(f"{tokens}: {ms:.0f}" for tokens, ms in prompts["ms"].items())
    tail = f"\nA prompt, ms by tokens: {told}; exponent {prompts['exponent']}, {prompts['at_the_end']} at the end.\n"
    return table(["ms of a decode step at context", *contexts, "exponent"], body) + tail


def growth_plot(result: Result, title: str) -> str:
    """Lines over context."""
    series = {
        f"{n} sequences": {float(c): ms for c, ms in row["ms"].items()}
        for n, row in result["decode_step_over_context_by_sequences"].items()
    }
    return svg.lines(title, series, x_name="tokens of context", y_name="ms of a decode step")


Render = Callable[[Result], str]
Draw = Callable[[Result, str], str]
KINDS: dict[str, tuple[Render, Draw | None, str]] = {
    "peers": (peers_table, peers_plot, "Served over HTTP"),
    "roofline": (roofline_table, roofline_plot, "Share of the hardware's limit"),
    "limits": (limits_table, None, ""),
    "profile": (profile_table, profile_plot, "Where a decode step's time goes"),
    "growth": (growth_table, growth_plot, "Growth of a decode step"),
}


def load(kind: str, name: str) -> Result | None:
    """The result behind a marker: `limits` are in a roofline's file; a comparison may be in several."""
    if kind == "peers":
        files = sorted(RESULTS.glob(f"peers-{name}*.json"))
        return merged([json.loads(path.read_text()) for path in files]) if files else None
    path = RESULTS / f"{'roofline' if kind == 'limits' else kind}-{name}.json"
    found: Result | None = json.loads(path.read_text()) if path.exists() else None
    return found


def render(page: str) -> tuple[str, dict[Path, str]]:
    """The page with its tables renewed, and the plots that belong to it."""
    plots: dict[Path, str] = {}

    def filled(match: re.Match[str]) -> str:
        kind, _, name = match[2].partition("-")
        result = load(kind, name)
        if result is None:
            return f"{match[1]}(not measured yet)\n{match[3]}"
        told, draw, title = KINDS[kind]
        if draw is not None:
            plots[FIGURES / f"{match[2]}.svg"] = draw(result, f"{title}: {name}")
        picture = f"\n![{title}, {name}](figures/{match[2]}.svg)\n" if draw is not None else ""
        return f"{match[1]}{told(result)}{picture}{match[3]}"

    return MARKED.sub(filled, page), plots


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    page, plots = render(PAGE.read_text())
    wanted = {PAGE: page, **plots}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        print(f"{'stale' if options.check else 'written'}: {path.relative_to(ROOT)}")
        if not options.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path])
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
