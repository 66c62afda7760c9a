"""The protocol of an export format, what an export is, and the refusal of what a target cannot express."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Literal, NoReturn, Protocol

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut, listed, quantity
from mdm_tune.core.numerals import shortest
from mdm_tune.exports.policy import Kind, Policy
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import Alphas, parse_schedule

__all__ = [
    "ExportFormat",
    "Exported",
    "Realised",
    "Verifiable",
    "check_expressible",
    "python_file",
    "refuse",
    "sampling_arguments",
]

NEUTRAL = {"temperature": None, "top_p": 1.0, "confidence_temperature": 0.0, "guidance": 0.0}  # values without effect
BlockRule = Literal["none", "equal", "any"]  # one block only; blocks with the same counts; any blocks


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What a format makes of a policy.

    Attributes:
        files: content by file name. A file stands alone, and its first lines have the policy's ``provenance``.
        where: where to put them, at most ten lines.
        lost: what the target does otherwise, in sentences; empty if nothing is lost.
    """

    files: Mapping[str, str]
    where: tuple[str, ...]
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Realised:
    """What the peer's own code did with an export.

    Attributes:
        wanted: tokens per step, zeros left out; for ancestral reveal the probabilities of the steps.
        realised: the same numbers, as the peer's code realised them.
        ran: what was run, such as "generate() of generate.py".
        tolerance: the largest difference that counts as equal; 0 for counts.
    """

    wanted: tuple[float, ...]
    realised: tuple[float, ...]
    ran: str
    tolerance: float = 0.0

    @property
    def equal(self) -> bool:
        """Whether the peer's code does what was wanted."""
        return len(self.wanted) == len(self.realised) and all(
            abs(one - other) <= self.tolerance for one, other in zip(self.wanted, self.realised, strict=True)
        )


class ExportFormat(Protocol):
    """A format that a policy can be exported to.

    To add one:

    1. Read the target's present source: its rounding, the direction of its time, what it does at the last step.
    2. Write a module in ``mdm_tune/exports`` with a subclass of ``target.PeerFormat``. Its ``made`` takes its numbers
       from the policy (``counts``, ``padded``, ``alphas``, ``value``) and returns texts. Nothing is copied from the
       target, and an exported file imports nothing of this package.
       ``python_file`` writes the docstring and the provenance of a Python file, ``sampling_arguments`` the temperature
       and its like for the instructions.
    3. Add the module's ``FORMATS`` to ``registry.py``, and a row to the table of ``docs/export.md``.
    4. Derive the target's arithmetic again in ``tests/exports/test_NAME.py``, and run it on the 3,000 policies of
       ``tests/support/exports.py``. The suite of ``tests/exports/test_registry.py`` runs over every format.
    5. Write a function for ``peer_runs.RUNS`` that runs the target's code on an export. Run it by hand, and note the
       commit in ``verified``.

    Attributes:
        name: on the command line, such as ``llada``.
        target: whose code it is for.
        verified: the commit of the code that an export was run in, as ``owner/name COMMIT``; empty for plain formats.
        exact: whether the target does what the policy says; otherwise the nearest that it can express.
        kinds: the policies that it can express.
        blocks: which blocks it can express.
    """

    @property
    def name(self) -> str: ...

    @property
    def target(self) -> str: ...

    @property
    def verified(self) -> str: ...

    @property
    def exact(self) -> bool: ...

    @property
    def kinds(self) -> frozenset[Kind]: ...

    @property
    def blocks(self) -> BlockRule: ...

    def export(self, policy: Policy) -> Exported:
        """The files of a policy.

        Raises:
            InputError: the target cannot express the policy; the message has the nearest setting and its loss.
        """
        ...


class Verifiable(ExportFormat, Protocol):
    """A format whose target can be run on what was exported."""

    def verify(self, policy: Policy, exported: Path, peer: Path) -> Realised:
        """Run the peer's own code in a process of its own. The caller has the user's consent to do so.

        Args:
            policy: what was exported.
            exported: the folder of the exported files.
            peer: the folder of the peer's code, which the user named.

        Raises:
            InputError: the folder does not hold the peer's code.
            RunError: the peer's code fails.
        """
        ...


def check_expressible(target: ExportFormat, policy: Policy) -> None:
    """Raise InputError if the target cannot express the policy's kind or its blocks."""
    if policy.kind not in target.kinds:
        nearest, loss = _nearest_kind(policy, target.kinds)
        refuse(target.name, f"expresses {_kinds_text(target.kinds)}", _kind_text(policy), nearest, loss)
    if policy.counts is None or policy.blocks == 1:
        if target.blocks == "none" and policy.blocks > 1:
            refuse(
                target.name,
                "has no blocks",
                f"blocks of {policy.block_length}",
                f"one block: --block-length {policy.length}",
                "positions are not filled from left to right",
            )
        return
    if target.blocks == "none":
        refuse(
            target.name,
            "has no blocks",
            f"blocks of {policy.block_length}",
            f"the same counts in one block: export {_counts_name(policy.flat_counts)} --block-length {policy.length}",
            "positions are not filled from left to right",
        )
    if target.blocks == "equal" and not policy.one_for_all:
        counts = _nearest_equal(policy)
        calls = len(counts) * policy.blocks
        refuse(
            target.name,
            "gives all blocks the same counts",
            f"blocks with {listed(dict.fromkeys(map(len, policy.counts)), most=4, separator=' and ')} steps "
            f"({_counts_name(policy.counts[0])} in the first)",
            f"export {_counts_name(counts * policy.blocks)} --block-length {policy.block_length}",
            f"{quantity(calls, 'call')} and not {policy.calls}, and the shares that are revealed within a block differ "
            f"by up to {100 * _difference(policy, counts):.0f} %",
        )


def refuse(name: str, rule: str, got: str, nearest: str, loss: str) -> NoReturn:
    """Raise the InputError for what a target cannot express.

    Args:
        name: of the format.
        rule: what the target can do, as a clause that goes on from the name.
        got: what was to be exported.
        nearest: the nearest setting that can be exported.
        loss: what that setting loses.
    """
    raise InputError(f"{name} {rule}, got {got}; the nearest is {nearest}; it loses: {loss}")


def sampling_arguments(policy: Policy, takes: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """The sampling settings that a policy was tuned for, as arguments of the target, and those that the target lacks.

    Args:
        policy: its ``sampler`` has the settings.
        takes: the target's names by those of a config.

    Returns:
        Text such as ``, temperature=0.5``, empty if nothing is known, and sentences on what is lost.
    """
    given, lost = [], []
    for name, neutral in NEUTRAL.items():
        value = policy.sampler.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if name in takes and (name == "temperature" or value != neutral):
            given.append(f", {takes[name]}={value!r}")
        elif name not in takes and value != neutral:
            lost.append(f"The schedule was tuned for {name} {value!r}, which the target does not have.")
    return "".join(given), tuple(lost)


def python_file(title: str, policy: Policy, format_name: str, body: str) -> str:
    """The text of an exported Python file: docstring, provenance as comments, and the code.

    Args:
        title: the first line of the docstring.
        policy: what is exported.
        format_name: of the format.
        body: the code.
    """
    comments = "\n".join(f"# {line}" for line in policy.provenance(format_name))
    return f'"""{title}"""\n{comments}\n\n{body.strip()}\n'


def _kinds_text(kinds: frozenset[Kind]) -> str:
    names = {
        "counts": "fixed counts",
        "alphas": "ancestral reveal",
        "threshold": "a threshold",
        "quota": "a quota with a threshold",
        "entropy-bound": "an entropy bound",
        "cap": "a cap with a threshold",
        "klass": "a threshold with stable predictions",
    }
    return " or ".join(text for kind, text in names.items() if kind in kinds)


def _kind_text(policy: Policy) -> str:
    return f"{_kinds_text(frozenset({policy.kind}))} ({cut(policy.name)})"


def _nearest_kind(policy: Policy, kinds: frozenset[Kind]) -> tuple[str, str]:
    """The nearest policy of one of the kinds, and what it loses."""
    if policy.alphas is not None and policy.kind == "alphas" and "counts" in kinds:
        counts = to_counts(Alphas(policy.alphas), policy.steps, policy.length)
        return f"export {_counts_name(counts)}", (
            f"every step reveals exactly its expected number of tokens, rounded; ancestral reveal varies by "
            f"{_deviation(counts):.1f} tokens at a step (standard deviation)"
        )
    of_counts = policy.kind in ("quota", "cap")
    if (policy.kind == "counts" or of_counts) and "alphas" in kinds and not (of_counts and "counts" in kinds):
        shares = ",".join(f"{share:.12g}" for share in _shares(policy.flat_counts))
        return f"export {cut(f'alphas:{shares}', 600)} --length {policy.length}", (
            f"the tokens of a step vary by up to {_deviation(policy.flat_counts):.1f} (standard deviation), and their "
            "positions are random"
            + (", without blocks" if policy.blocks > 1 else "")
            + {"quota": ", also where the predictions are sure", "cap": ", also where they are not sure"}.get(
                policy.kind, ""
            )
        )
    if policy.kind == "quota" and "threshold" in kinds:
        return f"export {_threshold_alone(policy)}", (
            f"a step may reveal one token only, so that there can be more than {quantity(policy.calls, 'call')}"
        )
    if policy.kind == "quota" and "counts" in kinds:
        return f"its schedule without the threshold, export {_counts_name(policy.flat_counts)}", (
            f"always {quantity(policy.calls, 'call')}, also where the predictions are sure"
        )
    if policy.kind == "cap" and "counts" in kinds:
        return f"its schedule without the threshold, export {_counts_name(policy.flat_counts)}", (
            f"always {quantity(policy.calls, 'call')}, also where the predictions are not sure"
        )
    if policy.kind in ("cap", "klass") and "threshold" in kinds:
        return f"export {_threshold_alone(policy)}", (
            "a step may reveal more than its count"
            if policy.kind == "cap"
            else "a step also reveals what is sure and still changes; a higher threshold makes up for some of it"
        )
    if policy.kind == "threshold" and policy.value is not None and "quota" in kinds:
        ones = (1,) * policy.length
        return f"a quota of one token per step, export quota:{_counts_name(ones)}@{shortest(policy.value)}", "nothing"
    if kinds == {"threshold"} and policy.kind != "entropy-bound":
        return (
            f"one token per step, export threshold:1 --length {policy.length} --block-length {policy.block_length}",
            (
                f"{_steps_text(policy)} become {policy.length}; a lower threshold, which mdm-tune evaluate finds for "
                "the same number of calls, is as fast, but each step reveals what is sure and not the tuned number"
            ),
        )
    if policy.kind == "entropy-bound" and "threshold" in kinds:
        return "a threshold with the same number of calls, which mdm-tune evaluate finds", (
            "a step reveals what is sure by its probability, not by its entropy; compare both with mdm-tune evaluate"
        )
    return _fixed(policy, kinds), (
        "the number of tokens per step no longer depends on the predictions; compare both with mdm-tune evaluate"
    )


def _fixed(policy: Policy, kinds: frozenset[Kind]) -> str:
    """A schedule in place of an adaptive policy that has none, as arguments of ``export``."""
    name, steps = policy.fixed
    if "counts" in kinds or steps is None:
        at = f"--length {policy.length} --steps {'STEPS' if steps is None else steps}"
        found = "which a search over counts tunes" if steps is None else "the best counts of the same search"
        return f"{_kinds_text(kinds & {'counts', 'alphas'})}, export {cut(name)} {at} ({found})"
    shares = ",".join(f"{share:.12g}" for share in _shares(to_counts(parse_schedule(name), steps, policy.length)))
    named = cut(f"alphas:{shares}", 600)
    return f"ancestral reveal, export {named} --length {policy.length} (the best counts of the same search)"


def _threshold_alone(policy: Policy) -> str:
    """The threshold of a quota, a cap or klass without the rest, as arguments of ``export``."""
    assert policy.value is not None
    return f"threshold:{shortest(policy.value)} --length {policy.length} --block-length {policy.block_length}"


def _steps_text(policy: Policy) -> str:
    return quantity(policy.calls if policy.counts is not None else policy.steps, "call")


def _counts_name(counts: tuple[int, ...]) -> str:
    return cut("counts:" + ",".join(map(str, counts)), 600)


def _shares(counts: tuple[int, ...]) -> list[float]:
    """The revealed shares from 0 to 1, (steps + 1,)."""
    total, shares = sum(counts), [0.0]
    revealed = 0
    for count in counts:
        revealed += count
        shares.append(revealed / total)
    return shares


def _deviation(counts: tuple[int, ...]) -> float:
    """The largest standard deviation of the tokens of a step if each token is revealed there independently."""
    length = sum(counts)
    return max(math.sqrt(count * (1 - count / length)) for count in counts)


def _revealed_at(block: tuple[int, ...], share: Fraction) -> Fraction:
    """The tokens of a block after a share of its steps, with a straight line within a step."""
    place = share * len(block)
    whole = math.floor(place)
    part = (place - whole) * block[whole] if whole < len(block) else Fraction(0)
    return sum(block[:whole], Fraction(0)) + part


def _nearest_equal(policy: Policy) -> tuple[int, ...]:
    """The mean of all blocks as the counts of one, with the mean number of steps, rounded up."""
    assert policy.counts is not None
    steps = -(-sum(map(len, policy.counts)) // policy.blocks)
    ends = []
    for step in range(steps + 1):
        mean = sum((_revealed_at(block, Fraction(step, steps)) for block in policy.counts), Fraction(0)) / policy.blocks
        ends.append(math.floor(mean + Fraction(1, 2)))
    return tuple(after - before for before, after in pairwise(ends))


def _difference(policy: Policy, counts: tuple[int, ...]) -> float:
    """The largest difference of the share of a block that is revealed after equal shares of its steps."""
    largest = Fraction(0)
    for block in policy.counts or ():
        times = {Fraction(step, len(steps)) for steps in (block, counts) for step in range(len(steps))}
        largest = max(largest, *(abs(_revealed_at(block, time) - _revealed_at(counts, time)) for time in times))
    return float(largest / policy.block_length)
