"""What every board chooses by, and the expressions that panels share."""

from deploy.grafana_board import Panel, Query
from deploy.promql import selector, total

WINDOW = "$__rate_interval"
CHOSEN = {"model_name": "~$model", "instance": "~$instance"}
SERVER = {"instance": "~$instance"}
VARIABLES = {
    "model": "label_values(tidemill_slo_budget_ratio, model_name)",
    "instance": "label_values(tidemill_build_info, instance)",
}


def chosen(name: str, **matchers: str) -> str:
    """The series of `name` of the chosen models and servers."""
    return selector(name, **CHOSEN, **matchers)


def rates(name: str, by: str = "", **matchers: str) -> str:
    """Their increase a second, summed, or by labels."""
    inner = f"rate({selector(name, WINDOW, **CHOSEN, **matchers)})"
    return total(inner, by) if by else f"sum({inner})"


def quantile(share: float, histogram: str, *, by_model: bool = True, **matchers: str) -> str:
    """A quantile of a histogram, over all that is chosen; without `by_model`, of every model of the chosen servers."""
    buckets = selector(f"{histogram}_bucket", WINDOW, **(CHOSEN if by_model else SERVER), **matchers)
    return f"histogram_quantile({share:g}, sum by (le) (rate({buckets})))"


def latencies(title: str, says: str, histogram: str, objective: str = "", *, by_model: bool = True) -> Panel:
    """A panel of a histogram's quantiles, with what was promised as a dashed line."""
    queries = [Query(quantile(q, histogram, by_model=by_model), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)]
    if objective:
        promised = f"max({chosen('tidemill_slo_objective', objective=objective)})"
        queries.append(Query(promised, "promised", is_limit=True))
    return Panel(title, says, "s", queries)
