"""One optimizer for everything: Muon for the layers' matrices, AdamW for the rest, and an average of the weights.

Keeps the weights in fp32 and writes them back to the model in the model's own precision.
Muon: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024).
AdamW: Loshchilov and Hutter (2019).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5


@dataclass(frozen=True, slots=True)
class Rates:
    """Learning rates at the plateau, and the rest of the constants."""

    matrix: float = 0.02
    vector: float = 0.003
    momentum: float = 0.95
    beta1: float = 0.9
    beta2: float = 0.98
    eps: float = 1e-9
    weight_decay: float = 0.1
    clip: float = 1.0
    average: float = 0.998


def orthogonalise(matrices: Tensor) -> Tensor:
    """Matrices (count, rows, columns) with their singular values drawn towards one, by Newton-Schulz iteration."""
    a, b, c = NEWTON_SCHULZ
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = (x.mT if tall else x).float()
    return result


class Optimizer:
    """Owns the fp32 weights, the moments and the average; `state` and `load` are plain named tensors."""

    def __init__(self, model: nn.Module, rates: Rates) -> None:
        self.rates = rates
        self.num_updates = 0
        self._parameters = dict(model.named_parameters())
        self.weights = {name: p.detach().float().clone() for name, p in self._parameters.items()}
        self.average = {name: w.clone() for name, w in self.weights.items()}
        self._first = {name: torch.zeros_like(w) for name, w in self.weights.items()}
        self._second = {name: torch.zeros_like(w) for name, w in self.weights.items() if not self._is_matrix(name)}

    def _is_matrix(self, name: str) -> bool:
        return self._parameters[name].ndim == 2 and not name.startswith("embed_tokens")

    def step(self, gradients: dict[str, Tensor], scale: float, num_learnt_tokens: int) -> float:
        """One update from the fp32 gradients of a summed loss, which it divides in place; returns the gradient's norm.

        `scale` multiplies the rates.
        """
        self.num_updates += 1
        for gradient in gradients.values():
            gradient.div_(num_learnt_tokens)
        norm = float(torch.stack([g.square().sum() for g in gradients.values()]).sum().sqrt())
        clip = min(1.0, self.rates.clip / (norm + 1e-9))
        shapes: dict[tuple[int, ...], list[str]] = {}
        for name, gradient in gradients.items():
            if self._is_matrix(name):
                shapes.setdefault(tuple(gradient.shape), []).append(name)
            else:
                self._step_vector(name, gradient * clip, scale)
        for names in shapes.values():
            self._step_matrices(names, gradients, scale)
        self._write_back()
        return norm

    def _step_vector(self, name: str, gradient: Tensor, scale: float) -> None:
        rates = self.rates
        first = self._first[name].lerp_(gradient, 1 - rates.beta1)
        second = self._second[name].lerp_(gradient.square(), 1 - rates.beta2)
        corrected = first / (1 - rates.beta1**self.num_updates)
        spread = (second / (1 - rates.beta2**self.num_updates)).sqrt_().add_(rates.eps)
        self.weights[name].sub_(corrected.div_(spread), alpha=rates.vector * scale)

    def _step_matrices(self, names: list[str], gradients: dict[str, Tensor], scale: float) -> None:
        rates = self.rates
        for name in names:
            self._first[name].lerp_(gradients[name], 1 - rates.momentum)
        ahead = torch.stack([gradients[name].lerp(self._first[name], rates.momentum) for name in names])
        rows, columns = ahead.shape[-2:]
        updates = orthogonalise(ahead) * max(1.0, rows / columns) ** 0.5
        for name, update in zip(names, updates, strict=True):
            weight = self.weights[name]
            weight.mul_(1 - rates.matrix * scale * rates.weight_decay)
            weight.sub_(update, alpha=rates.matrix * scale)

    @torch.no_grad()
    def _write_back(self) -> None:
        keep = min(self.rates.average, (1 + self.num_updates) / (10 + self.num_updates))
        for name, parameter in self._parameters.items():
            parameter.copy_(self.weights[name])
            self.average[name].lerp_(self.weights[name], 1 - keep)

    def state(self) -> dict[str, Tensor]:
        """The moments, named."""
        return {f"first.{n}": t for n, t in self._first.items()} | {f"second.{n}": t for n, t in self._second.items()}

    @torch.no_grad()
    def load(
        self, weights: dict[str, Tensor], average: dict[str, Tensor], state: dict[str, Tensor], num_updates: int
    ) -> None:
        """Take up where another optimizer stopped."""
        self.num_updates = num_updates
        for name, parameter in self._parameters.items():
            self.weights[name].copy_(weights[name])
            self.average[name].copy_(average[name])
            self._first[name].copy_(state[f"first.{name}"])
            if name in self._second:
                self._second[name].copy_(state[f"second.{name}"])
            parameter.copy_(self.weights[name])
