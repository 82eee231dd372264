"""What users are told about the served model: names, digest and licence from its folder, the rest from the engine."""

import hashlib
from pathlib import Path

from tidemill.config.settings import ModelSettings
from tidemill.core.backend import ModelInfo
from tidemill.engine.protocol import EngineInfo
from tidemill.text.model_text import ModelText

_WHOLE_FILE_BYTES = 64 * 1024 * 1024
_SAMPLE_BYTES = 1024 * 1024
_MAX_README_BYTES = 64 * 1024
_DIGESTED = ("*.safetensors", "*.json", "*.jinja", "*.model")


def names_of(settings: ModelSettings) -> tuple[str, ...]:
    """The names the model answers to: those asked for, or the folder's name, or the hub id."""
    if settings.served_model_name:
        return settings.served_model_name
    path = Path(settings.model).expanduser()
    return (path.resolve().name if path.is_dir() else settings.model,)


def digest_of(folder: Path) -> str:
    """Hex SHA-256 over the names and contents of the files that make up a model. Reads files: not for the event loop.

    Of a file over 64 MiB only the size, the first MiB (which holds the safetensors header) and 64 samples of it are
    read, so that a digest costs no more for a large model than for a small one.
    """
    digest = hashlib.sha256()
    paths = {path for pattern in _DIGESTED for path in folder.glob(pattern) if path.is_file()}
    for path in sorted(paths):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= _WHOLE_FILE_BYTES:
                digest.update(file.read())
                continue
            digest.update(file.read(_SAMPLE_BYTES))
            for sample in range(64):
                file.seek(size * (sample + 1) // 65)
                digest.update(file.read(_SAMPLE_BYTES // 64))
    return digest.hexdigest()


def license_of(folder: Path) -> str | None:
    """The `license` of the front matter of the folder's README.md, if it says one."""
    path = folder / "README.md"
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = file.read(_MAX_README_BYTES).splitlines()
    if not lines or lines[0].strip() != "---":
        return None
    for line in lines[1:]:
        if line.strip() == "---":
            return None
        key, _, value = line.partition(":")
        if key == "license":
            return value.strip().strip("'\"") or None
    return None


def describe_model(settings: ModelSettings, folder: Path, text: ModelText, info: EngineInfo, digest: str) -> ModelInfo:
    """The model as `/v1/models` and its like show it; created is when the folder's config.json was written."""
    config = folder / "config.json"
    return ModelInfo(
        names=names_of(settings),
        created_unix_seconds=int((config if config.is_file() else folder).stat().st_mtime),
        max_model_len=info.max_model_len,
        architecture=info.architecture,
        family=info.family,
        num_parameters=info.num_parameters,
        weight_bytes=info.weight_bytes,
        precision=info.precision,
        precision_reason=info.precision_reason,
        quantization=info.quantization,
        kv_precision=info.kv_precision,
        vocab_size=info.vocab_size,
        chat_template=text.template.source if text.template is not None else None,
        digest=digest,
        license=license_of(folder),
        numerics_fingerprint=info.numerics_fingerprint,
        default_sampling=dict(text.default_sampling),
    )
