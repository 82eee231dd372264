"""How a model turns positions into rotations, read from either layout of config.json. Torch-free.

The newer layout keeps everything in `rope_parameters`; the older has `rope_theta` beside `rope_scaling`, whose kind is
under "rope_type" or, older still, "type". The frequencies themselves are computed in `layers/rotary.py`.
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from tidemill.models.config_file import ConfigFile

RopeKind = Literal["default", "linear", "dynamic", "llama3", "yarn"]


@dataclass(frozen=True, slots=True)
class RopeSpec:
    """Settings of the rotary embedding; those of other kinds than `kind` hold their neutral values."""

    kind: RopeKind
    theta: float
    max_positions: int
    """The config's max_position_embeddings, from which dynamic scaling starts."""
    factor: float = 1.0
    original_positions: int = 0
    """llama3 and yarn: the context of the pretraining."""
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True

    def reach(self, max_positions: int) -> int:
        """Positions that the scaling makes room for, in a model that states `max_positions`."""
        if self.kind in {"linear", "dynamic"}:
            return int(max_positions * self.factor)
        if self.kind == "yarn":
            return int(self.original_positions * self.factor)
        return max_positions


def read_rope(config: ConfigFile, *, default_theta: float, max_positions: int) -> RopeSpec:
    """Read the rotary settings of `config`. Raises ModelLoadError for a kind or a feature that is not supported."""
    section = _section(config)
    theta = section.optional_number("rope_theta") or config.number("rope_theta", default_theta)
    for holder in (section, config):
        if holder.number("partial_rotary_factor", 1.0) != 1.0:
            raise holder.error("partial_rotary_factor other than 1 is not supported")
    kind = section.string("rope_type", "") or section.string("type", "") or "default"
    if kind not in get_args(RopeKind):
        raise section.error(f"rope type '{kind}' is not supported, only {', '.join(get_args(RopeKind))}")
    if theta <= 0:
        raise section.error(f"rope_theta is {theta}, but must be positive")
    plain = RopeSpec(kind="default", theta=theta, max_positions=max_positions)
    return plain if kind == "default" else _scaled(plain, kind, section, config)


def _scaled(plain: RopeSpec, kind: str, section: ConfigFile, config: ConfigFile) -> RopeSpec:
    original = config.optional_integer("original_max_position_embeddings")
    original = original or section.integer("original_max_position_embeddings", plain.max_positions)
    factor = section.optional_number("factor")
    if factor is None and kind == "yarn":
        factor = plain.max_positions / original
    if factor is None or factor <= 0:
        raise section.error(f"rope type '{kind}' needs a positive factor")
    if kind == "linear":
        return replace(plain, kind="linear", factor=factor)
    if kind == "dynamic":
        return replace(plain, kind="dynamic", factor=factor)
    if kind == "llama3":
        return _llama3(replace(plain, kind="llama3", factor=factor, original_positions=original), section)
    return replace(
        plain,
        kind="yarn",
        factor=factor,
        original_positions=original,
        attention_factor=section.optional_number("attention_factor"),
        mscale=section.optional_number("mscale"),
        mscale_all_dim=section.optional_number("mscale_all_dim"),
        beta_fast=section.optional_number("beta_fast") or 32.0,
        beta_slow=section.optional_number("beta_slow") or 1.0,
        truncate=section.boolean("truncate", default=True),
    )


def _llama3(rope: RopeSpec, section: ConfigFile) -> RopeSpec:
    low, high = section.number("low_freq_factor"), section.number("high_freq_factor")
    if not 0 < low < high:
        raise section.error("low_freq_factor must be positive and below high_freq_factor")
    return replace(rope, low_freq_factor=low, high_freq_factor=high)


def _section(config: ConfigFile) -> ConfigFile:
    """The object that holds the scaling: `rope_scaling` wins, as in the library that writes these files."""
    section = config.section("rope_scaling") or config.section("rope_parameters")
    if section is None:
        return ConfigFile(config.name, {})
    nested = [key for key, value in section.values.items() if isinstance(value, dict)]
    if nested:
        raise section.error(f"rope settings by layer type ({', '.join(nested)}) are not supported")
    return section
