"""What integers cost in quality: the bundled model in each precision beside itself in fp32, on its held-out data.

Perplexity, KL divergence, top-1 agreement and logit error by the decoder that serves; accuracy through a whole engine,
answering greedily. With --random the same on a random checkpoint of a shape, on its calibration-like text, no accuracy.
"""

import argparse
import math
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from benchmarks.machine import describe, make_checkpoint, write
from tidemill.config.settings import ModelSettings, Precision, SchedulerSettings, ServerSettings, Settings
from tidemill.core.requests import Delta, GenerationRequest, SamplingParams, TokensPrompt
from tidemill.kernels.backend import choose_backend
from tidemill.models.decoder import Decoder
from tidemill.models.quantization.trial import hidden_states
from tidemill.models.spec import ModelSpec, load_spec
from tidemill.runner.devices import cpu_flags, has_fast_bf16
from tidemill.runner.precision import plan_precision
from tidemill.runner.weight_loading import LoadedWeights, WeightLoading
from tidemill.runtime.session import Session

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8", "int4")
CPU = torch.device("cpu")
SEED = 11
UNIT = 16
MAX_NEW_TOKENS = 160


@dataclass(frozen=True)
class Text:
    """Tokens, and the positions whose next token counts."""

    token_ids: list[int]
    positions: torch.Tensor


@dataclass
class Sums:
    """What is added up over texts."""

    nats: float = 0.0
    divergence: float = 0.0
    agreed: float = 0.0
    square: float = 0.0
    size: float = 0.0
    count: int = 0

    def add(self, logits: torch.Tensor, reference: torch.Tensor, targets: torch.Tensor) -> None:
        log, wanted = logits.log_softmax(-1), reference.log_softmax(-1)
        centred = reference - reference.mean(-1, keepdim=True)
        self.nats -= float(log.gather(1, targets[:, None]).sum())
        self.divergence += float((wanted.exp() * (wanted - log)).sum())
        self.agreed += float((logits.argmax(-1) == reference.argmax(-1)).sum())
        self.square += float((logits - logits.mean(-1, keepdim=True) - centred).square().sum())
        self.size += float(centred.square().sum())
        self.count += len(targets)

    def results(self) -> dict[str, float]:
        return {
            "perplexity": round(math.exp(self.nats / self.count), 5),
            "kl_nats": round(self.divergence / self.count, 6),
            "top1_agreement_percent": round(100 * self.agreed / self.count, 3),
            "logit_error_percent": round(100 * math.sqrt(self.square / self.size), 3),
        }


def load(folder: Path, precision: Precision) -> tuple[ModelSpec, LoadedWeights]:
    """The decoder as an engine loads it."""
    spec, kernels, fast = load_spec(folder), choose_backend(CPU), has_fast_bf16(CPU, cpu_flags())
    loading = WeightLoading(
        folder=folder,
        spec=spec,
        settings=ModelSettings(precision=precision, packed_cache_bytes=0),
        device=CPU,
        kernels=kernels,
        has_fast_bf16=fast,
        max_model_len=min(2048, spec.max_position_embeddings),
        available_bytes=None,
        progress=lambda *_: None,
        on_layer=None,
    )
    plan = plan_precision(
        precision, spec, device=CPU, has_fast_bf16=fast, integer_path=lambda: None, available_bytes=None
    )
    return spec, loading.load(plan)


def logits_of(decoder: Decoder, spec: ModelSpec, text: Text, dtype: torch.dtype) -> torch.Tensor:
    """(positions, vocab) float32."""
    padded = text.token_ids + [0] * (-len(text.token_ids) % UNIT)
    hidden = hidden_states(decoder, spec, padded, dtype)[text.positions]
    rows = torch.nn.functional.pad(hidden, (0, 0, 0, -hidden.shape[0] % UNIT))
    return decoder.logits(rows)[: len(text.positions)]


def held_out(folder: Path, count: int) -> list[Text]:
    """Conversations that training never saw; the assistant's tokens count."""
    from training.batches import step_samples
    from training.world import Split

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = []
    for split in (Split.NEW_NAMES, Split.NEW_TEMPLATES):
        for sample in step_samples(tokenizer, SEED, split, 0, count // 2, 1024):
            learnt = torch.tensor(sample.learn[1:]).nonzero()[:, 0]
            if len(learnt):
                texts.append(Text(list(sample.ids), learnt))
    return texts


def plain_texts(folder: Path, count: int) -> list[Text]:
    """Pieces of Python's own licence and documentation-like sources, for models without held-out data."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    source = Path(str(files("json"))) / "decoder.py"
    ids = tokenizer.encode(source.read_text(), add_special_tokens=False).ids
    length = 256
    pieces = [ids[start : start + length] for start in range(0, len(ids) - length, length)][:count]
    return [Text(piece, torch.arange(length - 1)) for piece in pieces]


def decoder_quality(folder: Path, texts: Sequence[Text]) -> dict[str, dict[str, Any]]:
    """Every precision beside fp32."""
    results: dict[str, dict[str, Any]] = {}
    references: list[torch.Tensor] = []
    for precision in PRECISIONS:
        started = time.perf_counter()
        spec, weights = load(folder, precision)
        loaded = time.perf_counter() - started
        sums = Sums()
        with torch.inference_mode():
            for index, text in enumerate(texts):
                logits = logits_of(weights.decoder, spec, text, weights.dtype)
                if precision == "fp32":
                    references.append(logits)
                sums.add(logits, references[index], torch.tensor(text.token_ids)[text.positions + 1])
        results[precision] = sums.results() | {"positions": sums.count, "load_seconds": round(loaded, 2)}
        if weights.quantization is not None:
            q = weights.quantization
            results[precision]["guard"] = {
                "formats": q.formats, "num_smoothed": q.num_smoothed, "worst_error_ratio": q.worst_error_ratio,
                "kl_nats": q.kl_nats, "top1_agreement_ratio": q.top1_agreement_ratio,
            }  # fmt: skip
    base = results["fp32"]["perplexity"]
    for result in results.values():
        result["perplexity_change_percent"] = round(100 * (result["perplexity"] / base - 1), 3)
    return results


def accuracy(folder: Path, precision: Precision, count: int) -> list[bool]:
    """Which of `count` questions a subject and split are answered right."""
    from training.examination import SUBJECTS, draw_questions, is_right
    from training.sample import END, prompt_of
    from training.world import Split

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    splits = (Split.NEW_NAMES, Split.NEW_TEMPLATES)
    questions = [q for split in splits for subject in SUBJECTS for q in draw_questions(SEED, split, subject, count)]
    batch = 64
    settings = Settings(
        model=ModelSettings(model=str(folder), precision=precision, packed_cache_bytes=0),
        scheduler=SchedulerSettings(max_num_seqs=batch, max_num_batched_tokens=1024, max_queue=4096),
        server=ServerSettings(max_choices=len(questions)),
    )
    tokens: list[list[int]] = [[] for _ in questions]
    with Session(settings, lambda *_: None) as session:
        prompts = [tokenizer.encode(prompt_of(q.sample), add_special_tokens=False).ids for q in questions]
        request = GenerationRequest(
            request_id=uuid.uuid4().hex,
            model=session.model.names[0],
            prompts=tuple(TokensPrompt(token_ids=tuple(ids)) for ids in prompts),
            sampling=SamplingParams(seed=0, temperature=0.0, max_tokens=MAX_NEW_TOKENS),
        )
        for chunk in session.generate(request):
            if isinstance(chunk, Delta):
                tokens[chunk.index] += chunk.token_ids
    answers = [text.partition(END)[0] for text in tokenizer.decode_batch(tokens, skip_special_tokens=False)]
    return [is_right(question, answer) for question, answer in zip(questions, answers, strict=True)]


def accuracy_figures(marks: Sequence[bool], base: Sequence[bool]) -> dict[str, Any]:
    """Percent right, and the change from `base`, the same questions in fp32, with its 95 % interval.

    Only questions that one of the two got wrong tell them apart: the variance is of paired marks (McNemar), so that a
    change is seen far more sharply than the two percentages are known. Agresti and Min's half is added to each kind.
    """
    count = len(marks)
    lost = sum(one and not other for one, other in zip(base, marks, strict=True))
    won = sum(other and not one for one, other in zip(base, marks, strict=True))
    b, c, n = won + 0.5, lost + 0.5, count + 2
    half = 1.96 * math.sqrt(b + c - (b - c) ** 2 / n) / n
    middle = (b - c) / n
    return {
        "accuracy_percent": round(100 * sum(marks) / count, 2),
        "questions": count,
        "lost": lost,
        "won": won,
        "accuracy_change_points": round(100 * (won - lost) / count, 2),
        "accuracy_change_interval_points": [round(100 * (middle - half), 2), round(100 * (middle + half), 2)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path(str(files("tidemill.bundled"))) / "minnow")
    parser.add_argument("--conversations", type=int, default=100)
    parser.add_argument("--questions", type=int, default=53, help="for each subject and split; 0 leaves accuracy out")
    parser.add_argument("--random", metavar="SHAPE", help="a random checkpoint of this shape instead, e.g. 115M")
    parser.add_argument("--checkpoints", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    started = time.perf_counter()
    folder = make_checkpoint(options.checkpoints, options.random) if options.random else options.model
    texts = plain_texts(folder, 8) if options.random else held_out(folder, options.conversations)
    results = decoder_quality(folder, texts)
    if options.questions and not options.random:
        base: list[bool] = []
        for precision in PRECISIONS:
            began = time.perf_counter()
            marks = accuracy(folder, precision, options.questions)
            base = base or marks
            results[precision] |= accuracy_figures(marks, base) | {"seconds": round(time.perf_counter() - began, 1)}
    result = {
        "machine": describe(),
        "model": options.random or "minnow",
        "seconds": round(time.perf_counter() - started, 1),
        "precisions": results,
    }
    write(result, options.out)


if __name__ == "__main__":
    main()
