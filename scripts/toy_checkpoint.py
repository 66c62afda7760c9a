"""Make a toy checkpoint in LLaDA's form and a file of questions for it, to follow docs/walk.md without LLaDA's weights.

    python scripts/toy_checkpoint.py FOLDER

It writes FOLDER/llada (24 words, random weights, code of its own) and FOLDER/questions.jsonl. The answers are what the
model writes with one token per step, so that a schedule can be more or less right.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support.tiny_models import foreign

MASK = 23
FIRST, LAST = 3, 22  # the words that texts have; the others are special
PROMPT, ANSWER = 6, 8  # tokens
QUESTIONS = 363


def main() -> None:
    """Write the checkpoint and the questions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="an existing folder")
    folder = parser.parse_args().folder
    network = foreign(folder / "llada", kind="llada")
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(FIRST, LAST + 1, (QUESTIONS, PROMPT), generator=generator).unique(dim=0)
    rows = torch.cat([prompts, torch.full((len(prompts), ANSWER), MASK)], dim=1)
    seen = torch.ones(len(rows), rows.shape[1], rows.shape[1], dtype=torch.bool)
    for _ in range(ANSWER):  # the most confident of the hidden tokens
        with torch.no_grad():
            probabilities = network(rows, seen)[..., : LAST + 1].softmax(-1)
        probabilities[..., :FIRST] = 0
        best, words = probabilities.max(-1)
        place = best.masked_fill(rows != MASK, -1).argmax(-1, keepdim=True)
        rows.scatter_(1, place, words.gather(1, place))
    with (folder / "questions.jsonl").open("w", encoding="utf-8") as file:
        for row in rows.tolist():
            texts = (" ".join(f"w{token}" for token in part) for part in (row[:PROMPT], row[PROMPT:]))
            file.write(json.dumps(dict(zip(("question", "answer"), texts, strict=True))) + "\n")


if __name__ == "__main__":
    main()
