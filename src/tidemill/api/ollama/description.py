"""The served models in Ollama's words."""

import datetime as dt
from typing import Any

from msgspec import UNSET

from tidemill.api.ollama.answers import OllamaDetails, OllamaModel, OllamaRunning, OllamaShowResponse
from tidemill.core.backend import ModelInfo

_NEVER = dt.datetime(9999, 12, 31, tzinfo=dt.UTC)
_LEVELS = {"fp32": "F32", "bf16": "BF16"}


def tagged(name: str) -> str:
    """A name with a tag, as Ollama lists them."""
    return name if ":" in name else f"{name}:latest"


def details_of(info: ModelInfo) -> OllamaDetails:
    """What kind of model it is."""
    return OllamaDetails(
        family=info.family,
        families=[info.family],
        parameter_size=_parameter_size(info.num_parameters),
        quantization_level=_LEVELS.get(info.precision, info.precision.upper()),
    )


def _parameter_size(count: int) -> str:
    if count >= 1e9:
        return f"{count / 1e9:.1f}B"
    return f"{count / 1e6:.1f}M"


def listed(info: ModelInfo, name: str) -> OllamaModel:
    """A line of `ollama list`."""
    return OllamaModel(
        name=tagged(name),
        model=tagged(name),
        modified_at=modified_at(info),
        size=info.weight_bytes,
        digest=info.digest,
        details=details_of(info),
    )


def running(info: ModelInfo, name: str) -> OllamaRunning:
    """A line of `ollama ps`. Nothing says here where the weights are, so none are said to be in video memory."""
    return OllamaRunning(
        name=tagged(name),
        model=tagged(name),
        size=info.weight_bytes,
        size_vram=0,
        digest=info.digest,
        details=details_of(info),
        expires_at=_NEVER,
        context_length=info.max_model_len,
    )


def shown(info: ModelInfo) -> OllamaShowResponse:
    """What `ollama show` shows."""
    parameters = "\n".join(f"{name} {value}" for name, value in sorted(info.default_sampling.items()))
    facts: dict[str, Any] = {
        "general.architecture": info.family,
        "general.parameter_count": info.num_parameters,
        f"{info.family}.context_length": info.max_model_len,
        f"{info.family}.vocab_size": info.vocab_size,
    }
    return OllamaShowResponse(
        modelfile=f"FROM {info.names[0]}\n",
        parameters=parameters,
        template=info.chat_template or "",
        details=details_of(info),
        model_info=facts,
        capabilities=["completion"],
        modified_at=modified_at(info),
        license=info.license or UNSET,
    )


def modified_at(info: ModelInfo) -> dt.datetime:
    """When the model was made, as far as its files say."""
    return dt.datetime.fromtimestamp(info.created_unix_seconds, dt.UTC)
