"""Antibodies with a hole of 32 amino acids, for AntiBERTy in order of confidence: data and config of docs/policies.md.

    python scripts/fetch_antiberty.py
    python scripts/antibody_holes.py --output build/antibody-holes
    mdm-tune search build/antibody-holes/config.yaml --trust-code

The sequences are those of configs/antibody, both kinds. Each has one hole, near its start, its middle or its end in
turn. The objective is the amino-acid recovery: the share of the hole that equals the sequence (``recovery``).
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "configs" / "antibody"
USES = ("tune", "choose", "report")
HOLE = 32
STARTS = (2, 33, 64)  # the shortest sequence has 98 amino acids
CONFIG = """\
model:
  type: huggingface
  path: {model}
  family: bert
  split: characters
  never: ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
  dtype: bfloat16
dataset:
  type: jsonl
  path: {{tune: tune.jsonl, choose: choose.jsonl, report: report.jsonl}}
  template: "{{before}}[[hole]]{{after}}"
  id: name
  tune: 48
  choose: 32
  report: all
sampler: {{order: confidence, temperature: 0.0, steps: [4, 8], batch: 16}}
objective: {{metric: custom}}
metrics: {{custom: {{target: "antibody_holes.py:recovery", direction: maximize}}}}
search:
  policies: [counts, threshold, quota, cap, entropy-bound, klass]
  trials: 12
  finalists: 6
  frontier: true
  baselines: [linear, sine]
output: result
"""


def recovery(answer: str, record: Mapping[str, Any]) -> float:
    """The share of a hole that equals the sequence."""
    hole: str = record["hole"]
    return sum(a == b for a, b in zip(answer, hole, strict=True)) / len(hole)


def holes(path: Path) -> list[dict[str, str]]:
    """The sequences of a file, each with one hole."""
    records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    found = []
    for number, record in enumerate(records):
        sequence, start = record["sequence"], STARTS[number % len(STARTS)]
        before, hole, after = sequence[:start], sequence[start : start + HOLE], sequence[start + HOLE :]
        found.append({"name": record["name"], "before": before, "hole": hole, "after": after})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the folder of the data and the config")
    parser.add_argument("--model", type=Path, default=Path("models/antiberty"), help="what fetch_antiberty.py wrote")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    for use in USES:
        records = [record for folder in (FOLDER, FOLDER / "reads") for record in holes(folder / f"{use}.jsonl")]
        (args.output / f"{use}.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in records), "utf-8")
    (args.output / "config.yaml").write_text(CONFIG.format(model=args.model.resolve()), "utf-8")
    shutil.copy(__file__, args.output)


if __name__ == "__main__":
    main()
