"""Numbers by lm-evaluation-harness itself, with our sampler as its model.

Covers: harness_model.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lm_eval import evaluator
from typer import Typer
from typer.testing import CliRunner

from mdm_tune.benchmarks.single_task import templated
from mdm_tune.commands import harness as harness_run
from mdm_tune.commands.evaluate import evaluate
from mdm_tune.commands.harness import harness_numbers
from mdm_tune.commands.harness_model import HarnessModel
from mdm_tune.config.file import Config, load_config
from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.permissions import Permissions
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.denoisers.transformer import load_transformer
from mdm_tune.run.build import Run, build
from mdm_tune.run.schedule_names import settings_of
from tests.datasets.test_readers import Chatty
from tests.support.harness_tasks import SYMBOLS, sums, write_model, write_task

TRUSTED = Permissions(trust_code=True)
SCRIPT = Path(__file__).parents[2] / "scripts" / "lm_eval_numbers.py"
CHOICES = [" yes", " nay"]
BROKEN = """
def judged(doc, results):
    raise ValueError("no judge today")
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and a folder with one task, two groups of two tasks, a choice of two continuations and bad tasks."""
    folder = tmp_path_factory.mktemp("numbers")
    write_model(folder / "model")
    tasks = write_task(folder / "tasks", test=48)
    write_task(tasks, task="few", test=32, num_fewshot=0)
    for name, by_size in (("alike", False), ("by-size", True)):
        listed = [{"metric": "exact_match", "aggregation": "mean", "weight_by_size": by_size, "filter_list": ["digit"]}]
        group = {"group": name, "task": ["sums", "few"], "aggregate_metric_list": listed, "metadata": {"version": 1}}
        (tasks / f"{name}.yaml").write_text(yaml.safe_dump(group), encoding="utf-8")
    choice = {"output_type": "multiple_choice", "doc_to_choice": CHOICES, "target_delimiter": "", "doc_to_target": 0}
    plain = {"task": "choice", "num_fewshot": 0, "metric_list": [{"metric": "acc"}], "filter_list": None}
    write_task(tasks, test=6, **plain, **choice)
    write_task(tasks, test=6, **plain | {"task": "rolling", "output_type": "loglikelihood_rolling"})
    uneven = {"task": "uneven", "doc_to_choice": [" yes", " absolutely not"]}
    write_task(tasks, test=6, **plain | choice | uneven)
    write_task(tasks, task="programs", unsafe_code=True)
    (tasks / "broken.py").write_text(BROKEN, encoding="utf-8")
    write_task(tasks, task="broken")
    with (tasks / "broken.yaml").open("a", encoding="utf-8") as file:
        file.write("process_results: !function broken.judged\n")
    return folder


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness asks pip for every package, once for each setting, which takes most of the time of a small task."""
    monkeypatch.setattr(evaluator, "add_env_info", lambda results: None)


Make = Callable[..., Config]


@pytest.fixture
def make(place: Path, tmp_path: Path) -> Make:
    """A config on the task ``sums``, or what is given in place of it."""

    def made(dataset: dict[str, Any] | None = None, **sampler: Any) -> Config:
        own = {"type": "lm-eval", "task": "sums", "include_path": "tasks", "filter": "digit", "tune": 12, "choose": 8}
        drawn = {"order": "confidence", "temperature": 1.0, "steps": [4], "batch": 32}
        whole = {
            "model": {"type": "transformer", "path": "model"},
            "dataset": {**own, "generation_length": 16, **(dataset or {})},
            "sampler": {**drawn, **sampler},
            "objective": {"metric": "task"},
            "output": str(tmp_path / "run"),
        }
        file = place / f"{tmp_path.name}.yaml"
        file.write_text(yaml_text(whole), encoding="utf-8")
        return load_config(file)

    return made


def quiet(event: object) -> None:
    pass


def numbers(config: Config, schedules: tuple[str, ...] = ("linear",), **given: Any) -> dict[str, Any]:
    return harness_numbers(config, schedules, notify=quiet, **{"allow": TRUSTED, **given}).to_json()


def lines(config: Config, name: str) -> dict[tuple[str, int, str], dict[str, Any]]:
    """By schedule, steps and id what a command wrote of each document."""
    text = (Path(config.output) / name).read_text(encoding="utf-8")
    found = [json.loads(line) for line in text.splitlines()]
    return {(each["schedule"], each["steps"], each["id"]): each for each in found}


# --- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dataset", "more"),
    [
        ({}, {}),
        ({"prefix": "Sums!\n", "shots": 1}, {"block_length": 8}),
        ({}, {"reveal": "bernoulli", "order": "random"}),
    ],
)
def test_every_document_scores_as_in_evaluate(make: Make, dataset: dict[str, Any], more: dict[str, Any]) -> None:
    """The harness's own prompts, filters and metric on one side, ours on the other; not one answer differs."""
    config = make(dataset, **more)
    schedules = ("linear", "beta:0.9,0.3")
    theirs = numbers(config, schedules)
    ours = evaluate(config, schedules, (), differences=False, notify=quiet, allow=TRUSTED).to_json()
    one, other = lines(config, "numbers-scores.jsonl"), lines(config, "evaluate-scores.jsonl")
    assert one.keys() == other.keys() and len(one) == 96
    assert all(one[key]["value"] == other[key]["value"] and one[key]["text"] == other[key]["text"] for key in one)
    assert 0 < sum(each["value"] for each in one.values()) < 96 and len({each["text"] for each in one.values()}) > 48
    for row, mine in zip(theirs["rows"], ours["rows"], strict=True):
        assert row["value_of_harness"] == pytest.approx(mine["value"], abs=1e-12)
        assert row["harness"]["results"]["sums"]["exact_match,digit"] == row["value_of_harness"]
        assert [row[key] for key in ("value", "ci", "counts", "nfe", "n")] == [
            mine[key] for key in ("value", "ci", "counts", "nfe", "n")
        ]
    assert theirs["comparisons"] == ours["comparisons"] and theirs["denoiser_rows"] == ours["denoiser_rows"]
    made = build(config, TRUSTED)
    assert made.dataset is not None and "lm_eval" in theirs["versions"]
    assert theirs["fingerprints"] == {**made.fingerprints, "searched": made.dataset.searched}


def test_an_adaptive_policy_scores_as_in_evaluate(make: Make) -> None:
    config, schedules = make(), ("threshold:0.12",)
    (row,) = numbers(config, schedules)["rows"]
    ours = evaluate(config, schedules, (), differences=False, notify=quiet, allow=TRUSTED).to_json()["rows"][0]
    one, other = lines(config, "numbers-scores.jsonl"), lines(config, "evaluate-scores.jsonl")
    assert one.keys() == other.keys() and all(one[key]["text"] == other[key]["text"] for key in one)
    wanted = ("value", "ci", "counts", "nfe", "nfe_ci", "n", "policy")
    assert [row[key] for key in wanted] == [ours[key] for key in wanted]
    assert row["policy"] == "threshold:0.12" and row["nfe_ci"][0] < row["nfe"] < row["nfe_ci"][1] < 16


def test_other_seeds_give_other_answers(make: Make) -> None:
    config = make()
    numbers(config)
    first = lines(config, "numbers-scores.jsonl")
    numbers(config.model_copy(update={"seed": 1}))
    again = lines(config, "numbers-scores.jsonl")
    assert first.keys() == again.keys() and sum(first[key]["text"] != again[key]["text"] for key in first) > 30


@pytest.mark.parametrize("task", ["alike", "by-size"])
def test_a_group_counts_as_the_harness_counts_it(make: Make, task: str) -> None:
    (row,) = numbers(make({"task": task, "filter": None}))["rows"]
    assert row["n"] == 80 and row["value"] == pytest.approx(row["value_of_harness"], abs=1e-12)
    each = {name: row["harness"]["results"][name]["exact_match,digit"] for name in ("sums", "few")}
    assert each["sums"] != each["few"]
    shares = {"alike": (0.5, 0.5), "by-size": (0.6, 0.4)}[task]
    assert row["value"] == pytest.approx(shares[0] * each["sums"] + shares[1] * each["few"])


def test_fewer_documents(make: Make) -> None:
    config = make({"report": 9})
    assert numbers(config)["documents"] == 9 and {key[2] for key in lines(config, "numbers-scores.jsonl")} == {
        f"sums/test/{number}" for number in range(9)
    }
    assert numbers(make(), limit=5)["documents"] == 5


@pytest.mark.parametrize("task", [{"task": "few", "folds": 2}, {"folds": 3}])
def test_a_fold_is_what_evaluate_reports_on(make: Make, task: dict[str, Any]) -> None:
    """The second shows two shots, which the harness draws anew for each document: those of a whole run are wanted."""
    config = make({**task, "fold": 1, "tune": 8, "choose": 8})
    found = numbers(config)
    evaluate(config, ("linear",), (), differences=False, notify=quiet, allow=TRUSTED)
    one, other = lines(config, "numbers-scores.jsonl"), lines(config, "evaluate-scores.jsonl")
    assert found["documents"] == 16 and one.keys() == other.keys()
    assert all(one[key]["text"] == other[key]["text"] for key in one)


def test_a_fold_without_a_document_of_some_task_is_refused() -> None:
    """The harness asks all documents of a task of which none is named."""
    split = SimpleNamespace(ids=("sums/test/3", "sums/test/1"))
    run: Any = SimpleNamespace(dataset=SimpleNamespace(splits={"report": split}))
    alone: Any = SimpleNamespace(splits={"sums": "test"})
    assert harness_run._fold(run, alone) == {"sums": [1, 3]}
    group: Any = SimpleNamespace(splits={"sums": "test", "few": "test"})
    with pytest.raises(InputError, match=r"dataset.folds: this fold holds no document of task few, and the harness"):
        harness_run._fold(run, group)


def test_likelihoods_of_continuations_that_blocks_cut(make: Make, place: Path) -> None:
    """Of 4 and 15 tokens in blocks of 8: one block for one of them, two for the other."""
    config = make(order="random", block_length=8)
    found = numbers(config, task="uneven", include_path=str(place / "tasks"), draws=2)
    assert found["documents"] == 6 and 0 <= found["rows"][0]["value"] <= 1


def test_another_task_than_the_configs(make: Make, place: Path) -> None:
    config = make()
    found = numbers(config, task="few", include_path=str(place / "tasks"))
    assert found["task"] == "few" and found["filter"] == "strict-match" and found["documents"] == 32
    asked = numbers(config, task="sums", include_path=str(place / "tasks"), shots=1, limit=3)
    assert asked["rows"][0]["harness"]["n-shot"] == {"sums": 1}


def test_a_chat_as_the_harness_asks_for_it() -> None:
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "begun"}]
    assert templated(Chatty().chat, messages[:1]) == "<user>q<assistant>"
    assert templated(Chatty().chat, messages, False) == "<user>q<assistant>begun"


# --- likelihoods ----------------------------------------------------------------------------------


@dataclass
class Request:
    """What the harness hands over for a likelihood."""

    args: tuple[str, str]
    doc_id: int = 0
    idx: int = 0
    task_name: str = "choice"


def model(run: Run, steps: int, draws: int = 1) -> HarnessModel:
    (setting,) = settings_of(run.evaluator, ["linear"], [steps])
    return HarnessModel(run, setting, lambda task, number: f"{task}/test/{number}", draws=draws)


def asked(run: Run, context: str, continuation: str, steps: int, draws: int = 1) -> tuple[float, bool]:
    (found,) = model(run, steps, draws).loglikelihood([Request((context, continuation))])
    return found


def path(place: Path, context: str, continuation: str, order: tuple[int, ...]) -> float:
    """log p of a continuation whose positions are revealed one by one in an order, asked of the network itself."""
    network, at = load_transformer(place / "model"), len(context)
    tokens = torch.tensor([[SYMBOLS.index(letter) for letter in context + continuation]])
    row = tokens.clone()
    row[0, at:] = len(SYMBOLS)
    total = 0.0
    for place_ in order:
        wanted = torch.zeros_like(row, dtype=torch.bool)
        wanted[0, at + place_] = True
        logits = network(row, wanted).double()
        total += float(logits.log_softmax(-1)[0, tokens[0, at + place_]])
        row[0, at + place_] = tokens[0, at + place_]
    return total


def test_a_likelihood_is_the_mean_over_random_paths(make: Make, place: Path) -> None:
    """Every single path is one of the six orders of three tokens, and 600 of them average to the mean of these.

    Bound of five standard errors: one seed in two million would fail by chance.
    """
    run = build(make(order="random"), TRUSTED)
    paths = np.array([path(place, "Q:", " no", order) for order in permutations(range(3))])
    assert np.ptp(paths) > 0.1
    value, _ = asked(run, "Q:", " no", 16)
    assert np.abs(paths - value).min() < 1e-4
    mean, _ = asked(run, "Q:", " no", 16, draws=600)
    assert abs(mean - paths.mean()) < 5 * paths.std() / np.sqrt(600)


def test_fewer_steps_reveal_a_continuation_together(make: Make, place: Path) -> None:
    run = build(make(order="random", steps=[1]), TRUSTED)
    network = load_transformer(place / "model")
    row = torch.tensor([[SYMBOLS.index("Q"), SYMBOLS.index(":"), *[len(SYMBOLS)] * 3]])
    logits = network(row, row == len(SYMBOLS)).double().log_softmax(-1)
    together = sum(float(logits[at, SYMBOLS.index(letter)]) for at, letter in enumerate(" no"))
    assert asked(run, "Q:", " no", 1)[0] == pytest.approx(together, abs=1e-4)


def test_spaces_belong_to_the_continuation(make: Make) -> None:
    run = build(make(order="random"), TRUSTED)
    assert asked(run, "Q: ", "no", 16) == asked(run, "Q:", " no", 16)


def test_an_order_that_follows_from_predictions_has_one_path(make: Make, place: Path) -> None:
    run = build(make(order="top-probability", temperature=0.0), TRUSTED)
    value, drawn = asked(run, "Q:", " no", 16)
    assert not drawn and min(abs(path(place, "Q:", " no", order) - value) for order in permutations(range(3))) < 1e-4


def test_what_the_sampler_itself_draws_is_told(make: Make) -> None:
    run = build(make(order="top-probability", temperature=0.0), TRUSTED)
    asker = model(run, 16)
    request = Request(("Q:", {}))  # type: ignore[arg-type]  # settings for generation in place of a continuation
    (own,) = asker.generate_until([request])
    assert len(own) == 16 and own[0] != " "
    assert asker.loglikelihood([Request(("Q:", own))])[0][1]
    assert not asker.loglikelihood([Request(("Q:", own[:-1] + "~"))])[0][1]


def test_a_choice_is_made_by_likelihood(make: Make, place: Path) -> None:
    config = make(order="random")
    found = numbers(config, task="choice", include_path=str(place / "tasks"), draws=4)
    assert found["metric"] == "acc" and found["documents"] == 6
    asker = model(build(config, TRUSTED), 4, draws=4)
    for number, question in enumerate(sums(200, 206)):
        context = f"Q: {question['question']}\nA:"
        both = asker.loglikelihood([Request((context, text), number, at) for at, text in enumerate(CHOICES)])
        value = lines(config, "numbers-scores.jsonl")["linear", 4, f"choice/test/{number}"]["value"]
        assert value == float(both[0][0] > both[1][0])


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shots": 1}, r"--shots goes with --task, got 1"),
        ({"limit": 0}, r"--limit must be at least 1, got 0"),
        ({"draws": 0}, r"--draws must be at least 1, got 0; give 1"),
        ({"schedules": ("threshold",)}, r"threshold has no value of its own: mdm-tune evaluate finds .* threshold:0"),
        (
            {"task": "choice", "schedules": ("threshold:0.9",)},
            r"the task asks for likelihoods, and threshold:0\.9 decides by what is drawn, got no likelihood; name",
        ),
        ({"allow": Permissions()}, r"dataset\.include_path.*--trust-code"),
        ({"task": "programs"}, r"task programs executes generated programs inside the process"),
        ({"task": "rolling"}, r"loglikelihood_rolling.*objective\.metric nelbo"),
        ({"task": "choice"}, r"the task asks for likelihoods.*'confidence' at temperature"),
    ],
)
def test_refused(make: Make, place: Path, given: dict[str, Any], message: str) -> None:
    if "task" in given:
        given = {**given, "include_path": str(place / "tasks")}
    with pytest.raises(InputError, match=message):
        numbers(make(), **given)


def test_another_task_is_looked_for_in_the_folder_of_the_configs_own(make: Make) -> None:
    with pytest.raises(InputError, match=r"task programs executes generated programs inside the process"):
        numbers(make(), task="programs")


def test_a_fold_has_no_limit(make: Make) -> None:
    with pytest.raises(InputError, match=r"--limit: a fold is reported as a whole, got 3"):
        numbers(make({"task": "few", "folds": 2, "fold": 1, "tune": 8, "choose": 8}), limit=3)


def test_a_config_without_a_task_names_one(make: Make, place: Path) -> None:
    config = make()
    dataset = {"type": "lines", "path": "texts.txt", "tune": 8, "choose": 8, "report": 8}
    file = place / "lines.yaml"
    sections = {"model": {"type": "transformer", "path": "model"}, "dataset": dataset, "sampler": {"steps": [2]}}
    file.write_text(yaml_text({**sections, "objective": {"metric": "nelbo"}, "output": config.output}))
    with pytest.raises(InputError, match=r"got dataset\.type lines; name a task with --task"):
        numbers(load_config(file))


def test_what_a_tasks_code_raises_is_told(make: Make) -> None:
    with pytest.raises(RunError, match=r"lm-evaluation-harness failed on broken: ValueError: no judge today"):
        numbers(make({"task": "sums"}), task="broken", include_path=str(make().dataset.include_path))  # type: ignore[union-attr]


def test_guidance_has_no_likelihood(make: Make, place: Path) -> None:
    with pytest.raises(InputError, match=r"sampler\.guidance"):
        numbers(make(order="random", guidance=1.0), task="choice", include_path=str(place / "tasks"))


# --- the script -----------------------------------------------------------------------------------


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lm_eval_numbers", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_prints_the_harness_numbers(make: Make, place: Path, tmp_path: Path) -> None:
    make()
    app = Typer()
    app.command()(script().main)
    file = str(place / f"{tmp_path.name}.yaml")
    shown = CliRunner().invoke(app, [file, "--trust-code", "--schedule", "linear", "--schedule", "sine"])
    assert shown.exit_code == 0, (shown.output, shown.exception)
    row = json.loads((tmp_path / "run" / "numbers.json").read_text(encoding="utf-8"))["rows"][0]
    value = row["harness"]["results"]["sums"]["exact_match,digit"]
    assert f"  sums  exact_match  digit  {value:.4f} ± " in shown.stdout and "minus linear" in shown.stderr
    printed = CliRunner().invoke(app, [file, "--trust-code", "--schedule", "linear", "--json", "--quiet"])
    assert json.loads(printed.stdout)["rows"][0]["value"] == row["value"]
    refused = CliRunner().invoke(app, [file, "--schedule", "linear"])
    assert refused.exit_code == 2 and "--trust-code" in refused.stderr
