"""Writes what is below `prometheus/` and `grafana/` here.

python -m deploy.generate                          # rewrite what is out of date
python -m deploy.generate --check                  # exit 1 if anything is
python -m deploy.generate --runbook URL --into DIR # elsewhere, with links to a runbook of your own
"""

import argparse
import json
import sys
from pathlib import Path

from deploy.alerts import RUNBOOK, alerts
from deploy.boards import engine, footprint, service_level
from deploy.burn_rates import recorded
from deploy.rule import Group, rule_file

HERE = Path(__file__).resolve().parent


def files(runbook: str = RUNBOOK) -> dict[str, str]:
    """The text of every generated file, by its path below `deploy/`."""
    texts = {
        "prometheus/recording.rules.yml": rule_file([Group("tidemill-objectives", recorded())]),
        "prometheus/alerts.rules.yml": rule_file([Group("tidemill-alerts", alerts(runbook=runbook))]),
    }
    for board in (service_level.board(), engine.board(), footprint.board()):
        texts[f"grafana/dashboards/{board.uid}.json"] = json.dumps(board.document(), indent=2) + "\n"
    return texts


def main() -> int:
    """Write, or say what is out of date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--runbook", default=RUNBOOK)
    parser.add_argument("--into", type=Path, default=HERE)
    args = parser.parse_args()
    stale = []
    for name, text in files(args.runbook).items():
        file = args.into / name
        if file.exists() and file.read_text() == text:
            continue
        stale.append(name)
        if not args.check:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    if args.check and stale:
        sys.stdout.write(f"Out of date: {', '.join(stale)}. Run: python -m deploy.generate\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
