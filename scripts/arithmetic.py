"""Problems for the bundled task model: calculate from left to right, and keep the last digit of each result.

The problem 3+5*7-9 has the results 3, 8, 56 -> 6 and -3 -> 7 (modulo 10). It is written as

    prompt  "3+5*7-9=                        "
    answer  "3 8 6 7"

A field of prompt and answer has two characters, so that each result stands 32 characters after its number. A problem
belongs to one use, which follows from a digest of its prompt: no problem of a held-out use is ever drawn for training.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

SYMBOLS = "0123456789+-*= $"
END = "$"  # stands after the answer, up to the generation length
PROMPT = GENERATION = 32
FEWEST, MOST = 4, 15  # numbers of a problem
HELD_OUT = {"tune": 512, "choose": 512, "report": 1024}
USES = ("tune", "choose", "report")
PARTS = 16  # one of sixteen parts of all problems belongs to each held-out use


def draw(rng: random.Random) -> str:
    """Draw a problem: how many numbers it has, then digits and operations, all from uniform laws."""
    numbers = rng.randint(FEWEST, MOST)
    return rng.choice("0123456789") + "".join(rng.choice("+-*") + rng.choice("0123456789") for _ in range(numbers - 1))


def prompt_of(problem: str) -> str:
    """The prompt of a problem such as 3+5*7: ``PROMPT`` characters."""
    return f"{problem}=".ljust(PROMPT)


def answer_of(problem: str) -> str:
    """The last digit of each result from left to right, with spaces between."""
    results = [int(problem[0])]
    for operation, digit in zip(problem[1::2], problem[2::2], strict=True):
        before, number = results[-1], int(digit)
        after = {"+": before + number, "-": before - number, "*": before * number}[operation]
        results.append(after % 10)
    return " ".join(map(str, results))


def use_of(prompt: str) -> str:
    """The use to which a problem belongs: tune, choose, report or train."""
    part = hashlib.sha256(prompt.encode()).digest()[0] % PARTS
    return USES[part] if part < len(USES) else "train"


def problems(use: str, seed: int) -> Iterator[tuple[str, str]]:
    """Draw the problems of a use as pairs of prompt and answer, without end and with repeats."""
    rng = random.Random(seed)
    while True:
        problem = draw(rng)
        prompt = prompt_of(problem)
        if use_of(prompt) == use:
            yield prompt, answer_of(problem)


def distinct(use: str, count: int, seed: int = 0) -> list[tuple[str, str]]:
    """The first ``count`` different problems of a use."""
    found: dict[str, str] = {}
    for prompt, answer in problems(use, seed):
        found[prompt] = answer
        if len(found) == count:
            break
    return list(found.items())


def write_splits(folder: Path) -> None:
    """Write tune.jsonl, choose.jsonl and report.jsonl: one problem a line, with the number of its results."""
    for use, count in HELD_OUT.items():
        records = [
            {"prompt": prompt, "answer": answer, "results": len(answer.split())}
            for prompt, answer in distinct(use, count)
        ]
        text = "".join(json.dumps(record) + "\n" for record in records)
        (folder / f"{use}.jsonl").write_text(text, encoding="utf-8")
