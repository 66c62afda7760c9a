"""What a bad value of a config is answered: its dotted path, the value and the remedy.

Covers: sampler.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.configs import TEXT, problems, whole

BAD_VALUES = [
    ("search.trials=0", "search.trials: must be at least 1, got 0; give 1 or more"),
    ("search.trials='16'", "search.trials: must be a whole number, got '16'; write it without quotes"),
    ("search.trials=16.0", "search.trials: must be a whole number, got 16.0; write 16"),
    ("search.trials=true", "search.trials: must be a whole number, got true; write digits"),
    ("search.trials=0x" + "f" * 5000, "--set search.trials at line 1, column 1: 0xffff"),
    ("search.trial=3", "search.trial: unknown key; did you mean 'trials'? legal keys here: policies, strategy, trials"),
    ("search.strategy=grit", "search.strategy: must be one of gp, tpe, qmc, grid, got 'grit'; did you mean 'grid'?"),
    ("search.space.a=[1, 1]", "search.space.a: must be two numbers [lowest, highest] with 1e-06 <= lowest < highest"),
    ("search.space.a=[0, 1]", "search.space.a[0]: must be above 0.0, got 0"),
    ("search.space.b=[1, .inf]", "search.space.b[1]: must be a finite number, got inf"),
    ("search.space.b=[1, 1.0e+7]", "<= 1e+06, got [1.0, 10000000.0]"),
    ("search.space.b=[1.0e-7, 1]", "search.space.b: must be two numbers [lowest, highest] with 1e-06 <= lowest"),
    ("search.space.b=[1]", "search.space.b: must be two numbers [lowest, highest], got [1]; write it as [0.1, 10.0]"),
    ("search.space.c=[1, 2]", "search.space.c: unknown key; legal keys here: a, b"),
    ("search.baselines=[sine]", "search.baselines: must hold linear, because gains are measured against it, got"),
    ("search.baselines=[linear, liner]", "search.baselines[1]: Unknown schedule 'liner'"),
    ("search.baselines=[linear, won.yaml]", "search.baselines[1]: Unknown schedule 'won.yaml'"),
    ("search=null", "search: must be a mapping, got null; write `key: value` lines below it, or leave"),
    ("serch.trials=3", "serch: unknown key; did you mean 'search'? legal keys here: model, dataset, sampler"),
    ("profil.examples=64", "profil: unknown key; did you mean 'profile'?"),
    ("profile=64", "profile: must be a mapping, got 64"),
    ("profile.example=64", "profile.example: unknown key; did you mean 'examples'? legal keys here: answers, "),
    ("profile.examples=1", "profile.examples: must be at least 2, got 1"),
    (
        "profile.examples=9",
        "profile.examples: must be at most dataset.tune, whose examples the profile is measured on (8",
    ),
    ("profile.points=1", "profile.points: must be at least 2, got 1"),
    ("profile.tolerance=0", "profile.tolerance: must be above 0.0, got 0"),
    ("profile.tolerance=1", "profile.tolerance: must be below 1.0, got 1"),
    ("profile.monotone=1", "profile.monotone: must be true or false, got 1"),
    ("sampler.block_length=0", "sampler.block_length[0]: must be at least 1, got 0"),
    ("sampler.block_length=[8, 4, 8]", "sampler.block_length: must not repeat an entry, got 8 twice; remove one"),
    ("sampler.block_length=[{a: 1}]", "sampler.block_length[0]: must be a whole number, got a mapping"),
    ("sampler.block_length=[]", "sampler.block_length: must be a list of at least 1, got []; add an entry"),
    ("sampler.block_steps=fair", "sampler.block_steps: must be one of equal, tuned, got 'fair'"),
    ("search.warm_start='of'", "search.warm_start: must be one of auto, profile, off, got 'of'; did you mean 'off'?"),
    ("search.baselines=[linear, optimum, optimum]", "search.baselines: must not repeat a schedule, got 'optimum' and"),
    ("search.baselines=[linear, optimun]", "search.baselines[1]: Unknown schedule 'optimun'"),
    ("evaluate.schedules=[]", "evaluate.schedules: must be a list of at least 1, got []; add an entry"),
    ("evaluate.schedules=linear", "evaluate.schedules: must be a list, got 'linear'; write it as ['linear']"),
    ("evaluate.schedules=[linear, 0.3]", "evaluate.schedules[1]: must be text, got 0.3; put a schedule that contains"),
    ("evaluate.schedules=['beta:1,2', 'beta:1.0,2']", "must not repeat a schedule, got 'beta:1,2' and 'beta:1.0,2'"),
    ("evaluate.schedules=[a.yaml, ./a.yaml]", "evaluate.schedules: must not repeat a schedule"),
    ("evaluate.steps=[4, 4]", "evaluate.steps: must not repeat an entry, got 4 twice; remove one"),
    ("sampler.steps=3", "sampler.steps: must be a list, got 3; write it as [3]"),
    ("sampler.steps=4,8", "sampler.steps: must be a list, got '4,8'; write it as [4,8]"),
    ("sampler.steps=[4, 0]", "sampler.steps[1]: must be at least 1, got 0"),
    ("sampler.steps=[]", "sampler.steps: must be a list of at least 1, got []"),
    (
        "sampler.temperature=1e-3",
        "--set sampler.temperature at line 1, column 1: 1e-3",
    ),
    ("sampler.temperature=-0.5", "sampler.temperature: must be at least 0.0, got -0.5"),
    ("sampler.temperature=.nan", "sampler.temperature: must be a finite number, got nan"),
    ("sampler.temperature=true", "sampler.temperature: must be a number, got true"),
    ("sampler.remasking=low", "sampler.remasking: unknown key; true remasking (hiding a revealed token again) is not"),
    ("sampler.remask=1", "true remasking (hiding a revealed token again) is not supported"),
    ("sampler.batch=0", "sampler.batch: must be at least 1, got 0"),
    ("seed=-1", "seed: must be at least 0, got -1"),
    ("seed=9223372036854775808", "seed: must be below 9223372036854775808, got 9223372036854775808"),
    ("output=", "output: must be text, got null; give text"),
    (
        "output=2020-01-01",
        "--set output at line 1, column 1: 2020-01-01 ",
    ),
    (
        "objective.metric=klt",
        "objective.metric: must be one of kl, tv, order_kl, nelbo, path_nll, agreement, spelling, exact_match, ",
    ),
    ("model=3", "model: must be a mapping, got 3"),
    (
        "model.type=markow",
        "model.type: must be one of transformer, huggingface, custom, markov, repeated-bit, parity, ",
    ),
    ("model.type=[markov]", "got ['markov']; choose one of them"),
    ("model={length: 3}", "model.type: is required and missing; add one of: transformer, huggingface, custom, markov"),
    ("model={type: transformer}", "model.path: is required and missing; add `path: package:text`"),
    ("model={type: transformer, path: 'package:'}", "model.path: package: must be followed by a name, got 'package:'"),
    ("model={type: transformer, path: 'package:a/b'}", "must be followed by a name, got 'package:a/b'; write it as"),
    ("model={type: transformer, path: ''}", "model.path: must be text that is not empty, got ''"),
    ('model={type: transformer, path: "a\\0"}', "model.path: must be text without a null character, got 'a\\x00'"),
    ("model={type: parity, length: 1}", "model.length: must be at least 2, got 1"),
    ("model={type: repeated-bit, length: 0}", "model.length: must be at least 1, got 0"),
    ("model.flip=1.5", "model.flip: must be at most 1.0, got 1.5; give 1.0 or less"),
    ("model.flip=-0.1", "model.flip: must be at least 0.0, got -0.1"),
    ("model.flip=null", "model: must have either flip or transition, got neither"),
    ("model.transition=[[1, 0, 0], [0, 1, 0], [0, 0, 1]]", "model: must have either flip or transition, got both"),
    ("model.transition=[[1, 0, 0], [0, 1, 0]]", "model.transition: must be 3 x 3, one row and one column per symbol"),
    ("model.transition=[[1, 0], [0.5, 0.4]]", "model.transition[1]: must sum to 1, got [0.5, 0.4] with sum 0.9"),
    ("model.transition=[[1, 0], [1, 0], [1, 0]]", "got 3 rows of lengths [2, 2, 2]; complete it, or change model.sym"),
    ("model={type: markov, length: 2, transition: [[1]]}", "model.transition: must be 2 x 2, one row and one column"),
    ("model.start=[0.33333, 0.33333, 0.33333]", "model.start: must sum to 1, got [0.33333, 0.33333, 0.33333] with sum"),
    ("model.transition=[]", "model.transition: must be a list of at least 1, got []"),
    ("model.start=[0.5, 0.5]", "model.start: must have one entry per symbol (3), got 2"),
    ("model.symbols=1", "model.symbols: must be at least 2, got 1"),
    ("model={type: table, sequences: {}}", "model.sequences: must hold strings of one common length, at least one"),
    ("model={type: table, sequences: {a: 1, ab: 1}}", "model.sequences: must hold strings of one common length"),
    ("model={type: table, sequences: {a: 0}}", "model.sequences.a: must be above 0.0, got 0"),
    (
        "model={type: table, sequences: {01: 1}}",
        "column 27: 01 is base 8 to some readers of YAML and base",
    ),
    ("model={type: table, sequences: [a, 1]}", "model.sequences: must hold texts, got 1; put each string in quotes"),
    ("model={type: table, sequences: [a, a]}", "model.sequences: must not repeat an entry, got 'a' twice"),
    ("model={type: mixture, weights: [1], components: [[[1]], [[1]]]}", "model.components: must have one entry per"),
    ("model={type: mixture, weights: [0.5, 0.4], components: [[[1]], [[1]]]}", "model.weights: must sum to 1"),
    (
        "model={type: mixture, weights: [0.5, 0.5], components: [[[1]], [[1, 0]]]}",
        "model.components: must all have one shape, length x symbols, got 1 x 1, 1 x 2",
    ),
    (
        "model={type: mixture, weights: [1], components: [[[1], [1, 0]]]}",
        "model.components: must all have one shape, length x symbols, got 2 x 1 and 2",
    ),
    ("dataset={type: law, tune: 7, choose: 8, report: 8}", "dataset.tune: must be at least 8, because fewer examples"),
    ("dataset={type: law, tune: 4000000000, choose: 8, report: 8}", "dataset.tune: must be at most 10000000, got"),
    (
        "dataset={type: txt}",
        "dataset.type: must be one of text, law, jsonl, csv, lines, datasets, lm-eval, humaneval, mbpp, got 'txt'; did",
    ),
    ("dataset={type: law, tune: 8, choose: 8}", "dataset.report: is required and missing; add `report: 512`"),
]


@pytest.mark.parametrize(("override", "expected"), BAD_VALUES)
def test_bad_value(tmp_path: Path, override: str, expected: str) -> None:
    content = whole(objective={"metric": "nelbo"}, dataset=TEXT)  # legal with every model
    (line,) = problems(tmp_path, content, override)
    assert expected in line


OWN = {"type": "custom", "target": "model.py:build"}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("search.trials=10001", "search.trials: must be at most 10000"),
        ("search.finalists=101", "search.finalists: must be at most 100"),
        ("search.rows=1000000000001", "search.rows: must be at most 1000000000000"),
        ("search.timeout=1.0e+300", "search.timeout: must be at most 320000000.0"),
        ("sampler.batch=1048577", "sampler.batch: must be at most 1048576"),
        ("sampler.temperature=1.0e+300", "sampler.temperature: must be 0, or from 0.0001 to 10000"),
        ("sampler.temperature=1.0e-300", "sampler.temperature: must be 0, or from 0.0001 to 10000"),
        ("sampler.guidance=1001", "sampler.guidance: must be at most 1000.0"),
        (f"sampler.steps={list(range(1, 102))}", "sampler.steps: must be a list of at most 100"),
        (f"evaluate.steps={list(range(1, 102))}", "evaluate.steps: must be a list of at most 100"),
        ("model.length=4097", "model.length: must be at most 4096"),
        ("model={type: markov, length: 4096, symbols: 1000, flip: 0.1}", "length x symbols x symbols must be at most"),
        ("a" + ".b" * 20_000 + "=1", "--set: must be section.key=value, got"),
    ],
)
def test_a_number_beyond_its_bound_is_refused(tmp_path: Path, override: str, said: str) -> None:
    assert any(said in line for line in problems(tmp_path, whole(), override))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"a": {1: "x", "b": "y"}}, "options.a must have keys of text, got 1"),
        ({"a": [float("inf")]}, r"options.a[0] must be a finite number, got inf"),
        ({"a": list(range(10_000))}, "must hold at most 10,000 values"),
    ],
)
def test_options_of_own_code_are_plain(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    found = problems(tmp_path, whole(model={**OWN, "options": options}))
    assert any(said in line for line in found)
