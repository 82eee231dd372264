"""The command that examines an exported model, through `transformers`, through Tidemill's engine, or through both.

Writes what it measured as JSON and as a Markdown table.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from training.examination import GROUPS, SUBJECTS, Question, draw_questions, is_right
from training.examinees import Examinee, ThroughTidemill, ThroughTransformers
from training.progress import told
from training.sample import Message, Sample, answer_of, prompt_of
from training.train import BUNDLED
from training.world import Split

SEED = 7
HELD_OUT = (Split.NEW_NAMES, Split.NEW_TEMPLATES)
MISTAKES_SHOWN = 3
PERPLEXITY_CONVERSATIONS = 400
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


def examine(
    examinee: Examinee, questions: list[Question], batch: int, what: str = "Questions"
) -> dict[str, list[tuple[Question, str]]]:
    """Every question with its answer, by subject; `what` is what progress is told of."""
    ordered = sorted(questions, key=lambda question: len(prompt_of(question.sample)))
    batches = [ordered[start : start + batch] for start in range(0, len(ordered), batch)]
    answers: dict[str, list[tuple[Question, str]]] = {}
    for asked in told(batches, what, out=sys.stderr, clock=time.perf_counter):
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


def _mistakes(answers: list[tuple[Question, str]]) -> list[dict[str, str]]:
    wrong = [(q, a) for q, a in answers if not is_right(q, a)]
    return [
        {"prompt": prompt_of(q.sample), "expected": answer_of(q.sample), "answer": a} for q, a in wrong[:MISTAKES_SHOWN]
    ]


def measure(examinee: Examinee, count: int, batch: int) -> dict[str, Any]:
    """The whole examination: by split, the share of exact answers, the first mistakes, and every answer."""
    splits: dict[str, Any] = {}
    for split in HELD_OUT:
        questions = [q for subject in SUBJECTS for q in draw_questions(SEED, split, subject, count)]
        answers = examine(examinee, questions, batch, f"Questions, {split.replace('_', ' ')}")
        marks = {subject: [is_right(q, a) for q, a in answers[subject]] for subject in SUBJECTS}
        splits[str(split)] = {
            "percent_exact": {subject: _percent(right) for subject, right in marks.items()},
            "percent_exact_of_groups": {
                g: _percent([m for s in subjects for m in marks[s]]) for g, subjects in GROUPS.items()
            },
            "mistakes": {subject: _mistakes(pairs) for subject, pairs in answers.items()},
            "answers": {subject: [a for _, a in answers[subject]] for subject in SUBJECTS},
        }
    return splits


def compare(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Two measurements of the same questions side by side; takes their `answers` out."""
    compared: dict[str, Any] = {}
    for split, measured in one.items():
        pairs = [
            pair
            for subject, answers in measured.pop("answers").items()
            for pair in zip(answers, other[split]["answers"][subject], strict=True)
        ]
        scores = {"one": measured["percent_exact_of_groups"], "other": other[split]["percent_exact_of_groups"]}
        subjects = [(measured["percent_exact"][s], other[split]["percent_exact"][s]) for s in SUBJECTS]
        compared[split] = {
            "percent_exact_of_groups_through_tidemill": scores["other"],
            "percent_exact_through_tidemill": other[split]["percent_exact"],
            "largest_difference_of_a_group": round(max(abs(scores["one"][g] - scores["other"][g]) for g in GROUPS), 1),
            "largest_difference_of_a_subject": round(max(abs(a - b) for a, b in subjects), 1),
            "difference_over_all": round(abs(sum(a - b for a, b in subjects)) / len(subjects), 2),
            "answers": len(pairs),
            "answers_that_differ": sum(a != b for a, b in pairs),
        }
    return compared


def _row(title: str, cells: Sequence[str]) -> str:
    return f"| {title} | " + " | ".join(cells) + " |"


def table(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    splits = results["splits"]
    rows = ["| | new names and facts | new templates |", "|---|---|---|"]
    for title, key in (("**{}**", "percent_exact_of_groups"), ("{}", "percent_exact")):
        for name in splits["new_names"][key]:
            rows += [_row(title.format(name), [f"{splits[str(split)][key][name]:.1f} %" for split in HELD_OUT])]
    if all("perplexity" in splits[str(split)] for split in HELD_OUT):
        rows += [_row("perplexity of the answers", [f"{splits[str(split)]['perplexity']:.3f}" for split in HELD_OUT])]
    return "\n".join(rows) + "\n"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", type=Path, default=BUNDLED)
    parser.add_argument("--out", type=Path, default=Path("training/results/evaluation.json"))
    parser.add_argument("--count", type=int, default=200, help="questions for each subject and split; 200 take minutes")
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--through",
        choices=("transformers", "tidemill", "both"),
        default="transformers",
        help="who computes; `both` compares the answers to the same questions",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="the arithmetic; weights are bf16 either way",
    )
    parser.add_argument("--device", default="cpu", help="of transformers; Tidemill computes on the CPU")
    options = parser.parse_args()
    if options.out.is_dir():
        parser.error(f"--out names a file to write, and {options.out} is a folder")
    return options


def _through_transformers(options: argparse.Namespace) -> dict[str, Any]:
    examinee = ThroughTransformers(options.model, options.dtype, options.device)
    splits = measure(examinee, options.count, options.batch)
    for split in HELD_OUT:
        nats = examinee.nats_per_token(SEED, split, PERPLEXITY_CONVERSATIONS)
        splits[str(split)]["perplexity"] = round(math.exp(nats), 3)
    return {"splits": splits, "conversation": converse(examinee, CONVERSATION)}


def _through_tidemill(options: argparse.Namespace) -> dict[str, Any]:
    with ThroughTidemill(options.model, options.dtype, options.batch) as examinee:
        return {
            "splits": measure(examinee, options.count, options.batch),
            "conversation": converse(examinee, CONVERSATION),
        }


def _report(results: dict[str, Any], out: Path) -> None:
    for measured in results["splits"].values():
        measured.pop("answers", None)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    out.with_suffix(".md").write_text(table(results))
    print(table(results))
    for remark, answer in results["conversation"]:
        print(f"> {remark}\n{answer}\n")
    if "comparison" in results:
        print(json.dumps(results["comparison"], indent=1))


def main() -> None:
    """Examine an exported model on new names and on new templates."""
    options = _options()
    torch.set_num_threads(options.threads)
    started = time.perf_counter()
    results: dict[str, Any] = {"questions_per_subject": options.count, "through": options.through}
    if options.through != "tidemill":
        results |= _through_transformers(options)
    if options.through != "transformers":
        own = _through_tidemill(options)
        if options.through == "both":
            results["comparison"] = compare(results["splits"], own["splits"])
            results["same_conversation"] = results["conversation"] == own["conversation"]
        else:
            results |= own
    results |= {"seconds": round(time.perf_counter() - started), "dtype": options.dtype}
    _report(results, options.out)


if __name__ == "__main__":
    main()
