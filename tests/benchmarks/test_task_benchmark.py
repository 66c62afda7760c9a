"""Tasks of lm-evaluation-harness against the harness itself: prompts, scores, splits, and what is refused.

Covers: benchmark, harness, single_task.
"""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from mdm_tune.benchmarks import harness
from mdm_tune.benchmarks.splitting import Use
from mdm_tune.benchmarks.task_benchmark import HarnessBenchmark, before_stop, load_harness_benchmark
from mdm_tune.config.tasks import LmEvalDatasetConfig
from mdm_tune.core.errors import InputError, RunError
from mdm_tune.datasets.examples import Example
from tests.datasets.test_readers import Chatty
from tests.support.local_tasks import ended, harness_result, settings, shipped, sums, write

USES: tuple[Use, ...] = ("tune", "choose", "report")


def load(folder: Path, name: str, seed: int = 0, trust: bool = True, **given: Any) -> HarnessBenchmark:
    sizes = {"type": "lm-eval", "task": name, "tune": 8, "choose": 8, "generation_length": 8}
    config = LmEvalDatasetConfig.model_validate({**sizes, "include_path": str(folder), **given})
    return load_harness_benchmark(config, Chatty(), seed, trust)


def scripted(fields: Mapping[str, Any], prompt: str) -> str:
    """Right and wrong answers of many forms, the same for equal prompts."""
    right = str(fields["answer"])
    forms = [
        f" {right}",
        f"{right} END 999",
        f"12 then {right}",
        f" {right} or 7",
        "no number",
        "",
        f" {right} Q: 4",
        ",".join(right),
    ]
    return forms[zlib.crc32(prompt.encode()) % len(forms)]


def logged(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By the id of a document: the harness's prompt, and its score by filter."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, samples in result["samples"].items():
        for sample in samples:
            entry = found[f"{name}/test/{sample['doc_id']}"]
            entry["prompt"] = sample["arguments"][0][0]
            entry[sample["filter"]] = float(sample[sample["metrics"][0]])
    return found


def answered(task: HarnessBenchmark, examples: tuple[Example, ...]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return task.scores(examples, [scripted(example.record, example.prompt) for example in examples])


def numbers(example: Example) -> tuple[Any, Any]:
    return example.record["a"], example.record["b"]


# --- as the harness does it -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("sums", "first"),
        ("sums", "last"),
        ("again", "first"),
        ("begun", "last"),
        ("own_shots", "first"),
        ("by_size", "last"),
        ("alike", "last"),
    ],
)
def test_prompts_and_scores_are_those_of_the_harness(folder: Path, name: str, kept: str) -> None:
    folds = {"own_shots": 4, "begun": 2}.get(name)
    sections = [{}] if folds is None else [{"folds": folds, "fold": fold} for fold in range(folds)]
    parts = [load(folder, name, filter=kept, **section) for section in sections]
    result = harness_result(folder, name, scripted)
    theirs = logged(result)
    found = [example for part in parts for example in part.examples("report")]
    assert {example.id for example in found} == set(theirs) and len(found) == len(theirs)  # the whole test split
    assert {example.id: example.prompt for example in found} == {key: each["prompt"] for key, each in theirs.items()}
    for part in parts:
        for example in part.examples("report"):
            answer = scripted(example.record, example.prompt)
            assert part.score(example, answer) == theirs[example.id][kept], (example.id, answer)
    if folds is None:
        mean = float(answered(parts[0], parts[0].examples("report")).mean())
        assert 0.2 < mean < 0.9 and mean == pytest.approx(float(result["results"][name][f"exact_match,{kept}"]))
    assert parts[0].metric == "exact_match" and parts[0].direction == "maximize" and parts[0].filter == kept


def test_the_first_documents_are_those_of_the_harness_with_a_limit(folder: Path) -> None:
    found = load(folder, "sums", report=9).examples("report")
    theirs = logged(harness_result(folder, "sums", scripted, limit=9))
    assert {each.id: each.prompt for each in found} == {key: each["prompt"] for key, each in theirs.items()}
    assert len(found) == 9


@pytest.mark.parametrize(("name", "multiturn"), [("sums", True), ("sums", False), ("begun", True)])
def test_chats_are_those_of_the_harness(folder: Path, name: str, multiturn: bool) -> None:
    folds: dict[str, Any] = {"folds": 2, "fold": 0} if name == "begun" else {}
    task = load(folder, name, chat=True, system="Be brief.", multiturn=multiturn, prefix="<s>", **folds)
    options = {"apply_chat_template": True, "system_instruction": "Be brief.", "fewshot_as_multiturn": multiturn}
    theirs = logged(harness_result(folder, name, scripted, **options))
    for example in task.examples("report"):
        expected = theirs[example.id]["prompt"]
        if name == "begun":  # what the answer begins with follows the assistant's header, as templates have it
            assert expected.endswith("<assistant>the answer is")
        assert example.prompt == "<s>" + expected
    assert "<system>Be brief." in task.examples("tune")[0].prompt


def test_another_number_of_shots(folder: Path) -> None:
    found = load(folder, "sums", shots=3).examples("report")
    theirs = logged(harness_result(folder, "sums", scripted, num_fewshot=3))
    assert {each.id: each.prompt for each in found} == {key: each["prompt"] for key, each in theirs.items()}
    assert found[0].prompt.count("A: is") == 4


@pytest.mark.parametrize(
    ("name", "given", "there"),
    [
        ("sums", {"shots": 31}, 30),
        ("tested", {"shots": 5, "folds": 2, "fold": 0}, 4),
        ("own_shots", {"shots": 100, "folds": 2, "fold": 0}, 81),
    ],
)
def test_more_shots_than_documents(folder: Path, name: str, given: dict[str, Any], there: int) -> None:
    shots = given["shots"]
    with pytest.raises(InputError, match=rf"test/0 after {shots} solved ones, with {there} documents .*dataset\.shots"):
        load(folder, name, **given)


# --- what the harness ships -----------------------------------------------------------------------


def gsm8k(n: int) -> dict[str, str]:
    asked = f"Ada has {n + 4} apples and eats {n // 2}. How many are left?"
    return {"question": asked, "answer": f"She eats some of them.\n#### {n + 4 - n // 2}"}


def math(n: int) -> dict[str, str]:
    return {"problem": f"What is ${n}+1$?", "solution": f"It is $\\boxed{{{n + 1}}}$.", "level": "1", "type": "Algebra"}


def bbh(n: int) -> dict[str, str]:
    return {"input": f"not ( True ) and {n} is", "target": "True" if n % 3 else "False"}


SHIPPED = {
    "gsm8k": ("gsm8k/gsm8k.yaml", gsm8k, {"train": range(12, 120), "test": range(12)}),
    "minerva": ("minerva_math/minerva_math_algebra.yaml", math, {"train": range(24), "test": range(24, 40)}),
    "hendrycks": ("hendrycks_math/hendrycks_math_algebra.yaml", math, {"train": range(24), "test": range(24, 40)}),
    "bbh": ("bbh/cot_fewshot/boolean_expressions.yaml", bbh, {"test": range(40)}),
}


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The harness's own definitions on documents of the same form that are here, as its message recommends."""
    place = tmp_path_factory.mktemp("shipped")
    for name, (file, document, splits) in SHIPPED.items():
        documents = {split: [document(n) for n in numbers] for split, numbers in splits.items()}
        write(place, f"{name}_here", documents, include=shipped(file))
        task = yaml.safe_load((place / f"{name}_here.yaml").read_text(encoding="utf-8"))
        (place / f"{name}_here.yaml").write_text(yaml.safe_dump({**task, "dataset_name": None}), encoding="utf-8")
    return place


def of_their_form(name: str) -> Any:
    """Answers such as a model gives in the style of a benchmark's shots, right and wrong."""

    def answer(fields: Mapping[str, Any], prompt: str) -> str:
        form = zlib.crc32(prompt.encode()) % 4
        if name == "gsm8k":
            right = fields["answer"].split("#### ")[1]
            return [f" So.\n#### {right}", f" It is ${right}.00", f" #### {right}\n\nQuestion: #### 1", " #### 77"][
                form
            ]
        if name == "bbh":
            return [f"So the answer is {fields['target']}.", "So the answer is maybe.", "True", "Q"][form]
        right = fields["answer"]
        final = f" Final Answer: The final answer is ${right}$. I hope it is correct."
        return [final, f" ${right}$", f" ${right}0$", f"{final}\n\nProblem: 2"][form]

    return answer


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_definitions_on_documents_that_are_here(copies: Path, name: str) -> None:
    folds: dict[str, Any] = {"folds": 2, "fold": 0} if name == "bbh" else {}
    task = load(copies, f"{name}_here", generation_length=256, **folds)
    result = harness_result(copies, f"{name}_here", of_their_form(name))
    theirs, seen = logged(result), set()
    report = task.examples("report")
    assert len(report) == {"gsm8k": 12, "bbh": 20}.get(name, 16)
    for example in report:
        assert example.prompt == theirs[example.id]["prompt"]
        answer = of_their_form(name)(example.record, example.prompt)
        value = task.score(example, answer)
        assert value == theirs[example.id][task.filter], (example.id, answer)
        seen.add(value)
    assert seen == {0.0, 1.0} and task.metric == "exact_match"
    expected = {
        "gsm8k": ("strict-match", 5),
        "bbh": ("get-answer", 3),
        "minerva": ("none", 4),
        "hendrycks": ("none", 0),
    }
    assert task.filter == expected[name][0] and f"{expected[name][1]} shots" in task.notes[0]
    references = [example.answer for example in task.examples("tune")]
    assert (references[0] is None) == (name in ("bbh", "minerva")) == (len(task.notes) == 2)


@pytest.mark.parametrize(
    "name", ["gsm8k", "minerva_math", "hendrycks_math", "bbh", "bbh_cot_fewshot", "bbh_cot_zeroshot"]
)
def test_shipped_tasks_whose_documents_cannot_be_reached(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They pass the checks of their kind; a machine that has their documents in its cache sees them as elsewhere."""
    import datasets

    def unreachable(*given: Any, **more: Any) -> Any:
        raise ConnectionError(f"Couldn't reach '{given[0] if given else more['path']}' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(InputError) as caught:
        load(Path(), name, include_path=None)
    text = str(caught.value)
    assert text.startswith(f"dataset.task: {name} cannot be loaded: Couldn't reach '") and "\n" not in text
    source = {"g": "openai/gsm8k", "m": "EleutherAI/hendrycks_math", "h": "EleutherAI/hendrycks_math"}
    assert f"it reads the data set {source.get(name[0], 'SaylorTwift/bbh')}: " in text
    assert "the folder that HF_HOME names" in text and "dataset.include_path" in text


def test_the_index_of_shipped_tasks_is_made_only_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def entry(**settings: Any) -> SimpleNamespace:
        return SimpleNamespace(cfg=settings, kind=SimpleNamespace(name="TASK"), tags=())

    mine = {"one": entry(task="one"), "own": entry(task=["one"]), "mixed": entry(task=["one", "shipped"])}
    made: list[tuple[str | None, bool]] = []

    def manager(include_path: str | None, defaults: bool) -> SimpleNamespace:
        made.append((include_path, defaults))
        index = (mine if include_path else {}) | ({"shipped": entry(task="shipped")} if defaults else {})
        return SimpleNamespace(task_index=index, all_tasks=list(index), known=(include_path, defaults))

    monkeypatch.setattr(harness, "_manager", manager)
    for name, known in (("one", False), ("own", False), ("mixed", True)):
        assert harness._manager_with(name, "folder").known == ("folder", known)
    assert harness._manager_with("shipped", "folder").known == (None, True)
    assert made.count(("folder", True)) == 1
    with pytest.raises(InputError, match=r"there is no task 'owm' in .* or in folder; did you mean own"):
        harness._manager_with("owm", "folder")


# --- what tunes, chooses and reports --------------------------------------------------------------


def question(example: Example, word: str = "plus") -> str:
    return f"{example.record['a']} {word} {example.record['b']}"


# --- answers and references -----------------------------------------------------------------------


def test_references_are_answers_where_the_task_calls_them_right(folder: Path) -> None:
    task = load(folder, "sums")
    for use in USES:
        for example in task.examples(use):
            assert example.answer == f" {example.record['answer']}" and task.score(example, example.answer) == 1.0
    poor = load(folder, "poor")
    assert all(example.answer is None for use in USES for example in poor.examples(use))
    assert poor.notes[1].endswith("a profile needs profile.answers: model")
    begun = load(folder, "begun", folds=2, fold=0).examples("tune")[0]
    assert begun.prompt.endswith("A: is the answer is") and begun.answer == f" {begun.record['answer']}"


@pytest.mark.parametrize("text", ["", "7 Q: 8", " 7END", "Q:", "END Q:", "7"])
def test_answers_end_as_in_the_harness(text: str) -> None:
    assert before_stop(text, ("Q:", "END")) == ended(text, ["Q:", "END"])


def test_a_text_that_ends_at_nothing_is_ignored(tmp_path: Path) -> None:
    kwargs = {"generation_kwargs": {"until": ["", "END"]}}
    write(tmp_path, "blank", {"test": sums(range(9)), "train": sums(range(9, 30))}, **settings("plus", **kwargs))
    task = load(tmp_path, "blank")
    assert task.until == ("END",) and task.score(task.examples("report")[0], " 0 END") == 1.0


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": "sum"}, r"there is no task 'sum' in lm-evaluation-harness or in .*did you mean .*sums.*include_path"),
        ({"task": "tested"}, r"tested has test documents only.*dataset\.tune: \{task: NAME.*dataset\.folds: 5"),
        ({"tune": 60}, "60 and 8 documents are wanted, task sums has .* left out; lower them"),
        ({"metric": "f1"}, "dataset.metric: task sums has exact_match, got 'f1'; choose one"),
        ({"filter": "middle"}, "dataset.filter: task sums has first, last, got 'middle'; choose one"),
        ({"task": "again", "shots": 2}, "dataset.shots: task again is defined without solved documents"),
        ({"include_path": "/nowhere"}, "dataset.include_path: there is no folder /nowhere"),
        ({"task": "humaneval"}, "task humaneval executes generated programs inside the process that scores them"),
        ({"task": "mmlu"}, "is of output type multiple_choice, got no text to fill in"),
        ({"tune": {"task": "mmlu", "examples": 8}}, "is of output type multiple_choice, got no text to fill in"),
        ({"task": "squadv2"}, "is Python code of its own, got no text to fill in"),
    ],
)
def test_what_cannot_be_used_is_named(folder: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(folder, given.pop("task", "sums"), **given)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"repeats": 3}, "wants 3 answers to each question"),
        ({"doc_to_image": "a"}, "asks about images or sound"),
        ({"output_type": "loglikelihood"}, "is of output type loglikelihood"),
        ({"unsafe_code": True}, "executes generated programs"),
        ({"dataset_kwargs": {"data_files": {"test": "/nowhere.json"}}}, "cannot be loaded: "),
    ],
)
def test_tasks_of_another_kind_are_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    write(tmp_path, "odd", {"test": sums(range(9)), "train": sums(range(9, 30))}, **{**settings("plus"), **changed})
    with pytest.raises(InputError, match=message):
        load(tmp_path, "odd")


def test_code_beside_a_task_needs_trust(folder: Path) -> None:
    with pytest.raises(
        InputError, match=r"dataset\.include_path: .* runs code from outside this package.*--trust-code"
    ):
        load(folder, "sums", trust=False)


def test_a_module_that_a_task_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("import a_module_that_nobody_has\ndef score(*_): ...\n", encoding="utf-8")
    write(tmp_path, "lacking", {"test": sums(range(9))}, **settings("plus"))
    file = tmp_path / "lacking.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "process_results: !function own.score\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"lacking needs Python modules that are missing: .*a_module_that_nobody_has"):
        load(tmp_path, "lacking")


def test_the_harness_itself_may_be_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "lm_eval.tasks", None)
    with pytest.raises(
        InputError, match=r"needs lm-evaluation-harness, which is not installed; pip install 'mdm-tune\[lm"
    ):
        load(tmp_path, "sums")


def test_a_tasks_own_code_may_fail_and_print(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "def score(doc, results):\n    print('noise')\n    if 'bad' in results[0]:\n        raise ValueError('no')\n"
        "    return {'exact_match': float(doc['answer'] in results[0])}\n"
    )
    (tmp_path / "own.py").write_text(code, encoding="utf-8")
    write(
        tmp_path, "coded", {"test": sums(range(9)), "train": sums(range(9, 30))}, **settings("plus", filter_list=None)
    )
    file = tmp_path / "coded.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "process_results: !function own.score\n", encoding="utf-8")
    task = load(tmp_path, "coded")
    example = task.examples("report")[0]
    assert task.score(example, " 0") == 1.0
    with pytest.raises(RunError, match="task coded cannot score the answer ' 1 bad': ValueError: no"):
        task.score(example, " 1 bad")
    assert capsys.readouterr().out == ""
    before = task.fingerprint
    (tmp_path / "own.py").write_text(code.replace("'noise'", "'other'"), encoding="utf-8")
    __import__("os").utime(tmp_path / "own.py", (0, 0))
    assert load(tmp_path, "coded").fingerprint != before


def test_loading_says_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load(folder, "sums")
    assert capfd.readouterr() == ("", "")


def test_documents_are_read_as_they_are(folder: Path) -> None:
    lines = (folder / "sums-test.json").read_text(encoding="utf-8").splitlines()
    assert [dict(example.record) for example in load(folder, "sums").examples("report")] == list(map(json.loads, lines))
