"""Models that sit the examination: one answers through `transformers`, one through Tidemill's own engine.

Both are greedy and are given the same tokens; neither knows what is asked or what is right.
"""

import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from tidemill.config.settings import ModelSettings, SchedulerSettings, ServerSettings, Settings
from tidemill.core.requests import Delta, GenerationRequest, SamplingParams, TokensPrompt
from tidemill.runtime.session import Session
from training.batches import micro_batches, step_samples
from training.sample import END, PAD
from training.world import Split

MAX_NEW_TOKENS = 160
Arithmetic = Literal["float32", "bfloat16"]


class Examinee(Protocol):
    """Whoever answers."""

    def answer(self, prompts: Sequence[str]) -> list[str]:
        """The answers to prompts that are written out as the chat template writes them, without the end marker."""
        ...


class ThroughTransformers:
    """A model as `transformers` computes it, many prompts at once."""

    def __init__(self, folder: Path, arithmetic: Arithmetic, device: str) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._device = device
        loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, arithmetic))
        self._model = loaded.to(device).eval()
        self._pad = self._tokenizer.token_to_id(PAD)

    @torch.inference_mode()
    def answer(self, prompts: Sequence[str]) -> list[str]:
        """See `Examinee.answer`; prompts of like length are cheapest."""
        encoded = [self._tokenizer.encode(prompt, add_special_tokens=False).ids for prompt in prompts]
        width = max(len(ids) for ids in encoded)
        ids = torch.tensor([[self._pad] * (width - len(one)) + one for one in encoded], device=self._device)
        mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in encoded], device=self._device)
        out = self._model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=False,
            max_length=None,
            max_new_tokens=MAX_NEW_TOKENS,
            pad_token_id=self._pad,
        )
        texts = self._tokenizer.decode_batch(out[:, width:].tolist(), skip_special_tokens=False)
        return [text.partition(END)[0] for text in texts]

    @torch.inference_mode()
    def nats_per_token(self, seed: int, split: Split, count: int) -> float:
        """The mean loss of the assistant's tokens over so many conversations of the mixture."""
        samples = step_samples(self._tokenizer, seed, split, 0, count, 2048)
        nats = 0.0
        for batch in micro_batches(self._tokenizer, samples, 4096):
            logits = self._model(input_ids=batch.ids[:, :-1].to(self._device)).logits
            learn = batch.learn[:, 1:].to(self._device)
            targets = batch.ids[:, 1:].to(self._device)[learn]
            nats += float(torch.nn.functional.cross_entropy(logits[learn].float(), targets, reduction="sum"))
        return nats / sum(sum(sample.learn) for sample in samples)


class ThroughTidemill:
    """A model as Tidemill's engine computes it: a process of its own, all prompts of a batch in one request."""

    def __init__(self, folder: Path, arithmetic: Arithmetic, batch: int) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        settings = Settings(
            model=ModelSettings(model=str(folder), precision="fp32" if arithmetic == "float32" else "bf16"),
            scheduler=SchedulerSettings(max_num_seqs=batch, max_num_batched_tokens=2048),
            server=ServerSettings(max_choices=batch),
        )
        self._session = Session(settings, lambda *_: None)

    def __enter__(self) -> Self:
        """Start the engine."""
        self._session.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the engine."""
        self._session.close()

    def answer(self, prompts: Sequence[str]) -> list[str]:
        """See `Examinee.answer`."""
        tokens: list[list[int]] = [[] for _ in prompts]
        encoded = [self._tokenizer.encode(prompt, add_special_tokens=False).ids for prompt in prompts]
        request = GenerationRequest(
            request_id=uuid.uuid4().hex,
            model=self._session.model.names[0],
            prompts=tuple(TokensPrompt(token_ids=tuple(ids)) for ids in encoded),
            sampling=SamplingParams(seed=0, temperature=0.0, max_tokens=MAX_NEW_TOKENS),
        )
        for chunk in self._session.generate(request):
            if isinstance(chunk, Delta):
                tokens[chunk.index] += chunk.token_ids
        texts = self._tokenizer.decode_batch(tokens, skip_special_tokens=False)
        return [text.partition(END)[0] for text in texts]
