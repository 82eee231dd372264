"""What an answer says of its joules does not tell whether others were served beside it."""

import random

from tests.fakes.ledger_rig import Ask, LedgerRig
from tidemill.core.footprint import Footprint
from tidemill.ledger.statement import together

NUM_PROBES = 2000


def separability(alone: list[float], crowded: list[float]) -> float:
    """The area under the ROC curve of telling one from the other by the figure, whichever way round is better."""
    ranked = sorted([(figure, 0) for figure in alone] + [(figure, 1) for figure in crowded])
    wins, seen = 0.0, 0
    index = 0
    while index < len(ranked):
        ties = [label for figure, label in ranked[index:] if figure == ranked[index][0]]
        lower, upper = ties.count(0), ties.count(1)
        wins += upper * (seen + lower / 2)
        seen += lower
        index += len(ties)
    area = wins / (len(alone) * len(crowded))
    return max(area, 1.0 - area)


def probe(rig: LedgerRig, tokens: tuple[int, ...]) -> float:
    part = rig.accounts.statement(len(tokens), 0, 20)
    footprint: Footprint | None = together([part]) if part is not None else None
    assert footprint is not None
    return footprint.joules


def test_a_figure_does_not_tell_whether_neighbours_were_there() -> None:
    """Two thousand requests of one length, each alone or beside seven others at random. Their true shares tell the two
    apart at once; what they are told does not.
    """
    rng = random.Random(11)
    rig = LedgerRig()
    rig.serve(Ask(10.0 + n, tuple(rng.randrange(10, 100) for _ in range(60)), 20) for n in range(30))
    told: tuple[list[float], list[float]] = ([], [])
    true: tuple[list[float], list[float]] = ([], [])
    for _ in range(NUM_PROBES):
        is_crowded = rng.random() < 0.5
        tokens = tuple(rng.randrange(10, 100) for _ in range(60))
        now = rig.clock()
        others = [Ask(now, tuple(rng.randrange(10, 100) for _ in range(60)), 20) for _ in range(7 * is_crowded)]
        probed = len(rig.true_joules) + 1
        rig.serve([Ask(now, tokens, 20), *others])
        told[is_crowded].append(probe(rig, tokens))
        true[is_crowded].append(rig.true_joules[probed])
    assert separability(*true) > 0.95
    assert separability(*told) <= 0.55
