"""Threads take every piece of work exactly once, whatever the parts, and waiting ends when the pieces are done."""

from threading import Thread

import numpy as np
import pytest
from numba import njit

from tidemill.kernels.cpu.turns import DONE, LINE, address, finish, take_near, wait


@njit(nogil=True)
def take_one(counters, part, parts, pieces):
    return take_near(address(counters), part, parts, pieces)


@njit(nogil=True)
def finish_some(counters, count):
    finish(address(counters), count)


@njit(nogil=True)
def wait_for(counters, count):
    wait(address(counters), count)


def new_counters(parts):
    return np.zeros((parts, LINE // 8), np.int64)


@pytest.mark.parametrize(("parts", "pieces"), [(1, 5), (2, 7), (3, 2), (4, 0)])
def test_each_piece_is_taken_once_and_ones_own_part_first(parts, pieces):
    counters = new_counters(parts)
    last = parts - 1
    taken = [take_one(counters, last, parts, pieces) for _ in range(pieces)]
    assert sorted(taken) == list(range(pieces))
    own = range(pieces * last // parts, pieces)
    assert taken[: len(own)] == list(own)
    assert [take_one(counters, part, parts, pieces) for part in range(parts)] == [pieces] * parts


def test_many_threads_take_each_piece_once():
    parts, pieces = 4, 5000
    counters = new_counters(parts)
    taken = [[] for _ in range(parts)]

    def work(part):
        while (piece := take_one(counters, part, parts, pieces)) < pieces:
            taken[part].append(piece)

    threads = [Thread(target=work, args=(part,)) for part in range(parts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(piece for part in taken for piece in part) == list(range(pieces))


def test_who_waits_goes_on_when_all_is_done():
    counters = new_counters(1)
    wait_for(counters, 0)
    waiting = Thread(target=wait_for, args=(counters, 3), daemon=True)
    waiting.start()
    for _ in range(2):
        finish_some(counters, 1)
    assert waiting.is_alive()
    finish_some(counters, 1)
    waiting.join(timeout=30)
    assert not waiting.is_alive()
    assert counters[0, DONE // 8] == 3
