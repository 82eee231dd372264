"""The training loop's state and its single step; knows no file and no screen."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import repeat

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.batches import MicroBatch, micro_batches, step_samples
from training.checkpoint import Checkpoint, Progress
from training.mixture import phase_of
from training.model import POINTING_LAYERS, Minnow, Shape
from training.optimizer import Optimizer, Rates
from training.world import Split


@dataclass(frozen=True, slots=True)
class Recipe:
    """The constants of a training; a resumed training must be given the same."""

    shape: Shape = field(default_factory=Shape)
    rates: Rates = field(default_factory=Rates)
    seed: int = 1
    step_conversations: int = 32
    micro_batch_tokens: int = 2048
    warmup_steps: int = 100


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a step did; `loss` is nats a learnt token, `astray` nats of a pointing head at a position."""

    num_steps: int
    num_tokens: int
    loss: float
    astray: float
    gradient_norm: float
    rate_ratio: float


def rate_ratio(progress: Progress, warmup_steps: int) -> float:
    """The share of the plateau's rates at the coming step: a linear rise, a plateau, a linear fall when asked for."""
    ratio = min(1.0, (progress.num_steps + 1) / warmup_steps)
    if progress.decay_from is not None and progress.decay_steps is not None:
        ratio *= progress.decay_start_ratio
        ratio *= max(0.0, 1 - (progress.num_steps - progress.decay_from) / progress.decay_steps)
    return ratio


class Trainer:
    """Owns the model, the optimizer and the progress.

    Micro-batches are shared out among `num_workers` threads that compute with one thread each: a core that is busy with
    something else then delays only its own share. Gradients are added in the order of the micro-batches, so the result
    does not depend on the number of threads.
    """

    def __init__(self, recipe: Recipe, tokenizer: Tokenizer, device: torch.device, num_workers: int = 1) -> None:
        self._workers = ThreadPoolExecutor(num_workers, initializer=torch.set_num_threads, initargs=(1,))
        self._recipe = recipe
        self._tokenizer = tokenizer
        self._device = device
        model = Minnow(recipe.shape)
        model.initialise(torch.Generator().manual_seed(recipe.seed))
        self.model = model.to(device)
        self.optimizer = Optimizer(self.model, recipe.rates)
        self.model.to(torch.bfloat16)
        self.progress = Progress(recipe.seed, recipe.shape)

    def compile(self) -> None:
        """Let PyTorch fuse the layers' small operations: a sixth less work for a minute's wait at the start."""
        for layer in self.model.layers:
            layer.compile(dynamic=True)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Take up where a checkpoint stopped."""
        self.progress = checkpoint.progress
        self.optimizer.load(checkpoint.weights, checkpoint.average, checkpoint.moments, checkpoint.progress.num_steps)

    def branch(self, checkpoint: Checkpoint) -> None:
        """Go on from another training's checkpoint, at full rates whatever that one had planned."""
        self.resume(checkpoint)
        self.progress = replace(self.progress, decay_from=None, decay_steps=None, decay_start_ratio=1.0)

    def decay(self, num_steps: int, start_ratio: float = 1.0) -> None:
        """From here on let the rates fall to nothing within so many steps; a fall already begun stays as it is."""
        if self.progress.decay_from is None:
            self.progress = replace(
                self.progress,
                decay_from=self.progress.num_steps,
                decay_steps=num_steps,
                decay_start_ratio=start_ratio,
            )

    def settle(self, num_steps: int, start_ratio: float) -> None:
        """When the rates have fallen to nothing, let them fall a second time, from a share of the plateau's."""
        assert self.progress.num_steps == self.last_step
        self.progress = replace(self.progress, decay_from=None)
        self.decay(num_steps, start_ratio)

    @property
    def last_step(self) -> int:
        """The step at which the rates will have fallen to nothing; only once they fall."""
        assert self.progress.decay_from is not None
        assert self.progress.decay_steps is not None
        return self.progress.decay_from + self.progress.decay_steps

    def checkpoint(self) -> Checkpoint:
        """The present state."""
        return Checkpoint(self.progress, self.optimizer.weights, self.optimizer.average, self.optimizer.state())

    def _gradients(self, batch: MicroBatch, pointing: float) -> tuple[float, float, tuple[Tensor, ...]]:
        ids, learn, pointers = (tensor.to(self._device) for tensor in (batch.ids, batch.learn, batch.pointers))
        loss, astray = self.model.loss(ids, learn, pointers)
        total = loss + pointing * astray
        return float(loss.detach()), float(astray.detach()), torch.autograd.grad(total, list(self.model.parameters()))

    def step(self) -> StepReport:
        """One update on the next conversations."""
        started, cpu_started = time.perf_counter(), time.process_time()
        recipe, progress = self._recipe, self.progress
        ratio = rate_ratio(progress, recipe.warmup_steps)
        pointing = phase_of(progress.num_conversations).pointing
        samples = step_samples(
            self._tokenizer,
            recipe.seed,
            Split.TRAIN,
            progress.num_conversations,
            recipe.step_conversations,
            recipe.shape.max_positions,
        )
        batches = micro_batches(self._tokenizer, samples, recipe.micro_batch_tokens)
        loss = astray = 0.0
        total = [torch.zeros_like(weight) for weight in self.optimizer.weights.values()]
        for one, missed, gradients in self._workers.map(self._gradients, reversed(batches), repeat(pointing)):
            loss += one
            astray += missed
            for summed, gradient in zip(total, gradients, strict=True):
                summed.add_(gradient)
        num_tokens = sum(len(sample.ids) for sample in samples)
        num_learnt = sum(sum(sample.learn) for sample in samples)
        num_pointers = sum(len(sample.pointers) for sample in samples) * len(POINTING_LAYERS)
        norm = self.optimizer.step(dict(zip(self.optimizer.weights, total, strict=True)), ratio, num_learnt)
        self.progress = replace(
            progress,
            num_steps=progress.num_steps + 1,
            num_conversations=progress.num_conversations + recipe.step_conversations,
            num_tokens=progress.num_tokens + num_tokens,
            num_learnt_tokens=progress.num_learnt_tokens + num_learnt,
            cpu_seconds=progress.cpu_seconds + time.process_time() - cpu_started,
            wall_seconds=progress.wall_seconds + time.perf_counter() - started,
        )
        return StepReport(
            self.progress.num_steps,
            self.progress.num_tokens,
            loss / num_learnt,
            astray / max(1, num_pointers),
            norm,
            ratio,
        )
