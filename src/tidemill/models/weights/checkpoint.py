"""The tensors of a checkpoint's safetensors files, memory-mapped, by name. Nothing is ever unpickled.

It knows files and shapes; which tensors a model needs is `decoder.py`'s business.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from tidemill.core.errors import ModelLoadError
from tidemill.models.config_file import ConfigFile

_INDEX = "model.safetensors.index.json"
_PICKLED = ("*.bin", "*.pt", "*.pth")
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)


class Checkpoint:
    """Open files of one checkpoint. A tensor is read when asked for, and asked for once."""

    def __init__(self, folder: Path) -> None:
        """Map the files in `folder`. Raises ModelLoadError when they are missing, damaged or not safetensors."""
        self._folder = folder
        self._files: dict[str, Any] = {}
        self._where: dict[str, str] = {}
        self._taken: set[str] = set()
        for name in _file_names(folder):
            self._open(name)

    def take(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """The tensor `name` as it lies on disk. Raises ModelLoadError when missing, damaged or of another shape."""
        file = self._where.get(name)
        if file is None:
            raise ModelLoadError(f"{self._folder} has no tensor {name}.", next_step="The download may be incomplete.")
        found = tuple(self._files[file].get_slice(name).get_shape())
        if found != shape:
            raise ModelLoadError(f"{file}: tensor {name} has shape {list(found)}, but config.json says {list(shape)}.")
        try:
            tensor: torch.Tensor = self._files[file].get_tensor(name)
        except (SafetensorError, OSError, RuntimeError) as error:
            raise ModelLoadError(f"{self._folder / file}: tensor {name} could not be read: {error}.") from error
        if tensor.dtype not in _FLOATS:
            raise ModelLoadError(f"{file}: tensor {name} has data type {tensor.dtype}, which is not supported.")
        self._taken.add(name)
        return tensor

    def __contains__(self, name: str) -> bool:
        return name in self._where

    def not_taken(self) -> Iterator[str]:
        """Names of tensors that nobody asked for."""
        return (name for name in self._where if name not in self._taken)

    def _open(self, file: str) -> None:
        path = self._folder / file
        try:
            handle: Any = safe_open(path, framework="pt", device="cpu")
            names: list[str] = list(handle.keys())
        except FileNotFoundError as error:
            raise ModelLoadError(f"{path} is missing.", next_step="The download may be incomplete.") from error
        except (SafetensorError, OSError, RuntimeError) as error:
            raise ModelLoadError(f"{path} is damaged: {error}.", next_step="Download it again.") from error
        self._files[file] = handle
        self._where.update(dict.fromkeys(names, file))


def _file_names(folder: Path) -> list[str]:
    if (folder / _INDEX).exists():
        index = ConfigFile.read(folder / _INDEX)
        weight_map = index.section("weight_map")
        if weight_map is None:
            raise index.error("weight_map is missing")
        names = sorted(set(weight_map.values.values()), key=str)
        for name in names:
            if not isinstance(name, str) or Path(name).name != name:
                raise index.error(f"weight_map names {name!r}, which is not a file beside it")
        return names
    if (folder / "model.safetensors").exists():
        return ["model.safetensors"]
    if any(next(folder.glob(pattern), None) for pattern in _PICKLED):
        raise ModelLoadError(
            f"{folder} has only pickled weights (.bin, .pt), which could run code and are never loaded.",
            next_step="Convert them to safetensors, or take a revision that has them.",
        )
    raise ModelLoadError(
        f"{folder} has no model.safetensors.", next_step="Give the folder of a checkpoint in the hub's layout."
    )
