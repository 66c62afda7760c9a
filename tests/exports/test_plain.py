from __future__ import annotations

import csv
import json
from dataclasses import replace

from mdm_tune.core.plain_yaml import yaml_value
from mdm_tune.exports.plain import Plain
from tests.support.exports import adaptive_policy, alphas_policies, alphas_policy, count_policies, counts_policy


def text_of(name: str, policy) -> str:  # type: ignore[no-untyped-def]
    (text,) = Plain(name).export(policy).files.values()
    return text


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


def test_three_thousand_counts_are_read_back_from_every_plain_format() -> None:
    for policy in count_policies("any"):
        blocks = [list(block) for block in policy.counts or ()]
        assert json.loads(text_of("json", policy))["counts_by_block"] == blocks
        rows = rows_of(text_of("csv", policy))
        assert [
            [int(row["tokens"]) for row in rows if int(row["block"]) == number + 1] for number in range(len(blocks))
        ] == (blocks)
        assert int(rows[-1]["revealed"]) == policy.length
    for policy in count_policies("any", number=300):
        blocks = [list(block) for block in policy.counts or ()]
        assert yaml_value(text_of("yaml", policy), "file")["counts_by_block"] == blocks


def test_three_thousand_alphas_are_read_back_without_rounding() -> None:
    for policy in alphas_policies():
        assert policy.alphas is not None
        assert tuple(json.loads(text_of("json", policy))["alphas"]) == policy.alphas
        rows = rows_of(text_of("csv", policy))
        assert (0.0, *(float(row["after"]) for row in rows)) == policy.alphas
        hidden = 1.0
        for row, after in zip(rows, policy.alphas[1:], strict=True):
            hidden *= 1 - float(row["probability"])
            assert abs(hidden - (1 - after)) <= 1e-12


def test_numbers_that_json_lacks_become_null() -> None:
    policy = counts_policy((3, 1), sampler={"temperature": float("nan")})
    assert json.loads(text_of("json", policy))["tuned_for"] == {"temperature": None}


def test_each_kind_has_its_keys() -> None:
    record = json.loads(text_of("json", adaptive_policy("threshold", 0.9, 64, 16)))
    assert (record["kind"], record["value"], record["block_length"], record["steps"]) == ("threshold", 0.9, 16, None)
    quota = counts_policy((3, 1), kind="quota", value=0.8)
    assert json.loads(text_of("json", quota))["value"] == 0.8
    assert "# threshold: 0.8" in text_of("csv", quota)
    assert rows_of(text_of("csv", adaptive_policy("entropy-bound", 0.5)))[0] == {
        "name": "entropy-bound",
        "value": "0.5",
    }
    klass = replace(adaptive_policy("klass", 0.9), kl=0.01)
    assert {"value": 0.9, "kl": 0.01}.items() <= json.loads(text_of("json", klass)).items()
    assert rows_of(text_of("csv", klass))[:2] == [{"name": "klass", "value": "0.9"}, {"name": "kl", "value": "0.01"}]
    assert "# threshold: 0.8" in text_of("csv", counts_policy((3, 1), kind="cap", value=0.8))
    assert yaml_value(text_of("yaml", alphas_policy((0.0, 0.5, 1.0))), "file")["alphas"] == [0.0, 0.5, 1.0]


def test_a_policy_with_one_value_is_not_said_to_have_one_for_each_step() -> None:
    quota = replace(counts_policy((3, 1)), kind="quota", value=0.9)
    klass = replace(adaptive_policy("klass", 0.9), kl=0.01)
    for policy, held in (
        (adaptive_policy("threshold", 0.9), "the threshold, one for all steps"),
        (adaptive_policy("entropy-bound", 0.1), "the bound in nats, one for all steps"),
        (klass, "the threshold and the KL divergence in nats, one of each for all steps"),
        (quota, "the least tokens of each step, from all masked to data, and the threshold, one for all steps"),
        (counts_policy((3, 1)), "the tokens that each step reveals, from all masked to data"),
        (alphas_policy((0.0, 0.5, 1.0)), "the share that is revealed after each step, from all masked to data"),
    ):
        assert Plain("json").export(policy).where[0] == f"schedule.json holds {held}."
