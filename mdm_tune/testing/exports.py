"""The conformance suite of export formats."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise

from mdm_tune.core.errors import InputError
from mdm_tune.exports.base import Exported, ExportFormat
from mdm_tune.exports.plugin_formats import checked_format
from mdm_tune.exports.policy import Policy
from mdm_tune.testing.checks import require

__all__ = ["ExportConformance"]


class ExportConformance:
    """What an export format must do. Inherit it in a class of tests and override ``build`` and ``realised``.

    Attributes:
        policies: Number of random schedules whose counts are compared.
        longest: Tokens of a block at most.
    """

    policies = 300
    longest = 96

    def build(self) -> ExportFormat:
        """Return the format, or its class: what the entry point names."""
        raise NotImplementedError("override build: it returns the export format")

    def realised(self, exported: Exported, policy: Policy) -> Sequence[int]:
        """Return the tokens that the target reveals at each step, of all blocks; steps that reveal none may be missing.

        Derive the target's arithmetic from the files, or run its code.
        """
        raise NotImplementedError("override realised: it returns the tokens of each step as the target reads the files")

    def test_the_attributes_are_stated(self) -> None:
        """``name``, ``target``, ``verified``, ``exact``, ``kinds`` and ``blocks``."""
        self._format()

    def test_the_counts_are_realised(self) -> None:
        """For random schedules of fixed counts, if the format is exact for them."""
        made = self._format()
        if "counts" not in made.kinds or not made.exact:
            return
        for policy in self._random_policies(made):
            wanted = [count for count in policy.flat_counts if count]
            got = [count for count in self.realised(made.export(policy), policy) if count]
            require(got == wanted, f"the target must reveal {wanted} of {policy.name}", got)

    def test_equal_policies_give_equal_files(self) -> None:
        """Without a date or a random number, so that exports can be compared."""
        made = self._format()
        if "counts" in made.kinds:
            policy = _policy([(1, 3)])
            require(made.export(policy) == made.export(policy), "equal policies must give equal files")

    def test_what_the_target_cannot_express_is_refused(self) -> None:
        """With InputError: kinds and blocks that are not stated."""
        made = self._format()
        wrong: list[Policy] = []
        if "threshold" not in made.kinds:
            wrong.append(_adaptive("threshold"))
        if "entropy-bound" not in made.kinds:
            wrong.append(_adaptive("entropy-bound"))
        if "counts" not in made.kinds or made.blocks == "none":
            wrong.append(_policy([(1, 3), (1, 3)]))
        if "counts" not in made.kinds or made.blocks == "equal":
            wrong.append(_policy([(1, 3), (2, 2)]))
        for policy in wrong:
            try:
                exported = made.export(policy)
            except InputError:
                continue
            require(False, f"{policy.name} in {policy.blocks} blocks must be refused with InputError", exported)

    def _format(self) -> ExportFormat:
        given = self.build()
        return checked_format(given, given.name, "the format")

    def _random_policies(self, made: ExportFormat) -> Iterator[Policy]:
        state = random.Random(0)
        for place in range(self.policies):
            number = 1 if made.blocks == "none" or place % 2 else state.randint(1, 4)
            size = state.randint(1, self.longest)
            blocks = [_composition(state, size) for _ in range(number)]
            yield _policy([blocks[0]] * number if made.blocks == "equal" else blocks)


def _composition(state: random.Random, size: int) -> tuple[int, ...]:
    """Random counts of at least one token with this sum."""
    steps = state.randint(1, size)
    ends = [0, *sorted(state.sample(range(1, size), steps - 1)), size]
    return tuple(after - before for before, after in pairwise(ends))


def _policy(blocks: Sequence[tuple[int, ...]]) -> Policy:
    length = sum(map(sum, blocks))
    name = "counts:" + ",".join(str(count) for block in blocks for count in block)
    return Policy(
        name=name,
        kind="counts",
        schedule=name,
        length=length,
        steps=sum(map(len, blocks)),
        block_length=length // len(blocks),
        counts=tuple(blocks),
    )


def _adaptive(kind: str) -> Policy:
    return Policy(
        name=f"{kind}:0.9",
        kind="threshold" if kind == "threshold" else "entropy-bound",
        schedule="",
        length=8,
        steps=0,
        block_length=8,
        value=0.9,
    )
