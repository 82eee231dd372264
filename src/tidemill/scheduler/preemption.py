"""Who gives up its blocks when there are none left, and why everything finishes all the same.

A preempted sequence loses its KV, keeps its tokens, and waits ahead of new ones of its priority; when it runs again its
tokens are computed again. Its victim is always less urgent than the one in need (newest first within a priority).

Why every sequence finishes, given finitely many more urgent ones:

1. A sequence preempted `max_preemptions` times is admitted again only with its whole remaining need reserved, and is
   then never a victim. Reservations can always be honoured (see `KVCache`), so when such a sequence runs, it advances
   whenever a step has rows for it. That is never long in coming: a stream sits out only until its next token is due, or
   one step where none is promised (`turns.py`); prompts leave one step in two to streams, and at most four in a row for
   want of time (`pacing.py`); a step that ends early has completed a prompt (`step_sharing.py`), and those end.
2. Of the others, take the most urgent running one, U. If it lacks a block, all less urgent unreserved ones are
   victims in turn. Either that gives U its block, or U is the only unreserved one left. Then, without reservations, all
   pages but U's own are free, and the pool holds any single sequence whole (checked at start): U advances. With
   reservations, U keeps its blocks and waits; the reserved ones advance (1), finish, and give back theirs.
3. If nothing runs, every page is available, so the head of the queue is admitted. Hence every step computes at least
   one token of some sequence, and the most urgent one is never a victim.
4. Within one admission a sequence computes each of its positions once, and there are at most max_preemptions + 1
   admissions. So finitely many sequences finish within (max_preemptions + 1) * (sum of their positions) steps.
5. Nobody behind the head of the queue is admitted before it. Within a priority the head is, of the tenants within
   their share, the one that is due first; what comes later is due later, and a tenant that is served more falls behind
   (`fair_share.py`), so each becomes the head. Only endlessly many sequences of a more urgent priority can hold one up
   for ever, which is what a priority means; where objectives are kept, not even they (`prompt_order.py`).
"""

from tidemill.scheduler.running_set import RunningSet
from tidemill.scheduler.sequence import Sequence


def find_victim(running: RunningSet, needy: Sequence) -> Sequence | None:
    """The least urgent running sequence without a reservation that is less urgent than `needy`, if any."""
    for sequence in running.least_urgent():
        if sequence.urgency <= needy.urgency:
            return None
        if sequence.blocks.num_reserved is None:
            return sequence
    return None
