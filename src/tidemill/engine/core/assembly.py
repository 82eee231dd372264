"""Builds what the loop runs: a scheduler and a runner, local or simulated. Only here does the engine import torch."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tidemill.config.objectives import default_objectives
from tidemill.core.clock import Clock
from tidemill.core.engine_facts import EngineFacts
from tidemill.core.kv_cache import KVCacheLayout
from tidemill.core.private_folder import private_cache_folder
from tidemill.cost.model import CostModel
from tidemill.cost.store import CostStore, cost_key, processor_name
from tidemill.engine.core.calibration import calibrate, synthetic_steps
from tidemill.engine.core.simulated import SimulatedRunner, simulated_layout
from tidemill.engine.protocol import Boot, EngineInfo
from tidemill.ledger.books import EnergyBooks
from tidemill.ledger.choice import open_meter
from tidemill.models.spec import load_spec
from tidemill.scheduler.batch import Runner
from tidemill.scheduler.scheduler import Scheduler
from tidemill.text.tokenizer import Tokenizer

Progress = Callable[[str, float], None]
"""Told the stage of the start and how far it is, in 0..1."""

MODEL_ID = 0
MAX_SPEAKABLE = 4096


@dataclass(frozen=True, slots=True)
class Engine:
    """A scheduler and a runner that belong together, and what is to be said about them."""

    scheduler: Scheduler
    runner: Runner
    info: EngineInfo
    cost_store: CostStore
    books: EnergyBooks | None
    """None without a meter."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A runner, the cache it computes in, and what is to be said about both."""

    runner: Runner
    layout: KVCacheLayout
    facts: EngineFacts


def assemble(boot: Boot, progress: Progress, clock: Clock, *, on_layer: Callable[[], None]) -> Engine:
    """The engine that `boot` asks for, loaded; `on_layer` is called as each layer begins. Raises any `SetupError`."""
    started = clock()
    is_simulated = boot.settings.engine.engine == "simulated"
    loaded = _simulated(boot, progress, clock) if is_simulated else _local(boot, progress, on_layer)
    info = EngineInfo(**msgspec.structs.asdict(loaded.facts), load_seconds=clock() - started)
    objectives = default_objectives(boot.settings.slo)
    store = _cost_store(info)
    costs = _costs(store, loaded, info, boot, progress, clock) if objectives.are_any else _recalled(store)
    scheduler = Scheduler(
        boot.settings.scheduler,
        loaded.layout,
        prefix_caching=boot.settings.cache.prefix_caching,
        model_fingerprint=info.numerics_fingerprint.encode(),
        max_model_len=info.max_model_len,
        clock=clock,
        model_id=MODEL_ID,
        costs=costs,
        keeps_promises=objectives.are_any,
    )
    if costs.is_calibrated:
        info = msgspec.structs.replace(info, costs=costs.parameters())
    meter = open_meter(boot.settings.ledger, info.device, clock)
    books = None if meter is None else EnergyBooks(meter, loaded.layout.groups, clock, costs.times)
    return Engine(scheduler, loaded.runner, info, store, books)


def _cost_store(info: EngineInfo) -> CostStore:
    key = cost_key(
        numerics_fingerprint=info.numerics_fingerprint,
        precision=info.precision,
        device=info.device,
        num_threads=info.num_threads,
        processor=processor_name(),
    )
    # What a simulated engine takes is a setting, and not worth keeping.
    return CostStore(None if info.device == "simulated" else private_cache_folder("cost"), key)


def _recalled(store: CostStore) -> CostModel:
    memory = store.load()
    return CostModel() if memory is None else CostModel.recall(memory)


def _costs(
    store: CostStore, loaded: Loaded, info: EngineInfo, boot: Boot, progress: Progress, clock: Clock
) -> CostModel:
    """What is known of the model from before, or from synthetic steps: whoever keeps a promise must know the costs."""
    model = _recalled(store)
    if model.is_calibrated or boot.settings.slo.calibration_seconds == 0.0:
        return model
    scheduling = boot.settings.scheduler
    steps = synthetic_steps(
        max_num_seqs=scheduling.max_num_seqs,
        max_num_batched_tokens=scheduling.max_num_batched_tokens,
        max_model_len=info.max_model_len,
    )
    calibrate(
        model,
        loaded.runner,
        loaded.layout,
        steps,
        model_id=MODEL_ID,
        clock=clock,
        budget_seconds=boot.settings.slo.calibration_seconds,
        progress=lambda fraction: progress("measuring steps", fraction),
    )
    store.save(model.memory())
    return model


def _local(boot: Boot, progress: Progress, on_layer: Callable[[], None]) -> Loaded:
    progress("importing torch", 0.0)
    from tidemill.runner.loading import load_runner

    settings, folder = boot.settings, Path(boot.model_folder)
    loaded = load_runner(
        folder,
        load_spec(folder),
        settings.model,
        settings.cache,
        settings.scheduler,
        model_id=MODEL_ID,
        progress=progress,
        on_layer=on_layer,
    )
    return Loaded(loaded.runner, loaded.layout, loaded.info)


def _simulated(boot: Boot, progress: Progress, clock: Clock) -> Loaded:
    """Reads the folder's config and tokenizer, so that names, limits and texts are the model's; needs no weights."""
    settings, folder = boot.settings, Path(boot.model_folder)
    spec = load_spec(folder)
    layout = simulated_layout(settings.simulation, settings.cache)
    runner = SimulatedRunner(
        settings.simulation, _speakable(Tokenizer.load(folder), spec.vocab_size), clock=clock, sleep=time.sleep
    )
    progress("simulating", 1.0)
    facts = EngineFacts(
        architecture=spec.architecture,
        family=spec.family,
        num_parameters=spec.num_parameters,
        weight_bytes=0,
        precision="simulated",
        device="simulated",
        vocab_size=spec.vocab_size,
        max_model_len=settings.model.max_model_len or spec.max_position_embeddings,
        block_size=layout.block_size,
        num_blocks=layout.num_blocks,
        kv_cache_bytes=0,
        num_threads=1,
        numerics_fingerprint=f"simulated-{settings.simulation.sim_seed}",
    )
    return Loaded(runner, layout, facts)


def _speakable(tokenizer: Tokenizer, vocab_size: int) -> tuple[int, ...]:
    """Tokens that are whole printable text, so that what a simulated engine says can be looked at."""
    known = range(min(vocab_size, tokenizer.vocab_size))
    texts = ((token_id, tokenizer.token_text(token_id)) for token_id in known if not tokenizer.is_special(token_id))
    speakable = (token_id for token_id, text in texts if text and text.isprintable() and "\ufffd" not in text)
    # A vocabulary without a single one is still simulated: any token will do.
    return tuple(itertools.islice(speakable, MAX_SPEAKABLE)) or (0,)
