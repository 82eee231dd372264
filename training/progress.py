"""How far a long walk is: a bar on a terminal, elsewhere a plain line now and then. Knows nothing of what is done."""

from collections.abc import Callable, Iterator, Sequence
from typing import TextIO, TypeVar

from rich.console import Console
from rich.progress import track

EVERY_SECONDS = 10.0
Item = TypeVar("Item")


def told(
    batches: Sequence[Sequence[Item]], what: str, *, out: TextIO, clock: Callable[[], float]
) -> Iterator[Sequence[Item]]:
    """The batches, one by one; on `out` is told how many items are done, and how long `what` has taken."""
    if out.isatty():
        yield from track(batches, description=what, console=Console(file=out))
        return
    total, done = sum(len(batch) for batch in batches), 0
    began = last = clock()
    print(f"{what}: {total} to do", file=out, flush=True)
    for batch in batches:
        yield batch
        done, now = done + len(batch), clock()
        if now - last >= EVERY_SECONDS or done == total:
            last = now
            print(f"{what}: {done} of {total} after {now - began:.0f} s", file=out, flush=True)
