"""Builds what the loop runs: a scheduler and a runner, local or simulated. Only here does the engine import torch."""

import dataclasses
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tidemill.core.clock import Clock
from tidemill.core.kv_cache import KVCacheLayout
from tidemill.engine.core.simulated import SimulatedRunner, simulated_layout
from tidemill.engine.protocol import Boot, EngineInfo
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


@dataclass(frozen=True, slots=True)
class Loaded:
    """A runner, the cache it computes in, and the fields of `EngineInfo` that are known of it."""

    runner: Runner
    layout: KVCacheLayout
    facts: dict[str, str | int]


def assemble(boot: Boot, progress: Progress, clock: Clock, *, on_layer: Callable[[], None]) -> Engine:
    """The engine that `boot` asks for, loaded; `on_layer` is called as each layer begins. Raises any `SetupError`."""
    started = clock()
    is_simulated = boot.settings.engine.engine == "simulated"
    loaded = _simulated(boot, progress, clock) if is_simulated else _local(boot, progress, on_layer)
    info = msgspec.convert(loaded.facts | {"load_seconds": clock() - started}, EngineInfo)
    scheduler = Scheduler(
        boot.settings.scheduler,
        loaded.layout,
        prefix_caching=boot.settings.cache.prefix_caching,
        model_fingerprint=info.numerics_fingerprint.encode(),
        max_model_len=info.max_model_len,
        clock=clock,
        model_id=MODEL_ID,
    )
    return Engine(scheduler, loaded.runner, info)


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
    return Loaded(loaded.runner, loaded.layout, dataclasses.asdict(loaded.info))


def _simulated(boot: Boot, progress: Progress, clock: Clock) -> Loaded:
    """Reads the folder's config and tokenizer, so that names, limits and texts are the model's; needs no weights."""
    settings, folder = boot.settings, Path(boot.model_folder)
    spec = load_spec(folder)
    layout = simulated_layout(settings.simulation, settings.cache)
    runner = SimulatedRunner(
        settings.simulation, _speakable(Tokenizer.load(folder), spec.vocab_size), clock=clock, sleep=time.sleep
    )
    progress("simulating", 1.0)
    facts: dict[str, str | int] = {
        "architecture": spec.architecture,
        "family": spec.family,
        "num_parameters": spec.num_parameters,
        "weight_bytes": 0,
        "precision": "simulated",
        "device": "simulated",
        "vocab_size": spec.vocab_size,
        "max_model_len": settings.model.max_model_len or spec.max_position_embeddings,
        "block_size": layout.block_size,
        "num_blocks": layout.num_blocks,
        "kv_cache_bytes": 0,
        "num_threads": 1,
        "numerics_fingerprint": f"simulated-{settings.simulation.sim_seed}",
    }
    return Loaded(runner, layout, facts)


def _speakable(tokenizer: Tokenizer, vocab_size: int) -> tuple[int, ...]:
    """Tokens that are whole printable text, so that what a simulated engine says can be looked at."""
    known = range(min(vocab_size, tokenizer.vocab_size))
    texts = ((token_id, tokenizer.token_text(token_id)) for token_id in known if not tokenizer.is_special(token_id))
    speakable = (token_id for token_id, text in texts if text and text.isprintable() and "\ufffd" not in text)
    # A vocabulary without a single one is still simulated: any token will do.
    return tuple(itertools.islice(speakable, MAX_SPEAKABLE)) or (0,)
