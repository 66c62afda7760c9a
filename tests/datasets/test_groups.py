"""Examples that share a prompt or a field: dealt to one use, and counted once in every interval and race."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner

from mdm_tune.cli import app
from mdm_tune.config.file import load_config
from mdm_tune.config.templates import fields_in
from mdm_tune.core.errors import InputError
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.core.statistics import estimate, grouped, lower_bounds
from mdm_tune.datasets.readers import read_examples
from mdm_tune.datasets.splits import USES
from mdm_tune.denoisers.transformer import Transformer, TransformerConfig, save_transformer
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.run.build import build
from mdm_tune.search.gains import diversity_of, gain_of
from mdm_tune.search.racing import hopeless, look_sizes, whole_look_sizes
from mdm_tune.search.scoring import least_rows, noise_of_best, race
from tests.benchmarks.test_task_benchmark import load as load_task
from tests.datasets.test_readers import CODEC, config, sums, write
from tests.search.test_scoring import SIZES
from tests.support.local_tasks import SHOWN
from tests.support.local_tasks import settings as task_settings
from tests.support.local_tasks import sums as number_sums
from tests.support.local_tasks import write as write_task
from tests.support.searches import Given

Records = list[dict[str, Any]]


def answers(questions: int, each: int) -> Records:
    """``each`` answers to every question, those of one question far apart in the file."""
    return [{"q": f"{n}+1=", "a": f"{n}.{k}", "who": f"w{n % 5}"} for k in range(each) for n in range(questions)]


def prompts(found: Mapping[Any, Any]) -> dict[str, set[str]]:
    return {use: {example.prompt for example in found[use]} for use in USES}


def disjoint(parts: Mapping[str, set[str]]) -> bool:
    return len(set().union(*parts.values())) == sum(map(len, parts.values()))


@pytest.mark.parametrize("root", range(5))
def test_no_prompt_is_in_two_uses(tmp_path: Path, root: int) -> None:
    """Ten questions with four answers each: of records at random nearly every question would be in two uses."""
    write(tmp_path / "data.jsonl", answers(10, 4))
    notes: list[str] = []
    found = read_examples(config(tmp_path, tune=16, choose=12, report=12), CODEC, root, notes)
    assert disjoint(prompts(found)) and not notes
    assert [len(found[use]) for use in USES] == [16, 12, 12]
    assert [len({example.group for example in found[use]}) for use in USES] == [4, 3, 3]


def test_a_use_that_ends_within_a_group_leaves_the_rest_of_it_out(tmp_path: Path) -> None:
    write(tmp_path / "data.jsonl", [*answers(10, 4), *answers(10, 1)])  # one answer of each comes twice
    notes: list[str] = []
    found = read_examples(config(tmp_path, tune=10, choose=8, report="all"), CODEC, 0, notes)
    assert disjoint(prompts(found)) and [len(found[use]) for use in USES] == [10, 8, 20]
    (note,) = notes
    assert "dataset.tune: the 10 examples end within a group" in note and "the other 2 of that group" in note


def test_records_without_repeats_are_dealt_as_without_groups(tmp_path: Path) -> None:
    """Numbering the records sets each apart, which is what the same records without a common prompt are."""
    records = [{**record, "n": n} for n, record in enumerate(sums(0, 60))]
    write(tmp_path / "data.jsonl", records)
    plain, apart = (read_examples(config(tmp_path, **more), CODEC, 3) for more in ({}, {"group": "n"}))
    assert {use: [e.id for e in plain[use]] for use in USES} == {use: [e.id for e in apart[use]] for use in USES}


@pytest.mark.parametrize("kind", ["jsonl", "csv", "datasets"])
def test_a_field_names_groups(tmp_path: Path, kind: str) -> None:
    records = answers(45, 1)
    if kind == "csv":
        lines = ["q,a,who", *(",".join(record.values()) for record in records)]
        (tmp_path / "data.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        write(tmp_path / "data.jsonl", records)
    path = "data.csv" if kind == "csv" else "data.jsonl"
    given = {"type": kind, "path": path, "group": "who", "tune": 18, "choose": 9, "report": 18}
    with pytest.raises(InputError, match="must be of two groups or more, got one"):
        read_examples(config(tmp_path, **given), CODEC, 0)
    with pytest.raises(InputError, match="of 5 groups, each of which may have one use"):
        read_examples(config(tmp_path, **{**given, "choose": 18}), CODEC, 0)
    found = read_examples(config(tmp_path, **{**given, "group": "{who}{a}"}), CODEC, 0)
    assert all(len({example.group for example in found[use]}) == len(found[use]) for use in USES)


def test_a_field_keeps_families_in_one_use(tmp_path: Path) -> None:
    records = [{"q": f"{n}+1=", "a": n, "who": n % 12} for n in range(96)]
    write(tmp_path / "data.jsonl", records)
    found = read_examples(config(tmp_path, group="who", tune=32, choose=32, report=32), CODEC, 0)
    assert disjoint({use: {str(example.record["who"]) for example in found[use]} for use in USES})
    assert all({example.group for example in found[use]} <= {*map(str, range(12))} for use in USES)


def test_lines_have_groups_by_a_template_and_not_by_their_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"{'ab' * (n + 1)}\n" for n in range(30)), encoding="utf-8")
    found = read_examples(config(tmp_path, type="lines", path="a.txt"), CODEC, 0)
    assert {example.group for use in USES for example in found[use]} == {""}


def test_a_record_without_the_field_is_refused_with_its_line(tmp_path: Path) -> None:
    records = answers(30, 1)
    del records[28]["who"]
    write(tmp_path / "data.jsonl", records)
    with pytest.raises(InputError, match=r"data\.jsonl, line 29: dataset\.group: there is no field 'who'"):
        read_examples(config(tmp_path, group="who"), CODEC, 0)


def test_two_files_that_share_a_prompt_are_refused_with_both_lines(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", sums(0, 16))
    write(tmp_path / "b.jsonl", [*sums(20, 27), {"q": "3+1=", "a": "four"}])
    given = config(tmp_path, path={"tune": "a.jsonl", "choose": "a.jsonl", "report": "b.jsonl"})
    with pytest.raises(InputError, match=r"b\.jsonl, line 8: shares the text that it shows with .*a\.jsonl, line 4, "):
        read_examples(given, CODEC, 0)
    fields = [{**record, "who": n} for n, record in enumerate(sums(0, 16))]
    write(tmp_path / "a.jsonl", fields)
    write(tmp_path / "b.jsonl", [{**record, "who": 30 + n} for n, record in enumerate([*sums(20, 27), *sums(3, 4)])])
    with pytest.raises(InputError, match=r"b\.jsonl, line 8: the example is also"):
        read_examples(given.model_copy(update={"group": "who"}), CODEC, 0)
    write(tmp_path / "b.jsonl", [{**record, "who": 8 + n} for n, record in enumerate(sums(20, 28))])
    with pytest.raises(InputError, match=r"shares its group \(who\) with .*a\.jsonl, line \d+, for (tune|choose)"):
        read_examples(given.model_copy(update={"group": "who"}), CODEC, 0)


def test_what_is_shown_solved_has_no_other_use(tmp_path: Path) -> None:
    write(tmp_path / "data.jsonl", [*answers(1, 3), *sums(1, 40)])
    found = read_examples(config(tmp_path, shots=1, report="all"), CODEC, 0)
    assert "0+1=" not in {e.prompt.rpartition("\n\n")[2] for use in USES for e in found[use]}
    assert sum(len(found[use]) for use in USES) == 39


def test_text_that_is_the_same_for_all_by_the_template_makes_no_group(tmp_path: Path) -> None:
    template = "ab[[a]]"
    assert fields_in(template, holes=True, hidden=False) == frozenset()
    assert fields_in("{q}[[a]]", holes=True, hidden=False) == {"q"} != fields_in("{q}[[a]]", holes=True)
    write(tmp_path / "data.jsonl", [{"a": "abc"[n % 3] * (n + 1)} for n in range(30)])
    found = read_examples(config(tmp_path, template=template), CODEC, 0)
    assert {example.group for use in USES for example in found[use]} == {""}


def test_documents_of_a_benchmark_that_ask_the_same_are_a_group(tmp_path: Path) -> None:
    """The report keeps every document; of those that tune and choose one is left. Shots are no part of a group."""
    twice = [*number_sums(range(30, 42)), *({**each, "answer": "9"} for each in number_sums(range(30, 42)))]
    train = [*number_sums(range(30)), *({**each, "answer": "9"} for each in number_sums(range(30)))]
    own = {"sampler": "default", "samples": SHOWN}
    splits = {"train": train, "test": twice}
    write_task(tmp_path, "twice", splits, **task_settings("plus", num_fewshot=2, fewshot_config=own))
    task = load_task(tmp_path, "twice")
    report = task.examples("report")
    assert len(report) == 24 and len({example.group for example in report}) == 12
    assert all(one.group == two.group for one, two in zip(report[:12], report[12:], strict=True))
    dealt = [example for use in USES[:2] for example in task.examples(use)]
    asked = {(example.record["a"], example.record["b"]) for example in dealt}
    assert len(asked) == len({example.group for example in dealt}) == len(dealt) == 16
    assert not asked & {(example.record["a"], example.record["b"]) for example in report}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A whole search on 40 records of ten questions with four answers each."""
    folder = tmp_path_factory.mktemp("search")
    model = Transformer(TransformerConfig(symbols="abcd", length=8, width=16, depth=1, heads=2))
    with torch.no_grad():
        for number, weight in enumerate(model.parameters()):
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(number)))
    save_transformer(model, folder / "model")
    asked = [a + b for a in "abcd" for b in "abcd"][:10]
    write(folder / "data.jsonl", [{"q": q, "a": a * 4} for a in "abcd" for q in asked])
    chosen = {
        "model": {"type": "transformer", "path": "model"},
        "dataset": {"type": "jsonl", "path": "data.jsonl", "prompt": "q", "answer": "a"}
        | {"tune": 16, "choose": 12, "report": "all"},
        "sampler": {"steps": [2]},
        "objective": {"metric": "nelbo"},
        "search": {"trials": 4, "finalists": 2},
        "output": str(folder / "run"),
    }
    (folder / "c.yaml").write_text(yaml_text(chosen), encoding="utf-8")
    result = CliRunner().invoke(app, ["search", str(folder / "c.yaml"), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), folder


def test_a_search_counts_groups_and_says_so(found: tuple[dict[str, Any], Path]) -> None:
    record, folder = found
    dataset = build(load_config(folder / "c.yaml")).dataset
    assert dataset is not None
    parts = {use: {example.prompt for example in split.examples} for use, split in dataset.splits.items()}
    assert disjoint({str(use): part for use, part in parts.items()})
    assert [len(parts[use]) for use in USES] == [4, 3, 3]
    (budget,) = record["budgets"]
    assert budget["n"] == 12 and budget["independent"] == 3
    assert budget["ci"] is None and budget["no_interval"] == "too few examples"
    assert not budget["gain_over_linear"]["shown"]
    (told,) = [each["text"] for each in record["warnings"] if each["code"] == "groups"]
    assert "16 of 4 groups in tune, 12 of 3 groups in choose, 12 of 3 groups in report" in told
    assert "fewer than 10 groups there is none" in told
    priced = ("profile", str(folder / "c.yaml"), "--set", "profile.tolerance=0.01", "--output", str(folder / "p"))
    result = CliRunner().invoke(app, [*priced, "--json"])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)  # no interval is shown of four groups; Student's says when to stop
    assert record["precision"] > 0.01 and "profile-precision" in [each["code"] for each in record["warnings"]]
    assert record["cross_entropy_ci"] is None and record["cross_entropy_no_interval"] == "too few examples"


# --- statistics -----------------------------------------------------------------------------------


def effects(rng: np.random.Generator, groups: int, rows: int, correlation: float, trials: int) -> NDArray[np.float64]:
    """Differences (trials, groups * rows), rows of one group together: mean 0, variance 1, intraclass correlation."""
    own = rng.normal(size=(trials, groups, rows)) * math.sqrt(1 - correlation)
    return (own + rng.normal(size=(trials, groups, 1)) * math.sqrt(correlation)).reshape(trials, -1)


@pytest.mark.parametrize("correlation", [0.2, 0.5])
def test_intervals_of_32_prompts_of_8_rows_hold(correlation: float) -> None:
    """Normal effects; 4,000 trials: a share of 95 % (2.5 %) has a standard error of 0.34 (0.25) points.

    The bounds are five standard errors away or more: false alarm below 1 in 100,000. By rows the interval holds in
    about 78 % (0.2) and 66 % (0.5) of trials, and 10 or 19 % of gains that are none are shown.
    """
    trials, names = 4000, [f"prompt {row // 8}" for row in range(256)]
    found = effects(np.random.default_rng(7), 32, 8, correlation, trials)
    ends = lower_bounds(np.stack([grouped(each, names) for each in found]), 0.95)
    upper = -lower_bounds(np.stack([grouped(-each, names) for each in found]), 0.95)
    assert 0.935 < np.mean((ends <= 0) & (upper >= 0)) < 0.98
    assert np.mean(ends > 0) < 0.0375
    by_rows = np.mean(lower_bounds(found, 0.95) > 0)
    assert by_rows > 0.07  # what this protects from
    for each, end in zip(found[:50], ends, strict=False):  # the claims' own road
        setting = Setting("linear", 2, 4, counts=(2, 2)), Setting("other", 2, 4, counts=(1, 3))
        zero, scores = (
            Scores(
                setting=one,
                estimate=estimate(values),
                nfe=2.0,
                cost=Cost(),
                use="report",
                values=values,
                groups=tuple(names),
            )
            for one, values in zip(setting, (np.zeros(256), each), strict=True)
        )
        gain = gain_of(scores, zero, "maximize", 1)
        assert gain.ci is not None and gain.ci[0] == pytest.approx(end) and gain.differing == 32
        assert gain.shown == (end > 0)


def test_a_race_of_groups_drops_the_best_as_seldom_as_one_of_examples() -> None:
    """A candidate that is as good as the incumbent, 32 groups of 8 with intraclass correlation 0.5, 1,000 races.

    Of those that end above the incumbent, the share dropped before: 32 % with looks at rows, 1.3 % with whole groups,
    and 0.8 % of races of 32 independent examples. Standard errors 2.1, 0.5, 0.4: false alarm below 1 in 2,000.
    """
    found, names = effects(np.random.default_rng(3), 32, 8, 0.5, 1000), [row // 8 for row in range(256)]
    alone = np.random.default_rng(4).normal(size=(1000, 32))
    ends = [8 * (group + 1) for group in range(32)]
    assert whole_look_sizes(ends) == (64, 128, 256) and whole_look_sizes(range(1, 65)) == look_sizes(64)

    def dropped(each: NDArray[np.float64], by_group: bool) -> bool:
        if by_group:
            return any(hopeless(grouped(each[:look], names[:look]), 32) for look in whole_look_sizes(ends))
        return any(hopeless(each[:look], len(each)) for look in look_sizes(len(each)))

    won = found[found.mean(axis=1) > 0]
    by_rows, by_groups = (np.mean([dropped(each, how) for each in won]) for how in (False, True))
    independent = np.mean([dropped(each, False) for each in alone[alone.mean(axis=1) > 0]])
    assert by_rows > 0.2 and by_groups < 0.035 and abs(by_groups - independent) < 0.025


def test_a_race_looks_at_whole_groups() -> None:
    """Candidates far worse are dropped at the first look, after eight groups of four."""
    spread = np.random.default_rng(0).normal(size=64)
    evaluator = Given.by(lambda setting, use, examples: (spread + (setting.counts or (0,))[0])[examples], SIZES)
    dataset = evaluator.dataset
    assert dataset is not None
    split = replace(dataset.splits["tune"], groups=tuple(str(row % 16) for row in range(64)))
    dataset.splits["tune"] = split
    setting = Setting("counts:9,7", 2, 16, counts=(9, 7))
    order = [int(name) for name in split.shuffled().ids]
    assert split.shuffled().ends == [4 * (group + 1) for group in range(16)]
    found, _ = race(evaluator, {1: setting}, spread[order], math.inf, lambda *look: None)
    assert found[1].dropped == 32  # eight groups of four rows
    assert least_rows(evaluator, [setting] * 2, racing=True) == 32 * 4 + 32 * 2


def test_noise_of_the_best_and_diversity_count_groups() -> None:
    """By hand: four groups of two equal rows have the noise of four rows."""
    one, two = np.array([1.0, 2.0, 4.0, 0.0]), np.zeros(4)
    groups = [name for name in "abcd" for _ in range(2)]
    plain = noise_of_best({1: one, 2: two}, "maximize")
    assert noise_of_best({1: one.repeat(2), 2: two.repeat(2)}, "maximize", groups) == pytest.approx(plain)
    rng = np.random.default_rng(0)
    few, many = rng.normal(10.0, 1.0, 16), rng.normal(8.0, 1.0, 16)
    drawn = {"winner": many.repeat(8), "linear": few.repeat(8), "data": few.repeat(8)}
    names = [str(row // 8) for row in range(128)]
    by_group = diversity_of({who: {"length": each} for who, each in drawn.items()}, 128, 0.05, names)
    alone = diversity_of({"winner": {"length": many}, "linear": {"length": few}, "data": {"length": few}}, 16, 0.05)
    for who in ("winner", "linear", "data"):
        assert by_group.figures[who]["length"].ci == pytest.approx(alone.figures[who]["length"].ci)
        assert by_group.figures[who]["length"].count == 16
    assert by_group.flags == alone.flags != ()
