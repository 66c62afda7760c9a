"""Prompts of the bundled plays, for the text model in order of confidence: data and config of docs/policies.md.

    python scripts/text_prompts.py --output build/text-prompts
    mdm-tune search build/text-prompts/config.yaml --trust-code

A prompt is 32 characters of a play, and the model writes the next 32, at temperature 1. The objective is the share of
characters in known words (``spelling``). At temperature 0 the model mostly writes spaces where it knows nothing, and
spaces misspell no word.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from mdm_tune.core.files import bundled

HALF = 32  # the window of the model has 64 characters
EXAMPLES = {"tune": 256, "choose": 512, "report": 1024}
CONFIG = """\
model: {type: transformer, path: package:text}
dataset:
  type: jsonl
  path: {tune: tune.jsonl, choose: choose.jsonl, report: report.jsonl}
  prompt: prompt
  answer: answer
  generation_length: 32
  tune: 128
  choose: 256
  report: 512
sampler: {order: confidence, temperature: 1.0, steps: [4, 8, 16], batch: 64}
objective: {metric: custom}
metrics: {custom: {target: "text_prompts.py:spelling", direction: maximize}}
search:
  policies: [counts, threshold, quota, cap, entropy-bound, klass]
  trials: 18
  finalists: 8
  frontier: true
output: result
"""


@cache
def known() -> frozenset[str]:
    """The words of the plays."""
    return frozenset((bundled("package:text") / "words.txt").read_text("utf-8").split())


def spelling(answer: str, record: Mapping[str, Any]) -> float:
    """The share of an answer's characters that lie in known words, without its first and last word, which may be cut.

    The first word counts if it begins with the answer. An answer without a word has the value 0.
    """
    words = (record["prompt"][-1] + answer).split(" ")[1:-1]
    letters = sum(map(len, words))
    return sum(len(word) for word in words if word in known()) / letters if letters else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the folder of the data and the config")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    for use, number in EXAMPLES.items():
        text = (bundled("package:text") / f"{use}.txt").read_text("utf-8")
        starts = Random(use).sample(range(len(text) - 2 * HALF), number)
        windows = ((text[start : start + HALF], text[start + HALF : start + 2 * HALF]) for start in starts)
        lines = (json.dumps({"prompt": prompt, "answer": answer}) for prompt, answer in windows)
        (args.output / f"{use}.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    (args.output / "config.yaml").write_text(CONFIG, "utf-8")
    shutil.copy(__file__, args.output)


if __name__ == "__main__":
    main()
