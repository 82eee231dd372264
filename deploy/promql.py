"""Pieces of PromQL that rules and boards share, so that no selector is written twice. Owns no rule and no panel."""

JOB = "tidemill"
"""The job of the scrape configuration: what tells these servers' `vllm:` series from those of others."""
SERVER = "job, instance"
MODEL = f"{SERVER}, model_name"
OBJECTIVE = f"{MODEL}, objective"


def selector(name: str, window: str = "", **matchers: str) -> str:
    """A selector of `name`; a value that begins with `~` is a regular expression."""
    told = ", ".join(
        f'{label}=~"{value[1:]}"' if value.startswith("~") else f'{label}="{value}"'
        for label, value in matchers.items()
    )
    return name + (f"{{{told}}}" if told else "") + (f"[{window}]" if window else "")


def total(inner: str, by: str) -> str:
    """The sum of `inner` by labels."""
    return f"sum by ({by}) ({inner})"


def rate(name: str, window: str, **matchers: str) -> str:
    """A counter's increase a second."""
    return f"rate({selector(name, window, **matchers)})"


def increase(name: str, window: str, **matchers: str) -> str:
    """A counter's increase over a window."""
    return f"increase({selector(name, window, **matchers)})"


def quotient(above: str, below: str) -> str:
    """`above` / `below`; nothing at all where there was nothing to divide by."""
    return f"{above}\n/\n({below} > 0)"
