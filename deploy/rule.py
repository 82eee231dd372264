"""A rule of Prometheus, and its text. What the rules say is the business of `burn_rates` and `alerts`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rule:
    """A recording rule (`is_alert` false) or an alert; `name` is what it records, or what it is called."""

    name: str
    expr: str
    is_alert: bool = False
    wait: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The rule as an item of a YAML list."""
        lines = [f"      - {'alert' if self.is_alert else 'record'}: {self.name}", "        expr: |-"]
        lines += [f"          {line}" for line in self.expr.splitlines()]
        if self.wait:
            lines.append(f"        for: {self.wait}")
        for title, entries in (("labels", self.labels), ("annotations", self.annotations)):
            if entries:
                lines.append(f"        {title}:")
                # A JSON string is a YAML string, whatever is in it.
                lines += [f"          {key}: {json.dumps(value)}" for key, value in entries.items()]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated one after the other."""

    name: str
    rules: Sequence[Rule]

    def text(self) -> str:
        """The group as an item of a YAML list."""
        return f"  - name: {self.name}\n    rules:\n" + "\n".join(rule.text() for rule in self.rules)


def rule_file(groups: Sequence[Group]) -> str:
    """The text of a rule file."""
    head = "# Written by `python -m deploy.generate`; edit deploy/*.py, not this file.\n"
    return head + "groups:\n" + "\n".join(group.text() for group in groups) + "\n"
