"""What a cost model learnt, on disk: private, whole or not there, and never trusted to be sound."""

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from tidemill.cost.model import CostModel
from tidemill.cost.step_shape import streams_shape
from tidemill.cost.store import CostStore, cost_key, processor_name

KEY = cost_key(numerics_fingerprint="f", precision="fp32", device="cpu", num_threads=2, processor=processor_name())


def learnt() -> CostModel:
    rng = random.Random(1)
    model = CostModel()
    for _ in range(100):
        num = rng.randint(1, 16)
        model.observe(streams_shape(num, 100 * num), 0.01 + 0.001 * num)
    return model


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    store = CostStore(tmp_path, KEY)
    assert store.load() is None
    memory = learnt().memory()
    assert store.save(memory)
    assert store.load() == memory
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"], "nothing half written is left"


def test_a_pipe_in_its_place_holds_nothing_up_and_is_replaced(tmp_path: Path) -> None:
    store = CostStore(tmp_path, KEY)
    os.mkfifo(tmp_path / f"{KEY[:32]}.json")
    assert store.load() is None
    memory = learnt().memory()
    assert store.save(memory)
    assert store.load() == memory


def test_another_key_is_another_file(tmp_path: Path) -> None:
    CostStore(tmp_path, KEY).save(learnt().memory())
    other = cost_key(numerics_fingerprint="f", precision="fp32", device="cpu", num_threads=1, processor="p")
    assert CostStore(tmp_path, other).load() is None


def test_a_file_under_anothers_name_is_not_taken(tmp_path: Path) -> None:
    CostStore(tmp_path, KEY).save(learnt().memory())
    (path,) = tmp_path.iterdir()
    other = KEY[::-1]
    path.rename(tmp_path / f"{other[:32]}.json")
    assert CostStore(tmp_path, other).load() is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda document: "",
        lambda document: "null",
        lambda document: "[" * 5000,
        lambda document: json.dumps(document)[:-20],
        lambda document: json.dumps(document | {"version": 1}),
        lambda document: json.dumps(_with(document, num_steps=-1)),
        lambda document: json.dumps(_with(document, error_ratio=0.0)),
        lambda document: json.dumps(_with(document, cells={"1": {"features": [1.0], "seconds": 1.0, "count": 1}})),
        lambda document: json.dumps(_with(document, cells={"1": {"features": [1.0] * 8, "seconds": 0.0, "count": 1}})),
        lambda document: json.dumps(_with(document, cells={"1": {"features": [-1.0] * 8, "seconds": 1.0, "count": 1}})),
        lambda document: json.dumps(
            _with(document, cells={"1": {"features": [1e400] * 8, "seconds": 1.0, "count": 1}})
        ),
        lambda document: json.dumps(_with(document, ratios=[[-1.0], []])),
        lambda document: json.dumps(_with(document, delays=[0.001, -0.001])),
        lambda document: " " * (5 * 1024 * 1024),
    ],
)
def test_a_damaged_file_is_no_memory(damage: Any, tmp_path: Path) -> None:
    store = CostStore(tmp_path, KEY)
    store.save(learnt().memory())
    (path,) = tmp_path.iterdir()
    path.write_text(damage(json.loads(path.read_text())))
    assert store.load() is None


def test_a_folder_that_takes_nothing_is_no_error(tmp_path: Path) -> None:
    assert not CostStore(tmp_path / "gone", KEY).save(learnt().memory())
    assert not CostStore(None, KEY).save(learnt().memory())
    assert CostStore(None, KEY).load() is None


def _with(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return document | {"memory": document["memory"] | changes}
