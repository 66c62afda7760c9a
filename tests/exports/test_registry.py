"""What holds for every export format.

Covers: registry, base, target.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mdm_tune.core.errors import InputError
from mdm_tune.core.plain_yaml import yaml_value
from mdm_tune.exports.base import ExportFormat, Realised, check_expressible, sampling_arguments
from mdm_tune.exports.policy import Policy, read_policy
from mdm_tune.exports.registry import FORMATS, format_of
from mdm_tune.schedules.counts import alpha_grid, to_counts
from mdm_tune.schedules.curves import Beta
from tests.support.exports import adaptive_policy, alphas_policy, counts_policy

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
ALL = [pytest.param(known, id=known.name) for known in FORMATS.values()]
CURVE = Beta(0.8, 1.3)
EXAMPLES: dict[str, Policy] = {
    "counts": counts_policy((3, 2, 2, 1), name="runs/text"),
    "alphas": alphas_policy((0.0, 0.25, 0.5, 1.0)),
    "threshold": adaptive_policy("threshold", 0.9),
    "quota": counts_policy((3, 2, 2, 1), kind="quota", value=0.9, name="quota:runs/text@0.9"),
    "entropy-bound": adaptive_policy("entropy-bound", 0.5),
    "cap": counts_policy((3, 2, 2, 1), kind="cap", value=0.9, name="cap:runs/text@0.9"),
    "klass": replace(adaptive_policy("klass", 0.9), name="klass:0.01@0.9", kl=0.01),
}


@pytest.mark.parametrize("known", ALL)
def test_a_format_expresses_what_it_says_and_refuses_the_rest(known: ExportFormat) -> None:
    assert known.kinds and known.kinds <= set(EXAMPLES)
    for kind, policy in EXAMPLES.items():
        if kind in known.kinds:
            made = known.export(policy)
            assert made.files and made.where
        else:
            with pytest.raises(InputError, match=rf"(?s)^{known.name} .*; the nearest is .*; it loses: "):
                known.export(policy)


@pytest.mark.parametrize("known", ALL)
def test_files_stand_alone_and_say_where_they_come_from(known: ExportFormat) -> None:
    for kind in known.kinds:
        made = known.export(EXAMPLES[kind])
        assert len(made.where) <= 10
        for name, text in made.files.items():
            assert re.fullmatch(r"[a-z0-9_]+\.(py|json|yaml|csv|txt)", name)
            assert text.endswith("\n") and f"mdm-tune export --to {known.name}" in text[:2000]
            assert EXAMPLES[kind].name in text[:2000]
            assert all(len(line) <= 2000 for line in text.splitlines())
            if name.endswith(".py"):
                tree = ast.parse(text)
                assert ast.get_docstring(tree)
                assert "mdm_tune." not in text and not re.search(r"import mdm_tune\b", text)
            elif name.endswith(".json"):
                json.loads(text)
            elif name.endswith(".yaml"):
                yaml_value(text, name)


def tuned(folder: Path, kind: str) -> str:
    """A run folder with a schedule that was tuned for 32 tokens and 4 steps."""
    found = CURVE, to_counts(CURVE, 4, 32), alpha_grid(CURVE, 4).tolist()
    entry = {"steps": 4, "schedule": found[0].name, "counts": None, "alphas": None, "block_length": None}
    entry |= {"alphas": found[2]} if kind == "alphas" else {"counts": list(found[1])}
    record = {"format": "mdm-tune-schedule-1", "length": 32, "sampler": {}, "budgets": [entry]}
    (folder / "schedule.yaml").write_text(yaml.safe_dump(record), "utf-8")
    return str(folder)


@pytest.mark.parametrize("known", ALL)
@pytest.mark.parametrize(("length", "steps"), [(48, 6), (32, 6), (48, 4), (12, 20)])
def test_a_run_at_another_length_and_other_steps(known: ExportFormat, length: int, steps: int, tmp_path: Path) -> None:
    """Every file says what was not tuned, and how many steps are made of more steps than tokens."""
    for kind in ("counts", "alphas"):
        policy = read_policy(tuned(tmp_path, kind), steps, length)
        if kind == "counts":
            made = min(steps, length)
            assert (policy.length, policy.steps, policy.counts) == (length, made, (to_counts(CURVE, steps, length),))
            said = [f"A length of {length} tokens was not tuned"] * (length != 32)
            said += [f"{steps} steps are more than the {length} tokens to fill: {made} steps are made"] * (steps > made)
        else:
            said = []
            assert (policy.length, policy.steps) == (length, steps)
            assert policy.alphas == pytest.approx(alpha_grid(CURVE, steps))
        said += [f"{steps} steps were not tuned: the {kind} follow from"] * (steps != 4)
        assert len(policy.notes) == len(said) and all(any(start in note for note in policy.notes) for start in said)
        if kind not in known.kinds:
            with pytest.raises(InputError, match="; the nearest is "):
                known.export(policy)
            continue
        for text in known.export(policy).files.values():
            assert all(note in text for note in policy.notes)


@pytest.mark.parametrize("known", [each for each in ALL if "counts" in each.values[0].kinds])  # type: ignore[attr-defined]
def test_more_steps_than_tokens_are_exported_as_one_for_each_token(known: ExportFormat) -> None:
    """In one block, and in as many as the format has."""
    for size in (16, 4) if known.blocks != "none" else (16,):
        policy = read_policy("linear", 32, 16, size)
        assert (policy.steps, policy.flat_counts, policy.blocks) == (16, (1,) * 16, 16 // size)
        (text, *_) = known.export(policy).files.values()
        assert "linear, 16 steps, 16 tokens" in text
        assert "32 steps are more than the 16 tokens to fill: 16 steps are made, one for each token." in text


@pytest.mark.parametrize("known", ALL)
def test_the_same_policy_gives_the_same_files(known: ExportFormat) -> None:
    for kind in known.kinds:
        assert known.export(EXAMPLES[kind]) == known.export(EXAMPLES[kind])


@pytest.mark.parametrize("known", ALL)
def test_blocks_that_a_format_does_not_know_are_refused_with_the_nearest(known: ExportFormat) -> None:
    for kind in known.kinds & {"counts", "quota"}:
        value = 0.9 if kind == "quota" else None
        unequal = counts_policy((3, 1), (2, 1, 1), kind=kind, value=value)
        if known.blocks == "any":
            known.export(unequal)
        else:
            with pytest.raises(InputError, match=r"the nearest is .*counts:"):
                known.export(unequal)
        equal = counts_policy((3, 1), (3, 1), kind=kind, value=value)
        if known.blocks == "none":
            with pytest.raises(InputError, match="has no blocks"):
                known.export(equal)
        else:
            known.export(equal)


@pytest.mark.parametrize("known", ALL)
def test_the_page_says_what_the_format_says(known: ExportFormat) -> None:
    row = next(
        line for line in PAGE.read_text("utf-8").splitlines() if re.match(r"\| .*`" + re.escape(known.name) + "`", line)
    )
    verified, exactness = (cell.strip() for cell in row.split("|")[2:4])
    assert known.verified in verified
    assert exactness == ("exact" if known.exact else "nearest")


@pytest.mark.parametrize(
    ("name", "kind", "nearest"),
    [
        (
            "llada",
            "threshold",
            r"is fixed counts, export linear --length 64 --steps STEPS",
        ),
        ("mdlm", "threshold", "is ancestral reveal, export linear --length 64 --steps STEPS"),
        ("fast-dllm", "entropy-bound", "is a threshold with the same number of calls"),
        ("mdlm", "quota", r"is export alphas:0,0.375,0.625,0.875,1 --length 8; .*also where the predictions are sure"),
        ("mdlm", "cap", r"is export alphas:0,0.375,.*, also where they are not sure"),
        ("dream", "cap", "is its schedule without the threshold, export counts:3,2,2,1; it loses: always 4 calls"),
        ("fast-dllm", "cap", "is its schedule without the threshold"),
        ("fast-dllm", "klass", "is export threshold:0.9 --length 64 .* and still changes"),
        ("llada", "klass", "is fixed counts, export linear --length 64 --steps STEPS"),
        ("dream", "quota", "is its schedule without the threshold, export counts:3,2,2,1"),
    ],
)
def test_the_nearest_is_a_setting_that_the_target_has(name: str, kind: str, nearest: str) -> None:
    with pytest.raises(InputError, match=nearest):
        FORMATS[name].export(EXAMPLES[kind])


def test_the_nearest_of_a_cap_is_a_threshold_where_there_are_no_counts() -> None:
    alone = replace(FORMATS["json"], kinds=frozenset({"threshold"}))  # type: ignore[type-var]
    with pytest.raises(InputError, match=r"is export threshold:0.9 --length 8 .* more than its count"):
        alone.export(EXAMPLES["cap"])


def test_no_export_and_no_refusal_rounds_a_threshold() -> None:
    """Of a confident model the seventh digit decides how many calls a threshold makes."""
    kinds = ["threshold:{}", "quota:linear#4@{}", "cap:linear#4@{}", "klass@{}"]
    policies = [read_policy(kind.format(0.99999886), length=8) for kind in kinds]
    shown = 0
    for known, policy in itertools.product(FORMATS.values(), policies):
        try:
            made = known.export(policy)
            texts = [*made.files.values(), *made.where, *made.lost]
        except InputError as refused:
            texts = [str(refused)]
        numbers = re.findall(r"0\.99\d*|\b1e?\.?0*-0?6\b", "\n".join(texts))
        assert set(numbers) <= {"0.99999886"}, (known.name, policy.name, texts)
        shown += len(numbers)
    assert shown > 2 * len(policies)
    with pytest.raises(InputError, match=r"is export threshold:0\.99999886 --length 8 "):
        FORMATS["fast-dllm"].export(policies[1])


def test_an_unknown_format_is_refused_with_the_nearest_name() -> None:
    assert format_of("llada").name == "llada"
    with pytest.raises(InputError, match=r"got 'lada'; did you mean llada\?"):
        format_of("lada")
    with pytest.raises(InputError, match=r"json, .*, got 'zzzz'; choose one of them"):
        format_of("zzzz")


def test_the_nearest_counts_of_blocks_is_their_mean() -> None:
    """Blocks of two and of four steps get three, the mean number."""
    with pytest.raises(InputError) as refused:
        check_expressible(_EqualBlocks(), counts_policy((3, 1), (1, 1, 1, 1)))
    # After a third of the steps: (2 + 4/3)/2 = 1.67 -> 2; after two thirds: (3 + 1/3 + 8/3)/2 = 3.
    assert "counts:2,1,1,2,1,1 --block-length 4" in str(refused.value)
    # The largest difference: after a third of the steps, 4/3 of the tokens of the second block, and here 2.
    assert "6 calls and not 6, and the shares that are revealed within a block differ by up to 17 %" in str(
        refused.value
    )


class _EqualBlocks:
    name, target, verified, exact = "equal", "nothing", "", True
    kinds = frozenset({"counts"})
    blocks = "equal"

    def export(self, policy: Policy) -> None:
        raise NotImplementedError


def test_the_sampling_settings_are_given_by_the_names_of_the_target() -> None:
    settings = {"temperature": 1.0, "top_p": 1.0, "guidance": 0.5, "confidence_temperature": 0.25, "order": "margin"}
    policy = counts_policy((3, 1), sampler=settings)
    assert sampling_arguments(policy, {"temperature": "temp", "guidance": "cfg"}) == (
        ", temp=1.0, cfg=0.5",
        ("The schedule was tuned for confidence_temperature 0.25, which the target does not have.",),
    )
    assert sampling_arguments(counts_policy((3, 1)), {"temperature": "temp"}) == ("", ())
    damaged = counts_policy((3, 1), sampler={"temperature": "0)\nimport os", "top_p": True})
    assert sampling_arguments(damaged, {"temperature": "temp"}) == ("", ())


@pytest.mark.parametrize("name", ["llada", "fast-dllm", "dinfer", "dream", "dllm"])
def test_the_instructions_name_the_temperature(name: str) -> None:
    made = FORMATS[name].export(counts_policy((3, 1), sampler={"temperature": 0.7, "guidance": 1.5}))
    assert "temperature=0.7" in "\n".join(made.where)
    assert ("guidance" in "".join(made.lost)) != ("cfg_scale=1.5" in "\n".join(made.where))


def test_realised_numbers_are_compared_within_the_tolerance() -> None:
    assert Realised(wanted=(3, 2), realised=(3, 2), ran="x").equal
    assert not Realised(wanted=(3, 2), realised=(3, 1), ran="x").equal
    assert not Realised(wanted=(3, 2), realised=(3,), ran="x").equal
    assert Realised(wanted=(0.5,), realised=(0.5000001,), ran="x", tolerance=1e-6).equal
