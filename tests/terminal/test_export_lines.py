from __future__ import annotations

from dataclasses import replace

from mdm_tune.run.export_records import ExportResult, RealisedRecord
from mdm_tune.terminal.export_lines import export_lines

RESULT = ExportResult(
    version="0",
    format="llada",
    target="LLaDA",
    name="runs/text",
    kind="counts",
    schedule="sine",
    length=12,
    steps=7,
    block_length=4,
    counts_by_block=((3, 1), (3, 1), (2, 1, 1)),
    alphas=None,
    value=None,
    kl=None,
    exact=True,
    files={"a.py": "out/a.py"},
    where=("Copy a.py.",),
    lost=("One call.",),
    notes=("Not tuned.",),
    verification=None,
)


def test_equal_blocks_are_shown_once() -> None:
    assert list(export_lines(RESULT)) == [
        "sine, 7 steps, 12 tokens, blocks of 4, for LLaDA",
        "counts from block 1  3, 1",
        "counts from block 3  2, 1, 1",
        "note: Not tuned.",
        "lost: One call.",
        "",
        "Copy a.py.",
        "",
    ]


def test_a_verification_shows_both_rows() -> None:
    made = RealisedRecord(wanted=(3, 1), realised=(2, 2), equal=False, ran="generate()")
    lines = list(export_lines(replace(RESULT, verification=made)))
    assert lines[5:9] == ["\nran       generate()", "wanted    3, 1", "realised  2, 2", "NOT EQUAL"]


def test_the_value_of_a_policy_is_shown_whole() -> None:
    quota = replace(RESULT, kind="quota", value=0.99999886, verification=None)
    assert "quota  0.99999886" in list(export_lines(quota))
    ancestral = replace(RESULT, counts_by_block=None, alphas=(0.0, 0.123456789, 1.0), block_length=12)
    assert list(export_lines(ancestral))[1] == "alphas  0, 0.123456789, 1"


def test_a_threshold_has_no_counts() -> None:
    changes = {"schedule": None, "name": "threshold:0.9", "kind": "threshold", "steps": None, "value": 0.9}
    lines = list(export_lines(replace(RESULT, counts_by_block=None, **changes)))  # type: ignore[arg-type]
    assert lines[:2] == ["threshold:0.9, 12 tokens, blocks of 4, for LLaDA", "threshold  0.9"]


def test_ancestral_reveal_shows_alphas() -> None:
    lines = list(export_lines(replace(RESULT, counts_by_block=None, alphas=(0.0, 0.25, 1.0), block_length=12)))
    assert lines[:2] == ["sine, 7 steps, 12 tokens, for LLaDA", "alphas  0, 0.25, 1"]
