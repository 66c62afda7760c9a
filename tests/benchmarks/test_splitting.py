"""Which documents of a benchmark tune, choose and report."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdm_tune.core.errors import InputError
from tests.benchmarks.test_task_benchmark import USES, load, numbers, question
from tests.support.local_tasks import SHOWN, settings, sums, write


def shows(prompt: str) -> set[str]:
    """The questions that a prompt shows solved."""
    return {part.partition(" A: is")[0].strip() for part in prompt.split("Q: ")[1:-1]}


@pytest.mark.parametrize("seed", range(3))
def test_no_example_is_shared_and_none_that_is_shown_tunes(folder: Path, seed: int) -> None:
    task = load(folder, "sums", seed, report=8)
    groups = {use: {numbers(example) for example in task.examples(use)} for use in USES}
    assert len(groups["tune"]) == len(groups["choose"]) == 8  # none twice
    official = {(each["a"], each["b"]) for each in sums(range(55, 80))}
    assert not groups["tune"] & groups["choose"] and not (groups["tune"] | groups["choose"]) & official
    assert {example.id.split("/")[1] for example in task.examples("tune")} == {"validation"}  # where enough
    shown = {text for use in USES for example in task.examples(use) for text in shows(example.prompt)}
    assert len(shown) >= 4
    assert not shown & {question(example) for use in USES for example in task.examples(use)}


def test_training_documents_join_where_validation_documents_are_too_few(folder: Path) -> None:
    task = load(folder, "sums", tune=20, choose=10, report=8)
    kinds = [example.id.split("/")[1] for use in ("tune", "choose") for example in task.examples(use)]
    assert {"validation", "train"} == set(kinds)
    shown = {text for use in USES for example in task.examples(use) for text in shows(example.prompt)}
    assert not shown & {question(example) for use in ("tune", "choose") for example in task.examples(use)}
    assert task.notes == (
        "sums: exact_match after filter first, 2 shots; reported on 8 official documents, tuned on 20 and chosen on 10 "
        f"of {25 + 30 - len(shown)} documents of sums that are neither reported nor shown solved",
    )


def test_the_seed_deals_and_the_report_stays(folder: Path) -> None:
    first, again, other = (load(folder, "sums", seed) for seed in (0, 0, 1))
    assert first.examples("tune") == again.examples("tune") != other.examples("tune")
    assert first.examples("report") == other.examples("report")
    assert first.fingerprint == other.fingerprint != load(folder, "sums", filter="last").fingerprint


def test_folds_are_the_whole_test_split(folder: Path) -> None:
    parts = [load(folder, "tested", seed=seed, folds=3, fold=seed, tune=10, choose=8) for seed in range(3)]
    ids = [[example.id for example in part.examples("report")] for part in parts]
    assert sorted(name for part in ids for name in part) == sorted(f"tested/test/{n}" for n in range(40))
    assert {len(part) for part in ids} == {13, 14}
    shown = {f"{each['a']} plus {each['b']}" for each in SHOWN}
    for part, own in zip(parts, ids, strict=True):
        dealt = [example for use in ("tune", "choose") for example in part.examples(use)]
        assert len({example.id for example in dealt}) == 18 and not {example.id for example in dealt} & set(own)
        assert not shown & {question(example) for example in dealt}
    assert "official documents, fold 2 of 3, tuned on 10" in parts[2].notes[0]


def test_folds_leave_out_what_their_own_prompts_show(folder: Path) -> None:
    """A task whose shots are test documents: those that a fold's prompts show solved do not tune."""
    task = load(folder, "own_shots", folds=5, fold=1)
    reported = task.examples("report")
    shown = {text for example in reported for text in shows(example.prompt)}
    assert len(shown) > 8
    dealt = [example for use in ("tune", "choose") for example in task.examples(use)]
    assert not shown & {question(example) for example in dealt}
    later = {text for example in dealt for text in shows(example.prompt)}
    assert not later & {question(example) for example in (*dealt, *reported)}


def test_another_task_tunes(folder: Path) -> None:
    task = load(folder, "again", tune={"task": "sums", "examples": 9})
    assert len(task.examples("report")) == 12 and len(task.examples("tune")) == 9
    dealt = [example for use in ("tune", "choose") for example in task.examples(use)]
    shown = {text for example in dealt for text in shows(example.prompt)}
    for example in dealt:
        assert example.id.startswith("sums/validation/") and example.prompt.endswith(f"Q: {question(example)} A: is")
        assert len(shows(example.prompt)) == 2 and question(example) not in shown
    official = {numbers(example) for example in task.examples("report")}  # 30 to 35 are validation documents of sums
    assert not official & {numbers(example) for example in dealt}
    assert task.until == ("Q:", "END") and "documents of sums that are neither" in task.notes[0]
    assert task.score(dealt[0], f" {dealt[0].record['answer']} END") == 1.0


def test_another_task_on_the_same_documents_does_not_tune_on_them(tmp_path: Path) -> None:
    write(tmp_path, "one", {"test": sums(range(20))}, **settings("plus"))
    write(tmp_path, "two", {"test": sums(range(40))}, **settings("and"))  # another prompt
    task = load(tmp_path, "one", tune={"task": "two", "examples": 10})
    official = {numbers(example) for example in task.examples("report")}
    assert not official & {numbers(example) for use in ("tune", "choose") for example in task.examples(use)}
    with pytest.raises(InputError, match="12 and 9 documents are wanted, task two has 20 after official documents, "):
        load(tmp_path, "one", tune={"task": "two", "examples": 12}, choose=9)


def test_tasks_of_a_group_count_alike_where_the_group_says_so(folder: Path) -> None:
    even, sized = load(folder, "alike"), load(folder, "by_size")
    report = even.examples("report")
    assert len(report) == 37 and report == sized.examples("report")
    right = [str(example.record["answer"]) if example.id.startswith("again") else "" for example in report]
    assert float(even.scores(report, right).mean()) == pytest.approx(1 / 2)
    assert float(sized.scores(report, right).mean()) == pytest.approx(12 / 37)
    assert sized.bounds == (0.0, 1.0)
    assert even.bounds is not None and even.bounds[1] >= even.scores(report, right).max() > 1
