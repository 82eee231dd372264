"""A checkpoint as a folder: weights, running average and moments as safetensors, the rest as JSON.

Nothing is pickled.
"""

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from training.model import Shape


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training has come, and what it has taken."""

    seed: int
    shape: Shape
    num_steps: int = 0
    num_conversations: int = 0
    num_tokens: int = 0
    num_learnt_tokens: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    decay_from: int | None = None
    decay_steps: int | None = None
    decay_start_ratio: float = 1.0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that a training needs to go on as if it had never stopped."""

    progress: Progress
    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    moments: dict[str, Tensor]


def save(checkpoint: Checkpoint, root: Path) -> Path:
    """Write a checkpoint to `root/step-N` and name it in `root/latest`; a half-written one is never named."""
    folder = root / f"step-{checkpoint.progress.num_steps:06d}"
    partial = root / (folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    save_file(checkpoint.weights, partial / "weights.safetensors")
    save_file(checkpoint.average, partial / "average.safetensors")
    save_file(checkpoint.moments, partial / "moments.safetensors")
    (partial / "progress.json").write_text(json.dumps(asdict(checkpoint.progress), indent=2) + "\n")
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)
    named = root / "latest.partial"
    named.write_text(folder.name + "\n")
    named.replace(root / "latest")
    return folder


def find(path: Path) -> Path | None:
    """The checkpoint that `path` is, or the latest one below it."""
    if (path / "progress.json").is_file():
        return path
    if (path / "latest").is_file():
        return path / (path / "latest").read_text().strip()
    return None


def load_progress(folder: Path) -> Progress:
    """How far a checkpoint had come."""
    values = json.loads((folder / "progress.json").read_text())
    return replace(Progress(**values), shape=Shape(**values["shape"]))


def load(folder: Path) -> Checkpoint:
    """Read a checkpoint back."""
    return Checkpoint(
        load_progress(folder),
        load_file(folder / "weights.safetensors"),
        load_file(folder / "average.safetensors"),
        load_file(folder / "moments.safetensors"),
    )


def prune(root: Path, keep_last: int, keep_every: int) -> None:
    """Remove old checkpoints, except the last few and one in every so many steps."""
    folders = sorted(path for path in root.glob("step-*") if path.is_dir() and path.suffix == "")
    for folder in folders[:-keep_last]:
        if int(folder.name.removeprefix("step-")) % keep_every:
            shutil.rmtree(folder)
