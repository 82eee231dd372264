"""One decoder for the Llama family: the layers in their order. How each computes is in `layers/`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tidemill.kernels.attention_batch import AttentionBatch
from tidemill.kernels.backend import KernelBackend, LayerCache, choose_backend
from tidemill.kernels.kv_tensors import KVTensors
from tidemill.kernels.layer_stack import StackedLayer
from tidemill.models.decoder_parts import DecoderParts, LayerParts
from tidemill.models.decoder_weights import DecoderWeights, FloatParts
from tidemill.models.layers.attention import Attention
from tidemill.models.layers.linear import Linear
from tidemill.models.layers.mlp import MLP
from tidemill.models.layers.norm import RMSNorm
from tidemill.models.layers.rotary import rotation_table
from tidemill.models.spec import ModelSpec, kv_groups
from tidemill.models.weights.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """Attention and MLP, each behind a norm; `group` and `place` say where its keys and values are."""

    attention_norm: RMSNorm
    attention: Attention
    mlp_norm: RMSNorm
    mlp: MLP
    group: int
    place: int

    def stacked(self) -> StackedLayer:
        """What it is made of, for kernels that compute many layers at once."""
        attention, mlp = self.attention, self.mlp
        return StackedLayer(
            attention_norm=self.attention_norm.weight,
            qkv=attention.qkv.weight,
            q_norm=attention.norms[0],
            k_norm=attention.norms[1],
            rotations=attention.rotations,
            out=attention.out.weight,
            mlp_norm=self.mlp_norm.weight,
            gate_up=mlp.gate_up.weight,
            down=mlp.down.weight,
            scale=attention.scale,
            group=self.group,
            place=self.place,
        )


class Decoder:
    """Tokens to hidden states to logits. Its state is its weights and a view of the arena it last met."""

    def __init__(
        self,
        *,
        embedding: torch.Tensor,
        layers: Sequence[DecoderLayer],
        final_norm: RMSNorm,
        output: Linear,
        kernels: KernelBackend,
        on_layer: Callable[[], None] | None = None,
    ) -> None:
        """`on_layer` is called as each layer begins, so that a long step can be seen to get on."""
        self._embedding = embedding
        self._layers = tuple(layers)
        self._norms = (*(layer.attention_norm for layer in layers), final_norm)
        self._output = output
        # Hidden rows leave as a plain tensor, from which rows are picked: where the output layer multiplies integers,
        # those rows alone are quantized.
        hidden_dtype = torch.float32 if output.input_dtype == torch.int8 else output.input_dtype
        self._norm_dtypes = (*(layer.attention.input_dtype for layer in layers), hidden_dtype)
        self._kernels = kernels
        self._on_layer = on_layer or _nobody
        self._stack = None
        if hidden_dtype == torch.float32:
            stacked = [layer.stacked() for layer in layers]
            self._stack = kernels.stack(stacked, final_norm.weight, final_norm.epsilon)
        self._bound: tuple[KVTensors, tuple[LayerCache, ...]] | None = None

    @property
    def kernels_name(self) -> str:
        """Which kernels it computes with."""
        return self._kernels.name

    def takes_layers_together(self, num_rows: int) -> bool:
        """Whether its kernels compute the layers of a step of so many rows as one."""
        return self._stack is not None and self._stack.takes(num_rows)

    @torch.inference_mode()
    def forward(
        self, token_ids: torch.Tensor, positions: torch.Tensor, kv: KVTensors, attention: Sequence[AttentionBatch]
    ) -> torch.Tensor:
        """token_ids and positions (rows,) int64, one AttentionBatch a KV group -> hidden states (rows, hidden).

        With a row tile, rows are a multiple of it. Keys and values of the rows are written to `kv`.
        """
        caches = self._caches(kv)
        plans = [self._kernels.plan(batch) for batch in attention]
        residual = torch.nn.functional.embedding(token_ids, self._embedding).float()
        if self.takes_layers_together(residual.shape[0]):
            assert self._stack is not None
            self._on_layer()
            return self._stack.run(residual, positions, caches, plans)
        x = self._norms[0].first(residual, self._norm_dtypes[0])
        for layer, next_norm, next_dtype in zip(self._layers, self._norms[1:], self._norm_dtypes[1:], strict=True):
            self._on_layer()
            delta = layer.attention(x, positions, caches[layer.place], plans[layer.group])
            delta = layer.mlp(layer.mlp_norm.add(residual, delta, layer.mlp.input_dtype))
            x = next_norm.add(residual, delta, next_dtype)
        assert isinstance(x, torch.Tensor)
        return x

    @torch.inference_mode()
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states (n, hidden) -> (n, vocab) float32. With a row tile, n is a multiple of it."""
        is_integer = self._output.input_dtype == torch.int8
        return self._output(self._kernels.quantize(hidden) if is_integer else hidden).float()

    def _caches(self, kv: KVTensors) -> tuple[LayerCache, ...]:
        if self._bound is None or self._bound[0] is not kv:
            self._bound = (kv, self._kernels.bind(kv))
        return self._bound[1]


def _nobody() -> None:
    """Is told that a layer begins, and does nothing."""


@torch.inference_mode()
def load_decoder(
    folder: Path,
    spec: ModelSpec,
    *,
    device: torch.device,
    dtype: torch.dtype,
    row_tile: int | None,
    max_model_len: int,
    progress: Callable[[float], None],
    kernels: KernelBackend | None = None,
    on_layer: Callable[[], None] | None = None,
) -> Decoder:
    """Load the decoder in `folder`: fp32 or bf16, exact with a row tile and faster without.

    `progress` is told the share that is done. Peak memory is the result and about a layer. Raises ModelLoadError.
    """
    kernels = kernels or choose_backend(device)
    weights = DecoderWeights(Checkpoint(folder), spec, device=device, dtype=dtype)
    parts = FloatParts(weights, kernels, row_tile=row_tile)
    return build_decoder(
        parts, spec, kernels, device=device, max_model_len=max_model_len, progress=progress, on_layer=on_layer
    )


@torch.inference_mode()
def build_decoder(
    parts: DecoderParts,
    spec: ModelSpec,
    kernels: KernelBackend,
    *,
    device: torch.device,
    max_model_len: int,
    progress: Callable[[float], None],
    on_layer: Callable[[], None] | None = None,
) -> Decoder:
    """The decoder of `parts`, which are asked for in their order; `progress` is told the share that is done."""
    table = rotation_table(spec.rope, head_dim=spec.head_dim, num_positions=max_model_len).to(device)
    nothing = torch.empty(1, 0, device=device)
    places = {
        layer: (group, place)
        for group, members in enumerate(kv_groups(spec))
        for place, layer in enumerate(members.layers)
    }
    embedding = parts.embedding()
    layers = []
    for index in range(spec.num_layers):
        progress(index / (spec.num_layers + 1))
        rotations = table if spec.uses_rope[index] else nothing
        layers.append(_layer(parts.layer(index), spec, kernels, rotations, *places[index]))
    progress(spec.num_layers / (spec.num_layers + 1))
    decoder = Decoder(
        embedding=embedding,
        layers=layers,
        final_norm=RMSNorm(parts.final_norm(), spec.rms_norm_eps, kernels),
        output=Linear(parts.output()),
        kernels=kernels,
        on_layer=on_layer,
    )
    progress(1.0)
    return decoder


def _layer(
    parts: LayerParts, spec: ModelSpec, kernels: KernelBackend, rotations: torch.Tensor, group: int, place: int
) -> DecoderLayer:
    attention = Attention(
        qkv=Linear(parts.qkv),
        out=Linear(parts.out),
        norms=(parts.q_norm, parts.k_norm),
        rotations=rotations,
        scale=spec.head_dim**-0.5,
        epsilon=spec.rms_norm_eps,
        kernels=kernels,
    )
    return DecoderLayer(
        attention_norm=RMSNorm(parts.attention_norm, spec.rms_norm_eps, kernels),
        attention=attention,
        mlp_norm=RMSNorm(parts.mlp_norm, spec.rms_norm_eps, kernels),
        mlp=MLP(gate_up=Linear(parts.gate_up), down=Linear(parts.down), kernels=kernels),
        group=group,
        place=place,
    )
