"""What the tensors of a Llama-family checkpoint are called."""

EMBEDDING = "model.embed_tokens.weight"
FINAL_NORM = "model.norm.weight"
OUTPUT = "lm_head.weight"


def layer(index: int, part: str) -> str:
    """The tensor `part` of layer `index`, e.g. "self_attn.q_proj.weight"."""
    return f"model.layers.{index}.{part}"


def is_superfluous(name: str) -> bool:
    """Whether a checkpoint may hold `name` though no model needs it: buffers that older exports wrote along."""
    return name.endswith(("rotary_emb.inv_freq", ".attn.masked_bias", ".attn.bias"))
