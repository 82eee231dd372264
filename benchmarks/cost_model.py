"""How well the cost model predicts steps of the real engine, on a load it was not fitted on.

The model is calibrated by the engine's synthetic steps, learns from one load, and is judged on another: once frozen,
and once as it works in service, where it goes on learning after each prediction.
"""

import argparse
import copy
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import describe, make_checkpoint, write
from tidemill.config.settings import CacheSettings, ModelSettings, SchedulerSettings
from tidemill.core.requests import SamplingParams
from tidemill.cost.model import CostModel
from tidemill.cost.step_shape import StepShape
from tidemill.engine.core.calibration import calibrate, synthetic_steps
from tidemill.models.spec import load_spec
from tidemill.models.weights.hub import resolve_model
from tidemill.runner.loading import LoadedRunner, load_runner
from tidemill.scheduler.scheduler import Scheduler
from tidemill.scheduler.sequence import SequenceRequest

Step = tuple[StepShape, float]
LOADS = {
    "chat": {"prompt": (20, 300), "output": (16, 96), "streams": 6},
    "documents": {"prompt": (400, 1500), "output": (8, 64), "streams": 10},
}


def steps_of(loaded: LoadedRunner, scheduling: SchedulerSettings, load: dict[str, Any], seconds: float) -> list[Step]:
    """Serve a closed loop of `streams` clients, whose number changes, for `seconds`; what each turn held and took."""
    rng = random.Random(1)
    scheduler = Scheduler(
        scheduling,
        loaded.layout,
        prefix_caching=False,
        model_fingerprint=b"bench",
        max_model_len=loaded.info.max_model_len,
        clock=time.monotonic,
    )
    steps: list[Step] = []
    ids = iter(range(10**9))
    ends = time.monotonic() + seconds
    wanted = load["streams"]
    while time.monotonic() < ends:
        if rng.random() < 0.02:
            wanted = rng.randint(1, load["streams"] * 2)
        while scheduler.num_sequences < wanted:
            scheduler.add(request(next(ids), rng, load, loaded.info.max_model_len))
        started = time.perf_counter()
        batch = scheduler.schedule()
        assert batch is not None
        shape = scheduler._counters.shape  # noqa: SLF001 - as the scheduler hands it to its own model
        scheduler.update(batch, loaded.runner.launch(batch).result())
        steps.append((shape, time.perf_counter() - started))
    return steps


def request(sequence_id: int, rng: random.Random, load: dict[str, Any], max_model_len: int) -> SequenceRequest:
    num_output = rng.randint(*load["output"])
    num_prompt = min(rng.randint(*load["prompt"]), max_model_len - num_output)
    return SequenceRequest(
        sequence_id=sequence_id,
        prompt_token_ids=tuple(rng.randrange(300, 4000) for _ in range(num_prompt)),
        sampling=SamplingParams(seed=1, temperature=0.0, ignore_eos=True),
        max_new_tokens=num_output,
        eos_token_ids=frozenset(),
        arrival=time.monotonic(),
    )


def judged(model: CostModel, steps: list[Step], *, learns: bool) -> dict[str, float]:
    """Median absolute error and coverage of the 99th percentile over `steps`."""
    errors, covered, spent = [], 0, 0.0
    for shape, seconds in steps:
        errors.append(abs(seconds / model.times.seconds(shape) - 1.0))
        covered += seconds <= model.times.p99_seconds(shape)
        if learns:
            started = time.perf_counter()
            model.observe(shape, seconds)
            spent += time.perf_counter() - started
    result = {
        "num_steps": len(steps),
        "median_absolute_error_ratio": round(statistics.median(errors), 4),
        "p90_absolute_error_ratio": round(sorted(errors)[int(0.9 * len(errors))], 4),
        "p99_covers_ratio": round(covered / len(steps), 4),
    }
    return result | ({"observe_microseconds": round(spent / len(steps) * 1e6, 1)} if learns else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="minnow", help="a model, or 1B or 115M for random weights of that shape")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long each load lasts")
    parser.add_argument("--folder", type=Path, default=Path("~/.cache/tidemill-benchmarks").expanduser())
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    is_shape = options.model in ("1B", "115M")
    folder = make_checkpoint(options.folder, options.model) if is_shape else resolve_model(options.model)
    scheduling = SchedulerSettings(max_num_seqs=32)
    loaded = load_runner(
        folder, load_spec(folder), ModelSettings(model=str(folder), precision=options.precision),
        CacheSettings(kv_cache_memory=1 << 30), scheduling, model_id=0, progress=lambda _stage, _fraction: None,
    )  # fmt: skip
    model = CostModel()
    made = synthetic_steps(
        max_num_seqs=scheduling.max_num_seqs,
        max_num_batched_tokens=scheduling.max_num_batched_tokens,
        max_model_len=loaded.info.max_model_len,
    )
    started = time.perf_counter()
    num_learnt = calibrate(
        model, loaded.runner, loaded.layout, made, model_id=0, clock=time.perf_counter, budget_seconds=10.0,
        progress=lambda _fraction: None,
    )  # fmt: skip
    calibration_seconds = time.perf_counter() - started
    loads = {name: steps_of(loaded, scheduling, load, options.seconds) for name, load in LOADS.items()}
    write(
        {
            "what": "errors of the cost model on a load it was not fitted on",
            "machine": describe(),
            "model": options.model,
            "precision": loaded.info.precision,
            "calibration": {"num_steps": num_learnt, "seconds": round(calibration_seconds, 2)},
            "calibrated_only": {
                name: judged(copy.deepcopy(model), steps, learns=False) for name, steps in loads.items()
            },
            "by_load": list(crossed(model, loads)),
        },
        options.out,
    )


def crossed(model: CostModel, loads: dict[str, list[Step]]) -> Iterator[dict[str, Any]]:
    """Learn from one load, be judged on the other, both ways."""
    for learnt, steps in loads.items():
        student = copy.deepcopy(model)
        while_learning = judged(student, steps, learns=True)
        student.settle()
        for other, unseen in loads.items():
            if other != learnt:
                yield {
                    "learnt_from": learnt,
                    "while_learning": while_learning,
                    "judged_on": other,
                    "frozen": judged(copy.deepcopy(student), unseen, learns=False),
                    "learning_on": judged(copy.deepcopy(student), unseen, learns=True),
                    "coefficients": [float(f"{c:.3g}") for c in student.times.coefficients],
                }


if __name__ == "__main__":
    main()
