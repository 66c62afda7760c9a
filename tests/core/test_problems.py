"""What a bad config is answered: every problem at once, each with its dotted path, the value and the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mdm_tune.config.file import Config, load_config
from mdm_tune.core.errors import InputError
from mdm_tune.core.plain_yaml import yaml_text

SPLITS = {"tune": 8, "choose": 9, "report": 10}
LAW = {"type": "law", **SPLITS}
TEXT = {"type": "text", "path": "package:text", **SPLITS}
TRANSFORMER = {"type": "transformer", "path": "package:text"}
MARKOV = {"type": "markov", "length": 4, "symbols": 3, "flip": 0.25}


def whole(**sections: Any) -> dict[str, Any]:
    """A complete good config in which the given sections replace or extend the usual ones; None removes one."""
    usual = {"model": MARKOV, "sampler": {"steps": [2, 4]}, "objective": {"metric": "kl"}}
    return {key: value for key, value in {**usual, **sections}.items() if value is not None}


def load(folder: Path, content: dict[str, Any] | str | bytes, *overrides: str, **flags: Any) -> Config:
    path = folder / "run.yaml"
    text = yaml_text(content) if isinstance(content, dict) else content
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_config(path, overrides, **flags)


def problems(folder: Path, content: dict[str, Any] | str | bytes, *overrides: str, **flags: Any) -> list[str]:
    """The lines of the error, which is expected, without the header that counts them."""
    with pytest.raises(InputError) as caught:
        load(folder, content, *overrides, **flags)
    header, *lines = str(caught.value).split("\n")
    assert header == f"{folder / 'run.yaml'}: {len(lines)} problem{'s' * (len(lines) > 1)} in the config"
    return [line.removeprefix("  ") for line in lines]


BAD_VALUES = [
    ("search.trials=0", "search.trials: must be at least 1, got 0; give 1 or more"),
    ("search.trials='16'", "search.trials: must be a whole number, got '16'; write it without quotes"),
    ("search.trials=16.0", "search.trials: must be a whole number, got 16.0; write 16"),
    ("search.trials=true", "search.trials: must be a whole number, got true; write digits"),
    ("search.trials=0x" + "f" * 5000, "--set search.trials at line 1, column 1: 0xffff"),
    ("search.trial=3", "search.trial: unknown key; did you mean 'trials'? legal keys here: strategy, trials, space"),
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
        "objective.metric: must be one of kl, tv, order_kl, nelbo, path_nll, spelling, exact_match, ",
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


CONFLICTS = [
    # metric, sampler, dataset, model, the one line expected or None where the combination is legal
    ("kl", {"order": "confidence", "reveal": "bernoulli"}, None, MARKOV, "sampler.order: reveal bernoulli needs order"),
    ("kl", {"reveal": "bernoulli"}, None, MARKOV, None),
    ("kl", {"order": "confidence", "temperature": 0.5}, None, MARKOV, None),
    ("kl", {}, None, TRANSFORMER, "objective.metric: kl needs a model whose law is known exactly"),
    ("tv", {}, None, TRANSFORMER, "objective.metric: tv needs a model whose law is known exactly"),
    ("order_kl", {}, None, TRANSFORMER, "objective.metric: order_kl needs a model whose law is known exactly"),
    ("tv", {}, None, MARKOV, None),
    ("order_kl", {}, None, MARKOV, None),
    ("order_kl", {"order": "margin"}, None, MARKOV, "sampler.order: metric order_kl needs order random, got 'margin'"),
    ("order_kl", {"temperature": 2}, None, MARKOV, "sampler.temperature: metric order_kl prices tokens at temperature"),
    ("nelbo", {}, LAW, MARKOV, None),
    ("nelbo", {"reveal": "bernoulli"}, TEXT, TRANSFORMER, None),
    ("nelbo", {}, None, MARKOV, "objective.metric: nelbo is measured on examples, got no dataset; add a dataset"),
    ("nelbo", {"order": "entropy"}, LAW, MARKOV, "got 'entropy'; set sampler.order to random, or objective.metric to"),
    ("nelbo", {"temperature": 0}, LAW, MARKOV, "sampler.temperature: metric nelbo prices tokens at temperature 1, got"),
    ("path_nll", {"order": "margin"}, LAW, MARKOV, None),
    ("path_nll", {"order": "entropy", "temperature": 0}, TEXT, TRANSFORMER, None),
    ("path_nll", {"order": "confidence", "temperature": 0}, LAW, MARKOV, None),
    ("path_nll", {"order": "confidence"}, LAW, MARKOV, "'confidence' at temperature 1.0; use top-probability, margin"),
    ("path_nll", {}, LAW, MARKOV, "sampler.order: metric path_nll needs an order that follows from the predictions"),
    ("path_nll", {"order": "margin", "temperature": 0.5}, LAW, MARKOV, "sampler.temperature: metric path_nll prices"),
    ("path_nll", {"order": "top-probability"}, None, MARKOV, "objective.metric: path_nll is measured on examples"),
    ("order_kl", {"block_length": 2}, None, MARKOV, None),
    ("nelbo", {"block_length": 2}, TEXT, TRANSFORMER, None),
    ("nelbo", {"block_length": [2, 4], "block_steps": "tuned"}, TEXT, TRANSFORMER, None),
    (
        "nelbo",
        {"block_steps": "tuned"},
        TEXT,
        TRANSFORMER,
        "sampler.block_steps: tuned shares the steps out among blocks, got no block_length; set sampler.block_length",
    ),
    ("kl", {"block_length": [2, 4]}, None, MARKOV, "sampler.block_length: metric kl is computed for one block only, "),
    ("path_nll", {"block_length": 2, "order": "margin"}, LAW, MARKOV, None),
    ("spelling", {"block_length": 2}, TEXT, TRANSFORMER, None),
    ("kl", {"block_length": 2}, None, MARKOV, "sampler.block_length: metric kl is computed for one block only, got 2"),
    ("tv", {"block_length": 2}, None, MARKOV, "sampler.block_length: metric tv is computed for one block only, got 2"),
    (
        "order_kl",
        {"block_length": 2, "reveal": "bernoulli"},
        None,
        MARKOV,
        "sampler.block_length: blocks need reveal fixed, because ancestral reveal picks its positions by itself, got 2",
    ),
    ("spelling", {"order": "confidence"}, TEXT, TRANSFORMER, None),
    ("spelling", {"order": "random", "temperature": 0}, TEXT, TRANSFORMER, None),
    (
        "spelling",
        {"order": "margin", "temperature": 0},
        TEXT,
        TRANSFORMER,
        "order 'margin' fills every example with the",
    ),
    ("spelling", {}, None, TRANSFORMER, "objective.metric: spelling needs a dataset of type text, got no dataset"),
    ("spelling", {}, LAW, MARKOV, "objective.metric: spelling needs a dataset of type text, got 'law'"),
    ("nelbo", {}, LAW, TRANSFORMER, "dataset.type: law draws its examples from an exact model"),
]


@pytest.mark.parametrize(("metric", "sampler", "dataset", "model", "expected"), CONFLICTS)
def test_settings_that_contradict_each_other(
    tmp_path: Path, metric: str, sampler: dict[str, Any], dataset: Any, model: Any, expected: str | None
) -> None:
    content = whole(objective={"metric": metric}, sampler={"steps": [2], **sampler}, dataset=dataset, model=model)
    if expected is None:
        assert load(tmp_path, content).objective.metric == metric
    else:
        (line,) = problems(tmp_path, content)
        assert expected in line


def test_a_profile_takes_no_more_examples_than_there_are(tmp_path: Path) -> None:
    data = {"objective": {"metric": "nelbo"}, "dataset": TEXT}
    assert load(tmp_path, whole(profile={"examples": 8}, **data)).profile.examples == 8
    (line,) = problems(tmp_path, whole(profile={"examples": 9}, **data))
    assert line.endswith("(8), got 9; lower it or raise dataset.tune")
    (line,) = problems(tmp_path, whole(profile={"examples": "many"}, **data))  # not judged against dataset.tune
    assert line.startswith("profile.examples: must be a whole number")


def test_path_nll_needs_counts(tmp_path: Path) -> None:
    """Bernoulli reveal forbids every order that path_nll needs, so two rules are broken at once."""
    sampler = {"steps": [2], "reveal": "bernoulli", "order": "margin"}
    lines = problems(tmp_path, whole(objective={"metric": "path_nll"}, sampler=sampler, dataset=LAW))
    assert [line.split(": ")[0] for line in lines] == ["sampler.order", "sampler.reveal"]


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    content = {
        "model": {**MARKOV, "length": 0, "flipp": 1},
        "sampler": {"order": "confidence", "reveal": "bernoulli", "temperature": "hot", "steps": [1, 1]},
        "objective": {"metric": "nelbo"},
        "search": {"trials": 0, "space": {"a": [2, 1]}},
        "sede": 1,
    }
    lines = problems(tmp_path, content, "sampler.steps.first=1", "nonsense", "evaluate.steps=[", "search.finalists=0")
    assert [line.split(": ")[0] for line in lines] == [
        "sampler.steps",  # the three overrides that cannot be applied
        "--set",
        "--set evaluate.steps",
        "model.length",
        "model.flipp",
        "sampler.temperature",
        "sampler.steps",
        "search.trials",
        "search.space.a",
        "search.finalists",
        "sede",
        "sampler.order",  # and what contradicts each other among the settings that are sound in themselves
        "sampler.order",
        "objective.metric",
    ]


@pytest.mark.parametrize(
    ("metric", "wrong", "expected"),
    [
        ("kl", {"order": "confidence", "reveal": "bernouli"}, "sampler.reveal: must be one of fixed, bernoulli, got"),
        ("kl", {"order": "confidense", "reveal": "bernoulli"}, "got 'confidense'; did you mean 'confidence'?"),
        ("nelbo", {"order": "randm"}, "got 'randm'; did you mean 'random'?"),
        ("path_nll", {"order": "margin", "temperature": "hot"}, "sampler.temperature: must be a number, got 'hot'"),
        ("nelbo", {"temperature": "hot"}, "sampler.temperature: must be a number, got 'hot'"),
    ],
)
def test_a_wrong_setting_is_not_judged_against_others(
    tmp_path: Path, metric: str, wrong: dict[str, Any], expected: str
) -> None:
    content = whole(sampler={"steps": [2], **wrong}, objective={"metric": metric}, dataset=LAW)
    (line,) = problems(tmp_path, content)
    assert expected in line


def test_a_config_made_in_python_is_judged_too(tmp_path: Path) -> None:
    content = whole(objective={"metric": "nelbo"})
    with pytest.raises(InputError, match=r"^objective.metric: nelbo is measured on examples"):
        Config.model_validate({**content, "output": "x"})


def test_required_sections(tmp_path: Path) -> None:
    assert problems(tmp_path, "seed: 1") == [
        "model: is required and missing; add `model: {type: markov, length: 32, flip: 0.05}`",
        "sampler: is required and missing; add `sampler: {steps: [4, 8]}`",
        "objective: is required and missing; add `objective: {metric: order_kl}`",
    ]
    added = "model: {type: markov, length: 32, flip: 0.05}\nsampler: {steps: [4, 8]}\nobjective: {metric: order_kl}"
    assert load(tmp_path, added).sampler.steps == (4, 8)


def test_flags_are_named_in_their_errors(tmp_path: Path) -> None:
    assert problems(tmp_path, whole(), trials=0, seed=-1, output="") == [
        "--trials: must be at least 1, got 0; give 1 or more",
        "--seed: must be at least 0, got -1; give 0 or more",
        "--output: must be text that is not empty, got ''; give it a value",
    ]
    (line,) = problems(tmp_path, whole(search=3), trials=5)
    assert line.startswith("search: must be a mapping, got 3")


@pytest.mark.parametrize("override", ["search.trials", "=3", "search.=3", ".trials=3", "a..b=3"])
def test_malformed_override(tmp_path: Path, override: str) -> None:
    (line,) = problems(tmp_path, whole(), override)
    assert line == f"--set: must be section.key=value, got {override!r}; write it like --set search.trials=5"


FILES = [
    ("", "the config is empty; it needs at least the sections model, sampler and objective"),
    ("# only a comment", "the config is empty"),
    ("- model", "a config must be a mapping of sections, got ['model']; write `model:` first"),
    ("model", "a config must be a mapping of sections, got 'model'"),
    (
        "seed: 1\nmodel: [1",
        "not valid YAML at line 3, column 1: while parsing a flow sequence",
    ),
    ("seed: 1\n\tmodel: 1", "not valid YAML at line 2, column 1: while scanning a plain scalar, found a tab character"),
    ("seed: 1\nmodel:\n  a: 1\n  b: 2\n  a: 3", "at line 5, column 3: key 'a' is given twice"),
    ("seed: 1\nmodel: a\x01", "not valid YAML at line 2, column 9: character '\\x01' is not allowed"),
    (
        "model: !!python/object/apply:os.getcwd []",
        "at line 1, column 8: tags such as !!python/object/apply:os.getcwd are not read",
    ),
    ("a: 1\n---\nb: 1", "at line 2, column 1: a second document begins; keep one"),
    (
        "a: 2020-13-01",
        "at line 1, column 4: 2020-13-01 is a date to some readers of YAML and text to others",
    ),
    ("a: " + "[" * 1_000, "at line 1, column 67: it is nested in more than 64 levels; write it flatter"),
    (b"model: \xff", "must be UTF-8 text, got byte 0xff at offset 7; save the file as UTF-8"),
]


@pytest.mark.parametrize(("content", "expected"), FILES)
def test_bad_file(tmp_path: Path, content: str | bytes, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path / 'run.yaml'}")
    assert expected in str(caught.value)


def test_no_file_a_folder_and_a_closed_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"cannot read .*absent\.yaml: No such file or directory; give the YAML file"):
        load_config(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match=r"is a folder, not a file that can be read; give the YAML file of a run"):
        load_config(tmp_path)
    with pytest.raises(InputError, match=r"cannot read .*: no path holds a null character"):
        load_config(Path("a\0.yaml"))

    def refuse(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("mdm_tune.core.reading.os.open", refuse)  # a superuser can read every file: mode bits do not do
    with pytest.raises(InputError, match=r"cannot read .*: Permission denied; check the rights of the file"):
        load_config(tmp_path / "closed.yaml")
