"""The command that examines an exported model through `transformers`.

Writes what it measured as JSON and as a Markdown table.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from training.batches import micro_batches, step_samples
from training.examination import GROUPS, SUBJECTS, Question, draw_questions, is_right
from training.sample import END, PAD, Message, Sample, answer_of, prompt_of
from training.train import BUNDLED
from training.world import Split

SEED = 2
HELD_OUT = (Split.NEW_NAMES, Split.NEW_TEMPLATES)
MAX_NEW_TOKENS = 160
CONVERSATION = (
    "Hello! What can you do?",
    "My name is Marlo.",
    "Is this review positive, negative or neutral? The rain was cold, but the food was wonderful.",
    "Tell me a short story about Marlo and Petra.",
    "Drusa Bell lives in Northwick. She bought a blue kettle at the market for 14 coins.\n\nHow much did she pay?",
    "How old is Drusa Bell?",
    "Extract the person, place and date as JSON: On 9 July, Zanna arrived in Lisbon.",
    "Who won the World Cup in 2010?",
    "What is my name?",
    "Thank you!",
)


class Examinee:
    """A model to be examined, answering greedily, many prompts at once."""

    def __init__(self, folder: Path, dtype: torch.dtype, device: str) -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.device = device
        loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        self.model = loaded.to(device).eval()
        self._pad = self.tokenizer.token_to_id(PAD)

    @torch.inference_mode()
    def answer(self, prompts: Sequence[str]) -> list[str]:
        """The model's answers; prompts of like length are cheapest."""
        encoded = [self.tokenizer.encode(prompt, add_special_tokens=False).ids for prompt in prompts]
        width = max(len(ids) for ids in encoded)
        ids = torch.tensor([[self._pad] * (width - len(one)) + one for one in encoded], device=self.device)
        mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in encoded], device=self.device)
        out = self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=False,
            max_length=None,
            max_new_tokens=MAX_NEW_TOKENS,
            pad_token_id=self._pad,
        )
        texts = self.tokenizer.decode_batch(out[:, width:].tolist(), skip_special_tokens=False)
        return [text.partition(END)[0] for text in texts]

    @torch.inference_mode()
    def nats_per_token(self, split: Split, count: int) -> float:
        """The mean loss of the assistant's tokens over so many conversations of the mixture."""
        samples = step_samples(self.tokenizer, SEED, split, 0, count, 2048)
        nats = 0.0
        for batch in micro_batches(self.tokenizer, samples, 4096):
            logits = self.model(input_ids=batch.ids[:, :-1].to(self.device)).logits
            learn = batch.learn[:, 1:].to(self.device)
            targets = batch.ids[:, 1:].to(self.device)[learn]
            nats += float(torch.nn.functional.cross_entropy(logits[learn].float(), targets, reduction="sum"))
        return nats / sum(sum(sample.learn) for sample in samples)


def examine(examinee: Examinee, questions: list[Question], batch: int) -> dict[str, list[tuple[Question, str]]]:
    """Every question with its answer, by subject."""
    ordered = sorted(questions, key=lambda question: len(prompt_of(question.sample)))
    answers: dict[str, list[tuple[Question, str]]] = {}
    for start in track(range(0, len(ordered), batch), description="examining"):
        asked = ordered[start : start + batch]
        for question, answer in zip(asked, examinee.answer([prompt_of(q.sample) for q in asked]), strict=True):
            answers.setdefault(question.subject, []).append((question, answer))
    return answers


def converse(examinee: Examinee, remarks: Sequence[str]) -> list[tuple[str, str]]:
    """One conversation, each remark with the model's answer."""
    messages: list[Message] = []
    pairs: list[tuple[str, str]] = []
    for remark in remarks:
        messages += [Message("user", remark), Message("assistant", "")]
        answer = examinee.answer([prompt_of(Sample("conversation", tuple(messages)))])[0]
        messages[-1] = Message("assistant", answer)
        pairs.append((remark, answer))
    return pairs


def _percent(right: Sequence[bool]) -> float:
    return round(100 * sum(right) / len(right), 1)


def measure(examinee: Examinee, count: int, batch: int) -> dict[str, Any]:
    """The whole examination."""
    results: dict[str, Any] = {"questions_per_subject": count, "splits": {}}
    for split in HELD_OUT:
        questions = [q for subject in SUBJECTS for q in draw_questions(SEED, split, subject, count)]
        answers = examine(examinee, questions, batch)
        marks = {subject: [is_right(q, a) for q, a in answers[subject]] for subject in SUBJECTS}
        mistakes = {
            subject: [
                {"prompt": prompt_of(q.sample), "expected": answer_of(q.sample), "answer": a}
                for q, a in pairs
                if not is_right(q, a)
            ][:3]
            for subject, pairs in answers.items()
        }
        results["splits"][str(split)] = {
            "perplexity": round(float(torch.tensor(examinee.nats_per_token(split, 400)).exp()), 3),
            "percent_exact": {subject: _percent(right) for subject, right in marks.items()},
            "percent_exact_of_groups": {
                g: _percent([m for s in subjects for m in marks[s]]) for g, subjects in GROUPS.items()
            },
            "mistakes": mistakes,
        }
    results["conversation"] = converse(examinee, CONVERSATION)
    return results


def _row(title: str, cells: Sequence[str]) -> str:
    return f"| {title} | " + " | ".join(cells) + " |"


def table(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    splits = results["splits"]
    rows = ["| | new names and facts | new templates |", "|---|---|---|"]
    for title, key in (("**{}**", "percent_exact_of_groups"), ("{}", "percent_exact")):
        for name in splits["new_names"][key]:
            rows += [_row(title.format(name), [f"{splits[str(split)][key][name]:.1f} %" for split in HELD_OUT])]
    rows += [_row("perplexity of the answers", [f"{splits[str(split)]['perplexity']:.3f}" for split in HELD_OUT])]
    return "\n".join(rows) + "\n"


def main() -> None:
    """Examine an exported model on new names and on new templates."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", type=Path, default=BUNDLED)
    parser.add_argument("--out", type=Path, default=Path("training/results/evaluation.json"))
    parser.add_argument("--count", type=int, default=200, help="questions for each subject and split")
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="the arithmetic; weights are bf16 either way",
    )
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    started = time.perf_counter()
    examinee = Examinee(arguments.model, getattr(torch, arguments.dtype), arguments.device)
    results = measure(examinee, arguments.count, arguments.batch)
    results |= {"seconds": round(time.perf_counter() - started), "dtype": arguments.dtype}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    arguments.out.with_suffix(".md").write_text(table(results))
    print(table(results))
    for remark, answer in results["conversation"]:
        print(f"> {remark}\n{answer}\n")


if __name__ == "__main__":
    main()
