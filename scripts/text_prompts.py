"""Prompts and answers of the bundled plays, for the text model at temperature 0: data and config of docs/policies.md.

    python scripts/text_prompts.py --output build/text-prompts
    mdm-tune search build/text-prompts/config.yaml

A prompt is 32 characters of a play, and its answer the next 32. The objective is ``agreement``: what the model writes
with few calls is compared with what it writes at one token per step. Without prompts, all samples of the text
model at temperature 0 would be equal.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from random import Random

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
  tune: 48
  choose: 48
  report: 256
sampler: {order: confidence, temperature: 0.0, steps: [4, 8], batch: 64}
objective: {metric: agreement}
metrics: {agreement: {whole: false}}
search:
  policies: [counts, threshold, quota, cap, entropy-bound, klass]
  trials: 12
  finalists: 6
  frontier: true
  baselines: [linear, sine]
output: runs/text-prompts
"""


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


if __name__ == "__main__":
    main()
