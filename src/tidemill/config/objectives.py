"""What `[slo]` promises every request: a profile, and the objectives that are set beside it."""

from tidemill.config.settings import SloSettings
from tidemill.core.objectives import Objectives, seconds_per_token

_PROFILES = {
    "interactive": Objectives(ttft_seconds=0.150, tpot_seconds=seconds_per_token(1000.0)),
    "relaxed": Objectives(ttft_seconds=1.0, tpot_seconds=seconds_per_token(250.0)),
    "batch": Objectives(),
}


def default_objectives(settings: SloSettings) -> Objectives:
    """The objectives of a request that brings none: what is set, else the profile's."""
    chosen = Objectives(ttft_seconds=settings.slo_ttft_seconds, tpot_seconds=settings.slo_tpot_seconds)
    return chosen.or_else(_PROFILES[settings.slo_profile])
