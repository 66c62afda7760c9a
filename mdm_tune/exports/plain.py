"""The formats ``json``, ``yaml`` and ``csv``, which hold every policy as it is."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import Any

from mdm_tune.core.json_record import as_json
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.core.redaction import redacted
from mdm_tune.exports.base import BlockRule, Exported, ExportFormat, check_expressible
from mdm_tune.exports.policy import Kind, Policy

__all__ = ["FORMATS", "record_of"]

EVERY: frozenset[Kind] = frozenset({"counts", "alphas", "threshold", "quota", "entropy-bound", "cap", "klass"})


def record_of(policy: Policy, format_name: str) -> dict[str, Any]:
    """The policy as an object of JSON or YAML.

    Keys: ``written_by`` (list of text), ``kind``, ``schedule`` (null for policies without one), ``length``, ``steps``
    (null where the policy decides), ``block_length``, ``counts_by_block`` (list of lists), ``alphas``, ``value``,
    ``kl``, ``tuned_for``.
    """
    record = {
        "written_by": list(policy.provenance(format_name)),
        "kind": policy.kind,
        "schedule": policy.schedule or None,
        "length": policy.length,
        "steps": policy.steps or None,
        "block_length": policy.block_length,
        "counts_by_block": None if policy.counts is None else [list(block) for block in policy.counts],
        "alphas": None if policy.alphas is None else list(policy.alphas),
        "value": policy.value,
        "kl": policy.kl,
        "tuned_for": dict(policy.sampler) or None,
    }
    return redacted({key: as_json(value) for key, value in record.items()})


HELD: dict[Kind, str] = {
    "counts": "the tokens that each step reveals, from all masked to data",
    "alphas": "the share that is revealed after each step, from all masked to data",
    "threshold": "the threshold, one for all steps",
    "entropy-bound": "the bound in nats, one for all steps",
    "quota": "the least tokens of each step, from all masked to data, and the threshold, one for all steps",
    "cap": "the most tokens of each step, from all masked to data, and the threshold, one for all steps",
    "klass": "the threshold and the KL divergence in nats, one of each for all steps",
}


@dataclass(frozen=True)
class Plain:
    """A plain format.

    Attributes:
        name: ``json``, ``yaml`` or ``csv``; also the suffix of the file.
    """

    name: str
    target: str = "any program"
    verified: str = ""
    exact: bool = True
    kinds: frozenset[Kind] = EVERY
    blocks: BlockRule = "any"

    def export(self, policy: Policy) -> Exported:
        """See ``ExportFormat``."""
        check_expressible(self, policy)
        text = {"json": _json, "yaml": _yaml, "csv": _csv}[self.name](policy)
        columns = {
            "counts": "step, block, tokens to reveal, tokens revealed so far",
            "quota": "step, block, least tokens to reveal, tokens revealed so far; the threshold is in the comments",
            "cap": "step, block, most tokens to reveal, their sum so far; the threshold is in the comments",
            "alphas": "step, revealed share before, revealed share after, probability that a masked token is revealed",
        }
        where = (
            f"schedule.{self.name} holds {HELD[policy.kind]}.",
            *((f"Columns: {columns.get(policy.kind, 'name, value')}.",) if self.name == "csv" else ()),
            *(("Lines that begin with # are comments.",) if self.name != "json" else ()),
            "A sampler reveals that many of the masked positions at each step, in the order of `tuned_for`."
            if policy.kind == "counts"
            else "docs/export.md says what each kind means.",
        )
        return Exported(files={f"schedule.{self.name}": text}, where=where)


def _json(policy: Policy) -> str:
    return json.dumps(record_of(policy, "json"), indent=1, allow_nan=False) + "\n"


def _yaml(policy: Policy) -> str:
    comments = "".join(f"# {line}\n" for line in policy.provenance("yaml"))
    record = record_of(policy, "yaml")
    del record["written_by"]
    return comments + yaml_text(record, default_flow_style=None, width=120)


def _csv(policy: Policy) -> str:
    text = io.StringIO()
    for line in policy.provenance("csv"):
        text.write(f"# {line}\n")
    writer = csv.writer(text, lineterminator="\n")
    if policy.counts is not None:
        if policy.value is not None:
            text.write(f"# threshold: {policy.value!r}\n")
        writer.writerow(("step", "block", "tokens", "revealed"))
        revealed, step = 0, 0
        for number, block in enumerate(policy.counts, 1):
            for count in block:
                revealed, step = revealed + count, step + 1
                writer.writerow((step, number, count, revealed))
    elif policy.alphas is not None:
        writer.writerow(("step", "before", "after", "probability"))
        for step, (before, after) in enumerate(zip(policy.alphas, policy.alphas[1:], strict=False), 1):
            writer.writerow(
                (step, repr(before), repr(after), repr(1.0 if before == 1 else (after - before) / (1 - before)))
            )
    else:
        writer.writerow(("name", "value"))
        writer.writerow((policy.kind, repr(policy.value)))
        if policy.kl is not None:
            writer.writerow(("kl", repr(policy.kl)))
        writer.writerow(("length", policy.length))
        writer.writerow(("block_length", policy.block_length))
    return text.getvalue()


FORMATS: tuple[ExportFormat, ...] = (Plain("json"), Plain("yaml"), Plain("csv"))
