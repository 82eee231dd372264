"""Ten thousand mixed requests, served once for all who look at their books."""

import random

import pytest

from tests.fakes.ledger_rig import LedgerRig, mixed


@pytest.fixture(scope="session")
def rig() -> LedgerRig:
    """Ten thousand mixed requests, on little enough cache for preemptions."""
    rig = LedgerRig(kv_tokens=2048)
    rig.serve(mixed(10_000, random.Random(7)))
    return rig
