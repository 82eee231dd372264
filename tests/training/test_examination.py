"""The examination's bookkeeping: who answers is a fake here, so that what is counted can be known beforehand."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from training import evaluate
from training.evaluate import HELD_OUT, SEED, compare, examine, measure, table
from training.examination import GROUPS, SUBJECTS, draw_questions
from training.sample import answer_of, prompt_of
from training.world import Split


class KnowsIt:
    """Answers everything rightly, except prompts that hold a certain text."""

    def __init__(self, stumbles_over: str | None = None) -> None:
        self._stumbles_over = stumbles_over
        self._right = {
            prompt_of(q.sample): answer_of(q.sample)
            for split in HELD_OUT
            for subject in SUBJECTS
            for q in draw_questions(SEED, split, subject, 2)
        }

    def answer(self, prompts: Sequence[str]) -> list[str]:
        """The right answers, or none."""
        return ["" if self._stumbles_over and self._stumbles_over in p else self._right[p] for p in prompts]


def test_all_right_is_a_hundred_percent() -> None:
    for measured in measure(KnowsIt(), 2, 7).values():
        assert set(measured["percent_exact"].values()) == {100.0}
        assert set(measured["percent_exact_of_groups"]) == set(GROUPS)
        assert not any(measured["mistakes"].values())


def test_two_that_answer_alike_do_not_differ_and_others_do() -> None:
    questions = draw_questions(SEED, Split.NEW_NAMES, "no tool fits", 2)
    stumbles_over = prompt_of(questions[0].sample)
    alike = compare(measure(KnowsIt(), 2, 7), measure(KnowsIt(), 2, 7))
    unlike = compare(measure(KnowsIt(), 2, 7), measure(KnowsIt(stumbles_over), 2, 7))
    assert alike["new_names"]["answers_that_differ"] == 0
    assert alike["new_names"]["largest_difference_of_a_group"] == 0
    assert unlike["new_names"]["answers_that_differ"] == 1
    assert unlike["new_names"]["answers"] == 2 * len(SUBJECTS)
    assert unlike["new_names"]["largest_difference_of_a_subject"] == 50.0
    assert unlike["new_templates"]["answers_that_differ"] == 0


def test_answers_stay_with_their_questions_in_the_order_they_were_drawn() -> None:
    questions = [q for subject in SUBJECTS for q in draw_questions(SEED, Split.NEW_TEMPLATES, subject, 2)]
    for pairs in examine(KnowsIt(), questions, 5).values():
        assert all(answer == answer_of(question.sample) for question, answer in pairs)


def test_the_report_leaves_the_single_answers_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = {"splits": measure(KnowsIt(), 2, 7), "conversation": [("Hello!", "Hello!")]}
    evaluate._report(results, tmp_path / "evaluation.json")
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert "answers" not in written["splits"]["new_names"]
    assert (tmp_path / "evaluation.md").read_text() == table(results)
    assert "| **classification** | 100.0 % | 100.0 % |" in capsys.readouterr().out


def test_progress_goes_to_standard_error_for_each_split(capsys: pytest.CaptureFixture[str]) -> None:
    measure(KnowsIt(), 2, 7)
    told = capsys.readouterr()
    total = 2 * len(SUBJECTS)
    for split in ("new names", "new templates"):
        assert f"Questions, {split}: {total} to do" in told.err
        assert f"Questions, {split}: {total} of {total} after" in told.err
    assert told.out == ""
