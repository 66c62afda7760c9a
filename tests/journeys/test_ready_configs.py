"""The ready configurations for published checkpoints, as far as they can be held without checkpoints and data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mdm_tune.benchmarks.harness import _check_kind, _configs, manager_of
from mdm_tune.config.families import FAMILIES
from mdm_tune.config.file import Config, load_config
from mdm_tune.config.tasks import BenchmarkConfig, CodeDatasetConfig, LmEvalDatasetConfig
from mdm_tune.core.errors import InputError
from mdm_tune.schedules.adaptive_names import parse_adaptive
from mdm_tune.schedules.curves import parse_schedule
from tests.support.ready import OFFICIAL, rows, sizes, stand_in

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "configs"
FILES = sorted(
    file.relative_to(FOLDER) for name in ("llada", "dream", "mdlm") for file in FOLDER.glob(f"{name}/*.yaml")
)
PAPER = {  # arXiv:2509.13866, tables 2 to 7: length of answers and steps
    "mbpp": (256, (8, 16, 32, 64, 128, 256)),
    "humaneval": (256, (8, 16, 32, 64, 128, 256)),
    "bbh": (128, (8, 16, 32, 64, 128)),
    "gsm8k": (128, (8, 16, 32, 64, 128)),
    "hendrycks_math": (256, (8, 16, 32, 64, 128, 256)),
    "minerva_math": (256, (8, 16, 32, 64, 128, 256)),
}
ready = pytest.mark.parametrize("name", FILES, ids=str)


def loaded(name: Path) -> Config:
    return load_config(FOLDER / name)


def comment(name: Path) -> str:
    """What stands before the first setting, in one line."""
    lines = (FOLDER / name).read_text(encoding="utf-8").split("\n")
    return " ".join(line.lstrip("# ") for line in lines[: next(i for i, line in enumerate(lines) if line[:1] != "#")])


def test_there_are_the_papers_six_benchmarks_and_dream_and_mdlm() -> None:
    assert {file.stem for file in FILES if file.parent.name == "llada"} >= PAPER.keys()
    assert {file.parent.name for file in FILES} == {"llada", "dream", "mdlm"}
    outputs = [loaded(name).output for name in FILES]
    assert len(set(outputs)) == len(FILES)


@pytest.mark.parametrize("task", PAPER)
def test_the_papers_lengths_and_budgets(task: str) -> None:
    config = loaded(Path("llada") / f"{task}.yaml")
    assert isinstance(config.dataset, BenchmarkConfig) and config.evaluate.steps is not None
    assert (config.dataset.generation_length, config.evaluate.steps) == PAPER[task]
    assert config.sampler.steps == PAPER[task][1][:-1]  # at the last there is one vector of counts
    assert config.model.path == "GSAI-ML/LLaDA-8B-Base" and config.sampler.temperature == 0.0  # type: ignore[union-attr]
    assert config.sampler.end_drawn and config.sampler.end_confident and config.sampler.block_length is None


def test_the_page_says_what_the_configurations_are(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "llada.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "gsm8k.yaml").write_text(block, encoding="utf-8")
    shown, shipped = load_config(tmp_path / "gsm8k.yaml"), loaded(Path("llada/gsm8k.yaml"))
    for section in ("model", "dataset", "sampler", "objective"):
        assert getattr(shown, section) == getattr(shipped, section)
    assert f"at most {sum(rows(shipped).values()):,}, and" in page
    names = {
        "MBPP": "mbpp",
        "HumanEval": "humaneval",
        "Hendrycks MATH": "hendrycks_math",
        "Minerva MATH": "minerva_math",
    }
    for name, task in {**names, "GSM8K": "gsm8k", "BBH": "bbh"}.items():
        length, steps = PAPER[task]
        assert f"| {name} | {length} | {steps[0]} to {steps[-1]} |" in page
    switches = re.findall(
        r"\| `instruct-(\w+)` \| (\d+) \| (\w+) \| (true|false) \(\w+\) \| (true|false) \(\w+\) \|", page
    )
    assert len(switches) == 4
    for name, length, block, drawn, confident in switches:
        config = loaded(Path(f"llada/instruct-{name}.yaml"))
        assert isinstance(config.dataset, BenchmarkConfig) and config.dataset.chat
        assert config.dataset.generation_length == int(length)
        assert config.sampler.block_length == (None if block == "one" else (int(block),))
        assert (config.sampler.end_drawn, config.sampler.end_confident) == (drawn == "true", confident == "true")


@ready
def test_its_comment_says_what_it_needs_and_what_it_costs(name: Path) -> None:
    config, said = loaded(name), comment(name)
    order = ["What this shows:", "What it needs:", "What it costs:", "Where the settings come from:"]
    assert re.findall("|".join(order), said) == order
    found = {phase: int(count.replace(",", "")) for phase, count in re.findall(r"(\w+) ([\d,]+)[,)]", said)}
    cost = rows(config)
    assert {phase: found[phase] for phase in cost} == cost
    assert f"at most {sum(cost.values()):,} denoiser rows" in said
    assert "--trust-code" in said and "transformers 4.46.3" in said
    assert ("--run-generated-code" in said) == isinstance(config.dataset, CodeDatasetConfig)
    assert ("lm-eval" in said) == isinstance(config.dataset, LmEvalDatasetConfig)


@ready
def test_every_budget_and_schedule_fits(name: Path) -> None:
    config = loaded(name)
    run = stand_in(config)
    size = run.evaluator.block_length
    assert run.evaluator.length % size == 0
    schedules = [each for each in config.evaluate.schedules if parse_adaptive(each) is None]
    for steps in {*config.sampler.steps, *(config.evaluate.steps or ())}:
        for schedule in {*schedules, *config.search.baselines}:
            setting = run.evaluator.setting(parse_schedule(schedule), steps)
            assert setting.counts is None or sum(setting.counts) == run.evaluator.length
    assert sizes(config)["report"] >= 128


@ready
def test_it_draws_as_its_family_does(name: Path) -> None:
    """Or says otherwise itself: nothing is left to a default that is not the family's."""
    config = loaded(name)
    assert config.model.family == ("mdlm" if "mdlm" in str(name) else name.parent.name)  # type: ignore[union-attr]
    own = FAMILIES[str(config.model.family)].sampling  # type: ignore[union-attr]
    assert own is not None and config.family_settings == ()
    assert config.sampler.order == own.order and config.sampler.tempered_scores == own.tempered_scores


@ready
def test_its_task_exists_and_has_something_to_tune_on(name: Path) -> None:
    config = loaded(name).dataset
    if isinstance(config, CodeDatasetConfig):
        assert config.type == "mbpp" or config.other is not None
        return
    if not isinstance(config, LmEvalDatasetConfig):
        return
    assert config.task in OFFICIAL
    for task in {config.task, str((config.other or {"task": config.task})["task"])}:
        members = list(_configs(manager_of(task), task))
        assert len(members) == {"minerva_math": 7, "hendrycks_math": 7, "bbh": 27}.get(task, 1)
        for member, settings in members:
            _check_kind(member, settings)
            tunable = settings.get("training_split") or settings.get("validation_split")
            assert tunable or config.folds is not None or (config.other is not None and task == config.task)


def test_a_task_that_cannot_be_an_objective_would_be_noticed() -> None:
    with pytest.raises(InputError, match="of output type multiple_choice"):
        _check_kind("x", {"output_type": "multiple_choice"})
    with pytest.raises(InputError, match="executes generated programs"):
        manager_of("humaneval")
