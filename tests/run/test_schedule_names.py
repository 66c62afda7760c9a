"""Schedules by their names: curves, counts, and schedule files, also at another length than they were tuned for."""

from __future__ import annotations

import errno
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mdm_tune.commands.evaluate import evaluate
from mdm_tune.commands.sample import sample
from mdm_tune.config.file import load_config
from mdm_tune.core.errors import InputError
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.run import schedule_names
from mdm_tune.run.build import Run, build
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.schedule_names import check_names, check_value, names_a_file, settings_of
from mdm_tune.schedules.adaptive_names import parse_adaptive
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import Beta
from tests.run.test_build import built
from tests.support.configs import LAW, TEXT, TRANSFORMER, load, whole


def at(folder: Path, length: int, **sampler: Any) -> Run:
    """A run on a chain of this length."""
    config: dict[str, Any] = {
        "model": {"type": "markov", "flip": 0.1, "length": length},
        "sampler": {"steps": [2], **sampler},
        "objective": {"metric": "order_kl"},
    }
    if sampler.get("order", "random") != "random":
        config |= {"dataset": LAW, "objective": {"metric": "path_nll"}}
    (folder / "c.yaml").write_text(yaml_text(config), encoding="utf-8")
    return build(load_config(folder / "c.yaml"))


def schedule_file(path: Path, length: int, *entries: dict[str, Any], **more: Any) -> str:
    folder = RunFolder(path)
    folder.open()
    given = [{"counts": None, "alphas": None, **entry} for entry in entries]
    folder.write_schedule({"length": length, "budgets": given, **more})
    return str(folder.schedule)


def test_a_schedule_file_is_a_curve_for_any_other_length(tmp_path: Path) -> None:
    """The counts are those of the curve; explicit ones are stretched along the running totals that they have."""
    beta = {"steps": 3, "schedule": "beta:0.9,0.3", "counts": list(to_counts(Beta(0.9, 0.3), 3, 28))}
    name = schedule_file(tmp_path / "run", 28, beta, {"steps": 2, "schedule": "counts:7,21", "counts": [7, 21]})
    for length in (30, 12, 2):  # with 2 tokens there are 2 steps
        here = at(tmp_path, length)
        (curve,) = settings_of(here.evaluator, [name], [3])
        assert (curve.counts, curve.length) == (to_counts(Beta(0.9, 0.3), 3, length), length)
    (explicit,) = settings_of(at(tmp_path, 12).evaluator, [name], [2])
    assert (explicit.counts, explicit.length) == ((3, 9), 12)


def test_alphas_of_a_schedule_file_know_no_length(tmp_path: Path) -> None:
    alphas = [0.0, 0.3, 1.0]
    name = schedule_file(tmp_path / "run", 28, {"steps": 2, "schedule": "alphas:0,0.3,1", "alphas": alphas})
    here = at(tmp_path, 5, reveal="bernoulli")
    (found,) = settings_of(here.evaluator, [name], [2])
    assert (found.alphas, found.length) == (tuple(alphas), 5)


def test_a_schedule_file_in_blocks_goes_to_any_length_that_they_divide(tmp_path: Path) -> None:
    inside = list(to_counts(Beta(2.0, 0.5), 2, 4))
    curve = {"steps": 4, "schedule": "beta:2,0.5", "counts": inside * 2, "block_length": 4}
    explicit = {"steps": 5, "schedule": "counts:1,3,1,1,2", "counts": [1, 3, 1, 1, 2], "block_length": 4}
    name = schedule_file(tmp_path / "run", 8, curve, explicit)
    four = at(tmp_path, 4).evaluator
    (found,) = settings_of(four, [name], [4])
    assert (found.counts, found.block_length) == (to_counts(Beta(2.0, 0.5), 4, 4), 4)
    twelve = at(tmp_path, 12).evaluator
    with pytest.raises(InputError, match=r"tuned for 8 tokens, does not fit the 12 here: 4 steps cannot be shared"):
        list(settings_of(twelve, [name], [4]))
    with pytest.raises(InputError, match="explicit counts for 8 tokens in blocks of 4, which have no curve"):
        list(settings_of(twelve, [name], [5]))
    ten = at(tmp_path, 10).evaluator
    with pytest.raises(InputError, match=r"do not divide the 10 here; set dataset\.generation_length to 8"):
        list(settings_of(ten, [name], [4]))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"steps": 3, "schedule": "linear", "counts": [1, 2, 5]}, r"linear, whose counts are \[3, 2, 3\], and counts"),
        ({"steps": 4, "schedule": "beta:2,0.5", "counts": [1, 3, 3, 1], "block_length": 4}, r"and counts \[1, 3, 3, 1"),
        (
            {"steps": 2, "schedule": "linear", "alphas": [0.0, 0.3, 1.0]},
            r"whose alphas are \[0.0, 0.5, 1.0\], and",
        ),
    ],
)
def test_a_name_that_does_not_give_its_counts_is_refused(tmp_path: Path, entry: dict[str, Any], said: str) -> None:
    """The counts would be used at this length and the schedule at any other, so that one of them is wrong somewhere."""
    name = schedule_file(tmp_path / "run", 8, entry)
    here = at(tmp_path, 8, reveal="bernoulli" if "alphas" in entry else "fixed")
    with pytest.raises(InputError, match=said):
        list(settings_of(here.evaluator, [name], [entry["steps"]]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kept_counts": [1, 3, 2, 2]}, r"whose kept_counts are \[2, 2, 2, 2\], and kept_counts \[1, 3, 2, 2\]"),
        ({"kept_counts": [4, 4]}, "kept_counts of policy quota:linear#4@0.5 must be for 4 steps, got 2"),
        ({"kept_counts": [1, 1, 1, 1, 1]}, "must be for 4 steps, got 5"),
        ({"kept_counts": [2, 2, 2, 1]}, r"kept_counts must sum to the length 8, got \[2, 2, 2, 1\] with sum 7"),
        (
            {"policy": "threshold:0.5", "schedule": None, "kept_counts": [2, 2, 2, 2]},
            r"kept_counts go with a quota or a cap, got \[2, 2, 2, 2\] without one",
        ),
    ],
)
def test_kept_counts_that_do_not_fit_their_policy_are_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    entry = {"steps": 2, "schedule": "linear", "policy": "quota:linear#4@0.5", "block_length": 8}
    name = schedule_file(tmp_path / "run", 8, {**entry, **changes})
    with pytest.raises(InputError, match=said):
        list(settings_of(at(tmp_path, 8).evaluator, [name], [2]))


@pytest.mark.parametrize("steps", [128, 256, 4096])
def test_counts_of_many_steps_are_a_name_and_no_path(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "counts:" + ",".join(["1"] * steps)
    monkeypatch.setattr(Path, "is_file", lambda self: pytest.fail("the disk was asked"))
    assert not schedule_names.names_a_file(name)
    assert schedule_names.own_steps(name) == [steps]


def test_a_folder_named_as_a_schedule_is_given_with_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "linear").mkdir()
    (tmp_path / "linear" / "schedule.yaml").touch()
    assert not schedule_names.names_a_file("linear")
    assert schedule_names.names_a_file("./linear") and schedule_names.names_a_file("~/linear")
    assert not schedule_names.names_a_file("x" * 5000)


def test_a_run_folder_that_may_not_be_entered_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(self: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_file", closed)
    assert schedule_names.names_a_file("closed")  # reading it then says what is wrong


def test_a_schedule_file_of_another_reveal_or_budget_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.open()
    entry = {"steps": 2, "schedule": "linear", "counts": [2, 2], "alphas": None}
    folder.write_schedule({"length": 4, "budgets": [entry]})
    name = str(folder.schedule)
    sampler = {"steps": [2], "reveal": "bernoulli"}
    ancestral = built(tmp_path, model={"type": "parity", "length": 4}, sampler=sampler)
    with pytest.raises(InputError, match=r"was tuned for fixed counts; set sampler\.reveal to match"):
        list(settings_of(ancestral.evaluator, [name], [2]))
    fitting = built(tmp_path, model={"type": "parity", "length": 4})
    with pytest.raises(InputError, match=r"is for 2 steps, got 3; give --steps 2"):
        list(settings_of(fitting.evaluator, [name], [3]))


def test_a_policy_of_a_file_goes_to_other_lengths_and_needs_fixed_reveal(tmp_path: Path) -> None:
    entries = [
        {"steps": 4, "schedule": None, "policy": "threshold:0.9", "block_length": 8},
        {"steps": 2, "schedule": "beta:0.9,0.3", "policy": "quota:beta:0.9,0.3#4@0.5", "block_length": 4},
        {"steps": 3, "schedule": "counts:1,1,2,4", "policy": "quota:counts:1,1,2,4#4@0.5", "block_length": 8},
    ]
    name = schedule_file(tmp_path / "run", 8, *entries)
    for length in (8, 16):
        here = at(tmp_path, length, order="margin").evaluator
        free, kept, explicit = (next(settings_of(here, [name], [steps])) for steps in (4, 2, 3))
        assert (free.form, free.block_length, free.base, free.counts) == ("threshold", length, None, None)
        assert free.name == name and free.adaptive is not None and free.adaptive.name == "threshold:0.9"
        assert kept.base is not None and explicit.base is not None and kept.block_length == 4
        if length == 8:
            assert kept.base.counts == to_counts(Beta(0.9, 0.3), 2, 4) * 2 and explicit.base.counts == (1, 1, 2, 4)
        assert sum(kept.base.counts or ()) == sum(explicit.base.counts or ()) == length
        (named,) = settings_of(here, ["threshold:0.9"], [4])
        assert named.key == free.key
    with pytest.raises(InputError, match=r"was tuned in blocks of 4 tokens, 8 in all, and they do not divide the 10"):
        list(settings_of(at(tmp_path, 10, order="margin").evaluator, [name], [2]))
    for order, needed in (
        (("random", "random order; set sampler.order to confidence")),
        ("entropy", "got sampler.order 'entropy'"),
    ):
        with pytest.raises(InputError, match=rf"holds an adaptive policy at 4 steps: threshold:0\.9 .*{needed}"):
            list(settings_of(at(tmp_path, 8, order=order).evaluator, [name], [4]))
    (bound,) = settings_of(at(tmp_path, 8, order="entropy").evaluator, ["entropy-bound:0.5"], [4])
    assert bound.adaptive is not None
    sampler = {"steps": [4], "order": "confidence", "confidence_temperature": 0.5}
    sections = whole(model=TRANSFORMER, dataset=TEXT, objective={"metric": "spelling"}, sampler=sampler)
    heated = build(load(tmp_path, sections)).evaluator
    with pytest.raises(InputError, match=r"cap.*confidence_temperature must be 0, got 0\.5; leave it out"):
        list(settings_of(heated, ["cap:linear#4@0.5"], [4]))
    ancestral = at(tmp_path, 8, reveal="bernoulli").evaluator
    with pytest.raises(InputError, match=r"holds an adaptive policy at 4 steps: threshold:0\.9 decides .* fixed"):
        list(settings_of(ancestral, [name], [4]))
    with pytest.raises(InputError, match=r"schedule .* is for 2, 3, 4 steps, got 5; give --steps 2 or 3 or 4, or"):
        list(settings_of(at(tmp_path, 8).evaluator, [name], [5]))
    with pytest.raises(InputError, match=r"quota keeps the counts .*\.yaml holds the adaptive policy threshold:0"):
        list(settings_of(at(tmp_path, 8, order="margin").evaluator, [f"quota:{name}@0.5"], [4]))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("treshold:0.9", r"Did you mean threshold\?.* Or optimum, the best of all on the profile, a file"),
        ("quota:lineer@0.9", r"'lineer'\. Did you mean linear\?"),
        ("quota:none.yaml@0.9", "cannot read none.yaml"),
        ("threshold:2", "a probability from 0 to 1"),
        ("counts:1,x", "Invalid numbers"),
        ("none.yaml", "cannot read none.yaml"),
        ("", "name is empty"),
    ],
)
@pytest.mark.parametrize("command", [sample, evaluate])
def test_a_wrong_name_is_said_before_the_model_is_loaded(command: Any, name: str, message: str, tmp_path: Path) -> None:
    """The model of this config cannot be loaded, which would be said otherwise."""
    config = {"model": {"type": "transformer", "path": str(tmp_path)}, "sampler": {"steps": [2]}}
    data = {"type": "text", "path": "package:text", "tune": 8, "choose": 8, "report": 8}
    (tmp_path / "c.yaml").write_text(
        yaml_text({**config, "dataset": data, "objective": {"metric": "spelling"}}), encoding="utf-8"
    )
    more: dict[str, Any] = {"differences": False} if command is evaluate else {"number": 1}
    call = partial(command, load_config(tmp_path / "c.yaml"), steps=2 if command is sample else [2], **more)
    given = (lambda text: {"schedule": text}) if command is sample else (lambda text: {"schedules": [text]})
    with pytest.raises(InputError, match=message):
        call(**given(name), notify=lambda event: None)
    with pytest.raises(InputError, match=r"config\.json"):
        call(**given("quota:beta:0.9,0.3@0.9"), notify=lambda event: None)


def test_a_plan_without_a_value_is_refused_by_sample_alone_before_loading() -> None:
    check_names(["threshold", "optimum", "quota:linear", "klass"])
    with pytest.raises(InputError, match=r"^klass has no value of its own: .* as in klass@0\.9$"):
        check_value(parse_adaptive("klass"))
    check_value(parse_adaptive("klass@0.9"))
    check_value(None)


def test_the_file_of_a_quota_or_a_cap_is_no_schedule_file_itself(tmp_path: Path) -> None:
    file = schedule_file(
        tmp_path / "run", 8, {"steps": 4, "schedule": "linear", "counts": [2, 2, 2, 2], "block_length": 8}
    )
    assert names_a_file(file) and not names_a_file(f"quota:{file}") and not names_a_file(f"Cap:{file}")
    check_names([file, f"quota:{file}", f"cap:{file}@0.9"])
    with pytest.raises(InputError, match=r"cannot read none\.yaml"):
        check_names(["quota:none.yaml"])
