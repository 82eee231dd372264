"""The layers of a decoder as `layer_pass` wants them: addresses and arrays made once, and memory for what passes."""

import threading
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import torch

from tidemill.kernels.cpu import layer_pass
from tidemill.kernels.cpu.arrays import Array
from tidemill.kernels.cpu.attention_work import AttentionWork
from tidemill.kernels.cpu.instruction_path import Tag
from tidemill.kernels.cpu.integer_product import scratch_bytes
from tidemill.kernels.cpu.integer_weight import IntegerWeight
from tidemill.kernels.cpu.layer_pass import Room, Stack, Step
from tidemill.kernels.cpu.paged_layer import PagedLayer
from tidemill.kernels.layer_stack import StackedLayer
from tidemill.kernels.linear import Weight
from tidemill.kernels.packed_weight import aligned_array
from tidemill.kernels.quantized import GROUP

MOST_ROWS = 64
"""With more rows, the arithmetic of a step is so long that what lies between its kernels no longer counts."""


class CpuLayerStack:
    """Implements LayerStack for layers that multiply integers only. One step at a time: they share its room."""

    def __init__(self, layers: Sequence[StackedLayer], final_norm: torch.Tensor, epsilon: float, tag: Tag) -> None:
        """What `can_stack` said yes to. The layers are kept, because their memory is read by address."""
        self._layers = tuple(layers)
        self._tag = tag
        self._lock = threading.Lock()
        self._stack = _stack_of(self._layers, final_norm, epsilon)
        self._cache: tuple[Sequence[PagedLayer], PagedLayer] | None = None
        self._room: dict[tuple[int, int], Room] = {}

    def takes(self, num_rows: int) -> bool:
        return num_rows <= MOST_ROWS

    def run(
        self, residual: torch.Tensor, positions: torch.Tensor, caches: Sequence[PagedLayer], plans: Sequence[Any]
    ) -> torch.Tensor:
        (plan,) = plans
        rows, threads = residual.shape[0], numba.get_num_threads()
        first = self._layers[0]
        with self._lock:
            cache = self._bind(caches)
            work: AttentionWork = plan.work_for(cache, first.out.in_features // (cache.kv_heads * cache.head_dim))
            hidden = np.empty((rows, residual.shape[1]), np.float32)
            room = self._room_for(rows, threads)
            room.turns[...] = 0
            room.attended[plan.batch.num_rows :] = 0
            layer_pass.pass_layers(
                self._tag,
                threads,
                self._stack,
                cache,
                Step(
                    rows,
                    positions.numpy(),
                    plan.slots,
                    plan.tables,
                    work.items,
                    work.folds,
                    work.partials,
                    plan.batch.window or 0,
                ),
                work.spaces,
                room._replace(residual=residual.numpy(), hidden=hidden),
            )
        return torch.from_numpy(hidden)

    def _bind(self, caches: Sequence[PagedLayer]) -> PagedLayer:
        """Note where each layer's keys and values are, once for an arena."""
        if self._cache is None or self._cache[0] is not caches:
            for index, layer in enumerate(self._layers):
                cache = caches[layer.place]
                self._stack.layers[index, :3] = cache.keys_at, cache.values_at, cache.scales_at
            self._cache = (caches, caches[0])
        return self._cache[1]

    def _room_for(self, rows: int, threads: int) -> Room:
        """Memory for steps of so many rows and threads; that of the last ones is kept."""
        found = self._room.get((rows, threads))
        if found is None:
            self._room.clear()
            found = self._room[rows, threads] = self._new_room(rows, threads)
        return found

    def _new_room(self, rows: int, threads: int) -> Room:
        layer = self._layers[0]
        hidden, gated, heads = layer.qkv.in_features, layer.down.in_features, layer.out.in_features
        product_bytes = -(-scratch_bytes(max(each.inputs for each in _weights(layer)), self._tag.most_rows) // 64) * 64
        self._scratch = aligned_array((threads * product_bytes,), np.uint8)
        return Room(
            None,
            _floats(rows, layer.qkv.out_features),
            _floats(rows, heads),
            _floats(rows, heads),
            _floats(rows, hidden),
            _floats(rows, 2 * gated),
            None,
            *_integers(rows, hidden),
            *_integers(rows, heads),
            *_integers(rows, gated),
            scratch=_floats(threads, max(hidden, gated)),
            product_scratch=self._scratch.ctypes.data,
            product_scratch_bytes=product_bytes,
            turns=aligned_array((2 + layer_pass.PARTS * len(self._layers), threads, 8), np.int64),
        )


def can_stack(layers: Sequence[StackedLayer]) -> bool:
    """Whether the layers are of one kind, multiply integers only, and keep their keys and values in one group."""
    first = layers[0]

    def kind(layer: StackedLayer) -> tuple[object, ...]:
        shapes = [(weight.in_features, weight.out_features) for weight in _matrices(layer)]
        return (*shapes, layer.scale, layer.group, layer.q_norm.shape, layer.k_norm.shape)

    tables = {layer.rotations.data_ptr() for layer in layers if layer.rotations.numel()}
    return (
        len(tables) <= 1
        and all(isinstance(weight, IntegerWeight) for layer in layers for weight in _matrices(layer))
        and all(kind(layer) == kind(first) for layer in layers)
    )


def _matrices(layer: StackedLayer) -> tuple[Weight, ...]:
    return (layer.qkv, layer.out, layer.gate_up, layer.down)


def _weights(layer: StackedLayer) -> list[IntegerWeight]:
    return [weight for weight in _matrices(layer) if isinstance(weight, IntegerWeight)]


def _stack_of(layers: Sequence[StackedLayer], final_norm: torch.Tensor, epsilon: float) -> Stack:
    norms = [norm for layer in layers for norm in (layer.attention_norm, layer.mlp_norm)]
    rotations = next((layer.rotations for layer in layers if layer.rotations.numel()), layers[0].rotations)
    products = [[_numbers(weight) for weight in _weights(layer)] for layer in layers]
    return Stack(
        products=np.array(products, np.int64),
        norms=torch.stack([*norms, final_norm]).numpy(),
        q_norms=torch.stack([layer.q_norm for layer in layers]).numpy(),
        k_norms=torch.stack([layer.k_norm for layer in layers]).numpy(),
        rotations=rotations.numpy(),
        layers=np.array([[0, 0, 0, layer.rotations.shape[1]] for layer in layers], np.int64),
        epsilon=np.float32(epsilon),
        scale=np.float32(layers[0].scale),
    )


def _numbers(weight: IntegerWeight) -> tuple[int, ...]:
    return (weight.is_int4, weight.inputs, weight.out_features, *weight.addresses)


def _floats(rows: int, size: int) -> Array:
    return np.empty((rows, size), np.float32)


def _integers(rows: int, size: int) -> tuple[Array, Array, Array]:
    """Room for QuantizedRows."""
    return (
        np.empty((rows, -(-size // GROUP) * GROUP), np.int8),
        np.empty(rows, np.float32),
        np.empty(rows, np.int32),
    )
