"""A model's dimensions and features, read from its folder's config.json. Torch-free; weights live in `weights/`.

What a config asks for and the decoder cannot do is an error that names it; nothing is ignored in silence.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from tidemill.core.errors import ModelLoadError
from tidemill.core.kv_cache import KVCacheGroup
from tidemill.models.config_file import ConfigFile
from tidemill.models.rope_spec import RopeSpec, read_rope

_FAMILIES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "SmolLM3ForCausalLM": "smollm3",
}
_DEFAULT_THETA = {"smollm3": 2_000_000.0}
_DEFAULT_TIED = {"smollm3": True}
_DTYPES = ("float32", "float16", "bfloat16")
_MAX_LAYERS = 10_000
"""Far beyond any model: what is kept by layer is made before anything says how much memory the weights need."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Dimensions and features of a decoder of the Llama family. Tuples by layer have `num_layers` entries."""

    family: str
    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rms_norm_eps: float
    rope: RopeSpec
    uses_rope: tuple[bool, ...]
    """Whether each layer rotates queries and keys."""
    windows: tuple[int | None, ...]
    """How many positions back each layer looks, its own included; None is all of them."""
    qkv_bias: bool
    o_bias: bool
    mlp_bias: bool
    qk_norm: bool
    tied: bool
    """Whether the output matrix is the embedding."""
    bos_token_id: int | None
    eos_token_ids: frozenset[int]
    """Union of what config.json and generation_config.json say."""
    max_position_embeddings: int
    torch_dtype: str
    """Data type the checkpoint says it has: float32, float16 or bfloat16."""

    @property
    def num_parameters(self) -> int:
        """Weights in total; a tied output matrix counts once."""
        q_size, kv_size = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        attention = self.hidden_size * (2 * q_size + 2 * kv_size)
        attention += self.qkv_bias * (q_size + 2 * kv_size) + self.o_bias * self.hidden_size
        attention += self.qk_norm * 2 * self.head_dim
        mlp = 3 * self.hidden_size * self.intermediate_size
        mlp += self.mlp_bias * (2 * self.intermediate_size + self.hidden_size)
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tied else 2)
        return embeddings + self.num_layers * (attention + mlp + 2 * self.hidden_size) + self.hidden_size

    @property
    def longest_context_len(self) -> int:
        """The longest context the model can be served with: what its positions, and their scaling, reach."""
        return max(self.max_position_embeddings, self.rope.reach(self.max_position_embeddings))


def kv_groups(spec: ModelSpec) -> tuple[KVCacheGroup, ...]:
    """Layers that keep the same thing, in groups of one size: the greatest common divisor of the kinds' counts."""
    kinds: dict[int | None, list[int]] = {}
    for layer, window in enumerate(spec.windows):
        kinds.setdefault(window, []).append(layer)
    size = math.gcd(*(len(layers) for layers in kinds.values()))
    return tuple(
        KVCacheGroup(layers=tuple(layers[first : first + size]), window=window)
        for window, layers in kinds.items()
        for first in range(0, len(layers), size)
    )


def load_spec(folder: Path) -> ModelSpec:
    """Read the spec of the model in `folder`.

    Raises ModelLoadError when config.json is missing or malformed, or asks for something that is not supported.
    """
    config = ConfigFile.read(folder / "config.json")
    family, architecture = _family(config)
    _refuse_unsupported(config, family)
    hidden_size = config.integer("hidden_size")
    num_layers = config.integer("num_hidden_layers", most=_MAX_LAYERS)
    num_heads = config.integer("num_attention_heads")
    num_kv_heads = config.integer("num_key_value_heads", num_heads)
    head_dim = config.integer("head_dim", 128 if family == "qwen3" else hidden_size // num_heads)
    if num_heads % num_kv_heads:
        raise config.error(f"{num_heads} attention heads cannot share {num_kv_heads} key and value heads")
    if head_dim % 2:
        raise config.error(f"head_dim is {head_dim}, but rotary embeddings need an even one")
    max_positions = config.integer("max_position_embeddings", 2048)
    uses_rope = _rope_layers(config, family, num_layers)
    attention_bias = config.boolean("attention_bias", default=False) if family != "mistral" else False
    bos, eos = _end_tokens(config, folder)
    return ModelSpec(
        family=family,
        architecture=architecture,
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=config.integer("intermediate_size"),
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        rms_norm_eps=config.number("rms_norm_eps", 1e-6),
        rope=read_rope(config, default_theta=_DEFAULT_THETA.get(family, 10_000.0), max_positions=max_positions),
        uses_rope=uses_rope,
        windows=_windows(config, family, num_layers, uses_rope),
        qkv_bias=True if family == "qwen2" else attention_bias,
        o_bias=False if family == "qwen2" else attention_bias,
        mlp_bias=config.boolean("mlp_bias", default=False) if family in {"llama", "smollm3"} else False,
        qk_norm=family == "qwen3",
        tied=config.boolean("tie_word_embeddings", default=_DEFAULT_TIED.get(family, False)),
        bos_token_id=bos,
        eos_token_ids=eos,
        max_position_embeddings=max_positions,
        torch_dtype=_dtype(config),
    )


def _family(config: ConfigFile) -> tuple[str, str]:
    named = config.strings("architectures")
    for architecture in named:
        if architecture in _FAMILIES:
            return _FAMILIES[architecture], architecture
    if not named:
        model_type = config.string("model_type", "")
        for architecture, family in _FAMILIES.items():
            if family == model_type:
                return family, architecture
        named = (model_type or "unnamed",)
    raise ModelLoadError(
        f"The architecture {', '.join(named)} is not supported.",
        next_step=f"Supported are {', '.join(_FAMILIES)}.",
    )


def _refuse_unsupported(config: ConfigFile, family: str) -> None:
    activation = config.string("hidden_act", "silu")
    if activation not in {"silu", "swish"}:
        raise config.error(f"hidden_act '{activation}' is not supported, only silu")
    if config.get("quantization_config") is not None:
        raise config.error("quantization_config is not supported", next_step="Take an unquantized checkpoint.")
    if family == "mistral" and len(set(config.strings("layer_types"))) > 1:
        raise config.error("mixed layer_types are not supported for mistral")


def _rope_layers(config: ConfigFile, family: str, num_layers: int) -> tuple[bool, ...]:
    if family != "smollm3":
        return (True,) * num_layers
    flags = config.integers("no_rope_layers")
    if flags is not None:
        if len(flags) < num_layers:
            raise config.error(f"no_rope_layers has {len(flags)} entries for {num_layers} layers")
        return tuple(bool(flag) for flag in flags[:num_layers])
    interval = config.integer("no_rope_layer_interval", 4)
    return tuple((layer + 1) % interval != 0 for layer in range(num_layers))


def _windows(config: ConfigFile, family: str, num_layers: int, uses_rope: tuple[bool, ...]) -> tuple[int | None, ...]:
    """Qwen and SmolLM3 window some layers, by layer_types or by rule; Mistral windows all or none."""
    if family == "llama":
        return (None,) * num_layers
    window = config.optional_integer("sliding_window", 4096 if family != "smollm3" else None)
    if family == "mistral":
        return (window,) * num_layers
    if window is None or not config.boolean("use_sliding_window", default=False):
        return (None,) * num_layers
    types = config.strings("layer_types")
    if types:
        unknown = set(types) - {"full_attention", "sliding_attention"}
        if unknown or len(types) != num_layers:
            raise config.error(f"layer_types is not supported: {', '.join(sorted(unknown)) or 'wrong length'}")
        return tuple(window if kind == "sliding_attention" else None for kind in types)
    if family == "smollm3":
        return tuple(None if rotates else window for rotates in uses_rope)
    first = config.integer("max_window_layers", 28, least=0)
    return tuple(window if layer >= first else None for layer in range(num_layers))


def _end_tokens(config: ConfigFile, folder: Path) -> tuple[int | None, frozenset[int]]:
    eos = set(config.integers("eos_token_id") or ())
    bos = config.integers("bos_token_id")
    path = folder / "generation_config.json"
    if path.exists():
        generation = ConfigFile.read(path)
        eos |= set(generation.integers("eos_token_id") or ())
        bos = bos or generation.integers("bos_token_id")
    return (bos[0] if bos else None), frozenset(eos)


def _dtype(config: ConfigFile) -> str:
    name = config.string("dtype", "") or config.string("torch_dtype", "") or "float32"
    name = name.removeprefix("torch.")
    if name not in _DTYPES:
        raise config.error(f"dtype '{name}' is not supported, only {', '.join(_DTYPES)}")
    return name
