"""The command that draws the loss curve as SVG and writes it, with the cost, as JSON."""

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path

from training import checkpoint
from training.energy import cost_of

WIDTH, HEIGHT, MARGIN = 720, 360, 56
TICKS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
MAX_POINTS = 500


def read_curve(folders: list[Path]) -> list[dict[str, float]]:
    """The points of one or several runs, a later run replacing what an earlier one had from its first step on."""
    points: list[dict[str, float]] = []
    for folder in folders:
        run = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
        points = [point for point in points if point["num_steps"] < run[0]["num_steps"]] + run
    unique = {point["num_steps"]: point for point in points}
    return [unique[step] for step in sorted(unique)]


def draw(points: list[dict[str, float]]) -> str:
    """The smoothed loss over the tokens seen, on a logarithmic scale, as SVG."""
    most = max(point["num_tokens"] for point in points)
    losses = [point["smooth_loss"] for point in points]
    low, high = math.log(min(losses)), math.log(max(losses))
    span = (high - low) or 1.0

    def place(tokens: float, loss: float) -> tuple[float, float]:
        x = MARGIN + (WIDTH - 2 * MARGIN) * tokens / most
        return x, MARGIN + (HEIGHT - 2 * MARGIN) * (high - math.log(loss)) / span

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{WIDTH / 2}" y="24" text-anchor="middle">Loss of the answers (nats a token, smoothed)</text>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">million tokens seen</text>',
    ]
    for tick in TICKS:
        if low <= math.log(tick) <= high:
            _, y = place(0, tick)
            lines.append(f'<path d="M{MARGIN} {y:.1f}H{WIDTH - MARGIN}" stroke="#ddd"/>')
            lines.append(f'<text x="{MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{tick}</text>')
    for part in range(5):
        x, _ = place(most * part / 4, math.exp(low))
        lines.append(
            f'<text x="{x:.1f}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{most * part / 4e6:.1f}</text>'
        )
    path = " ".join("{:.1f},{:.1f}".format(*place(point["num_tokens"], point["smooth_loss"])) for point in points)
    lines += [f'<polyline points="{path}" fill="none" stroke="#1f6f8b" stroke-width="1.5"/>', "</svg>"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Draw the curve of a run, or of a run and the branch that finished it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--run", type=Path, nargs="+", required=True, help="folders of checkpoints, in order")
    parser.add_argument("--out", type=Path, default=Path("training/results"))
    arguments = parser.parse_args()
    points = read_curve(arguments.run)
    points = points[:: max(1, len(points) // MAX_POINTS)]
    found = checkpoint.find(arguments.run[-1])
    if found is None:
        parser.error(f"no checkpoint in {arguments.run[-1]}")
    progress = checkpoint.load_progress(found)
    cost = cost_of(progress)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "curve.svg").write_text(draw(points))
    kept = ("num_steps", "num_tokens", "smooth_loss", "rate_ratio")
    record = {
        "progress": asdict(progress),
        "cost_modelled": asdict(cost),
        "curve": [{key: point[key] for key in kept} for point in points],
    }
    (arguments.out / "curve.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
