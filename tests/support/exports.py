"""Random policies for export formats, and exported files as modules."""

from __future__ import annotations

import functools
import random
import re
import sys
from collections.abc import Iterator, Sequence
from types import CodeType, ModuleType

from mdm_tune.exports.policy import Policy

NUMBER = 3000
CONSTANT = re.compile(r"^[A-Z_]+ = (?:\((?: *#.*)?\n(?: .*\n)*\)|.*)\n", re.MULTILINE)  # on one line or on many
COMMENT = re.compile(r"^#.*\n", re.MULTILINE)


def composition(random_state: random.Random, total: int, parts: int, least: int) -> tuple[int, ...]:
    """A random tuple of ``parts`` integers of at least ``least`` with this sum."""
    cuts = sorted(random_state.randint(0, total - least * parts) for _ in range(parts - 1))
    return tuple(
        after - before + least for before, after in zip((0, *cuts), (*cuts, total - least * parts), strict=True)
    )


def counts_policy(*blocks: tuple[int, ...], **changes: object) -> Policy:
    """A policy with these counts of each block."""
    length = sum(map(sum, blocks))
    given = {
        "name": "counts:" + ",".join(str(count) for block in blocks for count in block),
        "kind": "counts",
        "schedule": "counts",
        "length": length,
        "steps": sum(map(len, blocks)),
        "block_length": length // len(blocks),
        "counts": blocks,
    }
    return Policy(**{**given, **changes})  # type: ignore[arg-type]


def count_policies(blocks: str, number: int = NUMBER, longest: int = 200, seed: int = 0) -> Iterator[Policy]:
    """Random policies of fixed counts.

    Among them: counts of 0, one step, as many steps as positions, and several blocks where the format has them.

    Args:
        blocks: As ``ExportFormat.blocks``.
        number: Of policies.
        longest: Tokens of a block at most.
        seed: Of the random numbers.
    """
    state = random.Random(seed)
    for place in range(number):
        number_of_blocks = 1 if blocks == "none" or place % 2 else state.randint(1, 5)
        size = state.randint(1, longest if number_of_blocks == 1 else min(longest, 40))
        made = []
        for _ in range(number_of_blocks):
            kind = state.randrange(6)
            steps = {0: 1, 1: size}.get(kind, state.randint(1, min(size, 48)))
            zeros = kind == 2
            made.append(composition(state, size, steps + state.randint(0, 3) if zeros else steps, 0 if zeros else 1))
        if blocks == "equal":
            made = [made[0]] * number_of_blocks
        yield counts_policy(*made)


def alphas_policy(alphas: tuple[float, ...], length: int = 64) -> Policy:
    """A policy of ancestral reveal."""
    return Policy(
        name="alphas:" + ",".join(map(repr, alphas)),
        kind="alphas",
        schedule="alphas:" + ",".join(map(repr, alphas)),
        length=length,
        steps=len(alphas) - 1,
        block_length=length,
        alphas=alphas,
    )


def alphas_policies(number: int = NUMBER, seed: int = 0) -> Iterator[Policy]:
    """Random policies of ancestral reveal; some have steps that reveal nothing, and some have one step."""
    state = random.Random(seed)
    for place in range(number):
        steps = 1 if place % 10 == 0 else state.randint(1, 64)
        inner = sorted(state.random() ** state.choice((1, 3)) for _ in range(steps - 1))
        if place % 5 == 1 and inner:
            inner[0] = 0.0
            inner[-1] = inner[len(inner) // 2]
        yield alphas_policy((0.0, *sorted(inner), 1.0))


def adaptive_policy(kind: str, value: float, length: int = 64, block_length: int = 64) -> Policy:
    """A threshold or an entropy bound."""
    return Policy(
        name=f"{kind}:{value!r}",
        kind=kind,  # type: ignore[arg-type]
        schedule="",
        length=length,
        steps=0,
        block_length=block_length,
        value=value,
    )


def module_of_text(text: str) -> ModuleType:
    """An exported Python file as a module.

    Files of a format differ in their constants and comments. What is the same in all of them is compiled once.
    """
    module = ModuleType("exported")
    sys.modules["exported"] = module  # dataclasses look up their module
    try:
        exec("".join(CONSTANT.findall(text)), module.__dict__)
        exec(_compiled(CONSTANT.sub("", COMMENT.sub("", text))), module.__dict__)
    finally:
        del sys.modules["exported"]
    return module


@functools.cache
def _compiled(text: str) -> CodeType:
    return compile(text, "exported.py", "exec")


def close(found: Sequence[float], wanted: Sequence[float], tolerance: float) -> bool:
    """Whether equally many numbers differ by at most the tolerance; for loops, in which ``pytest.approx`` is slow."""
    return len(found) == len(wanted) and all(
        abs(one - other) <= tolerance for one, other in zip(found, wanted, strict=True)
    )
