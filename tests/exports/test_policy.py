from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mdm_tune.core.errors import InputError
from mdm_tune.exports.policy import read_policy
from mdm_tune.exports.registry import FORMATS
from mdm_tune.version import __version__


def write(folder: Path, **changes: object) -> Path:
    entry = {"steps": 2, "schedule": "counts:5,3", "counts": [5, 3], "alphas": None, "block_length": 8}
    record = {
        "format": "mdm-tune-schedule-1",
        "length": 8,
        "sampler": {"order": "margin"},
        "budgets": [entry | changes],
    }
    (folder / "schedule.yaml").write_text(yaml.safe_dump(record), "utf-8")
    return folder


def test_a_run_folder_is_read_with_its_sampler(tmp_path: Path) -> None:
    policy = read_policy(str(write(tmp_path)))
    assert (policy.kind, policy.counts, policy.length, policy.steps, policy.block_length) == (
        "counts",
        ((5, 3),),
        8,
        2,
        8,
    )
    assert policy.sampler == {"order": "margin"}
    assert read_policy(str(tmp_path / "schedule.yaml")).digest == policy.digest
    first, second, third, fourth = policy.provenance("llada")
    assert first == f"Written by mdm-tune {__version__}, mdm-tune export --to llada"
    assert str(tmp_path) in second and policy.digest in second
    assert (third, fourth) == ("Schedule: counts:5,3, 2 steps, 8 tokens", "Tuned for: order margin")


def test_a_damaged_file_and_a_folder_without_a_search_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it says schedule linear, whose counts"):
        read_policy(str(write(tmp_path, schedule="linear")))
    folder = tmp_path / "profiled"
    folder.mkdir()
    with pytest.raises(InputError, match="No such file"):
        read_policy(str(folder))
    (folder / "profile-beta.yaml").write_text("x", "utf-8")
    with pytest.raises(InputError, match=r"holds no search; .*profile-beta\.yaml; give one of them"):
        read_policy(str(folder))


def test_named_schedules_need_a_length_and_steps() -> None:
    policy = read_policy("beta:1,1", 4, 8)
    assert policy.counts == ((1, 3, 3, 1),)
    with pytest.raises(InputError, match="give --length and --steps"):
        read_policy("linear")
    with pytest.raises(InputError, match="give --steps,"):
        read_policy("linear", length=8)
    assert read_policy("counts:5,3").counts == ((5, 3),)
    assert read_policy("counts:3,1,2,2", size=4).counts == ((3, 1), (2, 2))
    with pytest.raises(InputError, match="has 2 steps but the budget is 3"):
        read_policy("counts:5,3", steps=3)
    alphas = read_policy("alphas:0,0.3,1", length=9)
    assert (alphas.kind, alphas.alphas, alphas.steps) == ("alphas", (0, 0.3, 1), 2)
    with pytest.raises(InputError, match=r"profile-optimum\.yaml"):
        read_policy("optimum")
    with pytest.raises(InputError, match="Did you mean linear"):
        read_policy("linaer")


@pytest.mark.parametrize("wrong", ["steps", "length", "size"])
def test_numbers_below_one_are_refused(wrong: str) -> None:
    with pytest.raises(InputError, match="must be an integer of at least 1, got -4"):
        read_policy("linear", **{"steps": 2, "length": 8, wrong: -4})


def test_adaptive_policies_need_a_value_and_a_length() -> None:
    policy = read_policy("threshold:0.9", length=64, size=16)
    assert (policy.kind, policy.value, policy.steps, policy.blocks, policy.calls) == ("threshold", 0.9, 0, 4, 0)
    quota = read_policy("quota:counts:5,3@0.8")
    assert (quota.kind, quota.value, quota.counts) == ("quota", 0.8, ((5, 3),))
    cap = read_policy("cap:counts:5,3@0.8")
    assert (cap.kind, cap.value, cap.counts) == ("cap", 0.8, ((5, 3),)) and "cap with threshold 0.8" in cap.described
    klass = read_policy("klass:0.05@0.8", length=64, size=16)
    assert (klass.kind, klass.value, klass.kl, klass.blocks) == ("klass", 0.8, 0.05, 4)
    assert read_policy("quota:linear@0.8", 4, 8).counts == ((2, 2, 2, 2),)
    assert read_policy("quota:linear#4@0.8", length=8) == read_policy("quota:linear#4@0.8", 4, 8)
    assert read_policy("quota:linear#4@0.8", length=8).counts == ((2, 2, 2, 2),)
    with pytest.raises(InputError, match="names the steps of its counts, got --steps 2 besides; leave it out"):
        read_policy("quota:linear#4@0.8", 2, 8)
    for name, message in (
        ("threshold", "as in threshold:0.9"),
        ("quota:linear", "as in quota:linear@0.9"),
        ("cap:linear", "as in cap:linear@0.9"),
        ("klass:0.05", "as in klass:0.05@0.9"),
        ("cap:alphas:0,0.5,1@0.9", "ancestral reveal has none"),
        ("entropy-bound:1", "give --length"),
        ("quota:alphas:0,0.5,1@0.9", "ancestral reveal has none"),
    ):
        with pytest.raises(InputError, match=message):
            read_policy(name, length=None if "bound" in name else 64)
    with pytest.raises(InputError, match="got --steps 3; leave it out"):
        read_policy("threshold:0.9", 3, 64)
    with pytest.raises(InputError, match="divide the length 64, got 10"):
        read_policy("threshold:0.9", None, 64, 10)


def test_a_policy_of_a_file_is_exported_as_its_name(tmp_path: Path) -> None:
    """To every format that takes it; the others say in one message what they take."""
    free = {"counts": None, "schedule": None, "policy": "threshold:0.873", "block_length": 4}
    kept = {"counts": None, "schedule": "sine", "policy": "quota:sine#4@0.5", "block_length": 8}
    bound = {"counts": None, "schedule": None, "policy": "entropy-bound:0.25", "block_length": 8}
    cap, klass = {**kept, "policy": "cap:sine#4@0.5"}, {**bound, "policy": "klass:0.05@0.9"}
    for changes, steps in ((free, None), (kept, 4), (cap, 4), (bound, None), (klass, None)):
        name = str(changes["policy"])
        policy = read_policy(str(write(tmp_path, **changes)))
        named = read_policy(name, steps, 8, int(str(changes["block_length"])))
        assert (policy.name, policy.plan, policy.sampler) == (str(tmp_path), name, {"order": "margin"})
        assert replace(policy, name=name, sampler={}, digest="") == named and policy.digest
        assert policy.described == named.described and policy.notes == ()
        taken = {known.name for known in FORMATS.values() if policy.kind in known.kinds}
        assert {"json", "csv"} <= taken < FORMATS.keys()
        for known in FORMATS.values():
            if known.name in taken:
                made, of_name = known.export(policy), known.export(named)
                assert made.files.keys() == of_name.files.keys() and {*of_name.lost} <= {*made.lost}
            else:
                with pytest.raises(InputError, match=r"; the nearest is "):
                    known.export(policy)
    longer = read_policy(str(write(tmp_path, **free)), length=16, size=16)
    assert (longer.length, longer.block_length, longer.value) == (16, 16, 0.873)
    assert [note.partition(":")[0] for note in longer.notes] == [
        "A length of 16 tokens was not tuned",
        "The policy was tuned for blocks of 4, and is used for one block.",
    ]
    assert read_policy(str(write(tmp_path, **kept)), 2, 16).notes[0].startswith("A length of 16 tokens was not tuned")
    with pytest.raises(InputError, match="budgets of 2 steps, got 4; the nearest holds the adaptive policy quota:"):
        read_policy(str(tmp_path), 4)
    with pytest.raises(InputError, match="the block length must divide the length 6, got 4"):
        read_policy(str(write(tmp_path, **free)), length=6)
    with pytest.raises(InputError, match=r"holds the adaptive policy threshold:0\.873; name a schedule"):
        read_policy(f"quota:{write(tmp_path, **free)}@0.5", 2)


def test_what_blocks_share() -> None:
    policy = read_policy("counts:3,0,1,4", size=4)
    assert policy.counts == ((3, 0, 1), (4,))
    assert policy.padded == ((3, 0, 1), (4, 0, 0))
    assert (policy.most_steps, policy.calls, policy.one_for_all) == (3, 3, False)
    assert policy.flat_counts == (3, 0, 1, 4)


def test_texts_of_a_file_cannot_become_code(tmp_path: Path) -> None:
    """A schedule file may come from somebody else, and an exported file is imported."""
    folder = write(tmp_path)
    file = folder / "schedule.yaml"
    file.write_text(
        file.read_text("utf-8").replace("order: margin", 'order: "margin\\nimport os #\\r\\u2028x"'), "utf-8"
    )
    policy = read_policy(str(folder))
    assert "\n" in policy.sampler["order"]
    for known in FORMATS.values():
        if policy.kind in known.kinds:
            for name, text in known.export(policy).files.items():
                if name.endswith(".py"):
                    assert not any(line.lstrip().startswith("import os") for line in text.splitlines())
    assert all(line.isprintable() for line in policy.provenance("llada"))
