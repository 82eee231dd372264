"""From what a user calls a model to a folder on this machine: the bundled one, a local path, or the hub's cache.

Torch-free. Of a hub repository only weights in safetensors and the text files beside them are fetched.
"""

import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from tidemill.core.errors import ModelLoadError

BUNDLED = "minnow"
_PATTERNS = ("*.json", "*.jinja", "*.txt", "*.model", "*.safetensors")
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")


def resolve_model(
    model: str,
    *,
    revision: str | None = None,
    offline: bool = False,
    why_offline: str = "--offline is set",
    progress: Callable[[str], None] | None = None,
) -> Path:
    """The folder of `model`: 'minnow' (which ships with the package), a local folder, or a hub id.

    `progress` is told in words what takes time, and `why_offline` tells the user why the hub is not asked. Raises
    ModelLoadError when the model cannot be had.
    """
    if model == BUNDLED:
        return _bundled()
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise ModelLoadError(f"{model} is a file, not a model folder.", next_step="Give the folder that holds it.")
    if model.startswith((".", "/", "~")) or model.count("/") > 1 or not _HUB_ID.fullmatch(model):
        raise ModelLoadError(
            f"There is no folder {model}.", next_step="Give a local folder or a hub id like owner/name."
        )
    why_missing = f" and {why_offline}" if offline else ", and the hub cannot be reached"
    return _from_hub(model, revision=revision, offline=offline, why_missing=why_missing, progress=progress)


def _bundled() -> Path:
    folder = Path(str(files("tidemill.bundled"))) / BUNDLED
    if not (folder / "config.json").exists():
        raise ModelLoadError(
            f"The bundled model is not part of this installation ({folder}).", next_step="Name another model."
        )
    return folder


def _from_hub(
    model: str, *, revision: str | None, offline: bool, why_missing: str, progress: Callable[[str], None] | None
) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if progress is not None:
        progress(f"Looking for {model} in the hub's cache" if offline else f"Fetching {model} from the hub")
    try:
        folder = snapshot_download(model, revision=revision, local_files_only=offline, allow_patterns=list(_PATTERNS))
    except GatedRepoError as error:
        raise ModelLoadError(
            f"{model} is gated: its owner asks for your consent first.",
            next_step="Accept its terms on the hub and log in with `hf auth login`.",
        ) from error
    except RevisionNotFoundError as error:
        raise ModelLoadError(f"{model} has no revision {revision}.") from error
    except RepositoryNotFoundError as error:
        raise ModelLoadError(
            f"The hub has no model {model}, or you may not see it.",
            next_step="Check its name; for a private model log in with `hf auth login`.",
        ) from error
    except LocalEntryNotFoundError as error:
        raise ModelLoadError(
            f"{model} is not in the hub's cache{why_missing}.",
            next_step="Fetch it once with a connection, or name a local folder.",
        ) from error
    except (HFValidationError, HfHubHTTPError, OSError) as error:
        raise ModelLoadError(f"{model} could not be fetched from the hub: {_first_line(error)}.") from error
    return Path(folder)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
