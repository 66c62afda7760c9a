"""The result of ``export``."""

from __future__ import annotations

from dataclasses import dataclass

from mdm_tune.core.json_record import JsonRecord

__all__ = ["ExportResult", "RealisedRecord"]


@dataclass(frozen=True, kw_only=True)
class RealisedRecord(JsonRecord):
    """What a peer's own code did with an export.

    Attributes:
        wanted: Tokens per step without zeros, or the probabilities of the steps for ancestral reveal.
        realised: The same numbers as the peer's code realised them.
        equal: Whether they are equal, for probabilities within rounding.
        ran: What was run.
    """

    wanted: tuple[float, ...]
    realised: tuple[float, ...]
    equal: bool
    ran: str


@dataclass(frozen=True, kw_only=True)
class ExportResult(JsonRecord):
    """What ``export`` returns and prints with ``--json``.

    Attributes:
        version: Of this package.
        format: Name of the format.
        target: Whose code it is for.
        name: What was exported, as it was named.
        kind: counts, alphas, threshold, quota, entropy-bound, cap or klass.
        schedule: Name of the mask schedule; None for policies without one.
        length: Tokens to fill.
        steps: Of all blocks together; None where the policy decides.
        block_length: Tokens of a block.
        counts_by_block: Tokens per step of each block; None without counts.
        alphas: (steps + 1,) for ancestral reveal; None otherwise.
        value: The threshold or the bound; None for schedules.
        kl: Of klass, the KL divergence below which a prediction is stable; None otherwise.
        exact: Whether the format does what the policy says; otherwise it is the nearest that the target can do.
        files: Paths of the written files, by name.
        where: Instructions where to put them.
        lost: What the target does otherwise.
        notes: What was not tuned.
        verification: The run of the peer's code; None if there was none.
    """

    version: str
    format: str
    target: str
    name: str
    kind: str
    schedule: str | None
    length: int
    steps: int | None
    block_length: int
    counts_by_block: tuple[tuple[int, ...], ...] | None
    alphas: tuple[float, ...] | None
    value: float | None
    kl: float | None = None
    exact: bool
    files: dict[str, str]
    where: tuple[str, ...]
    lost: tuple[str, ...]
    notes: tuple[str, ...]
    verification: RealisedRecord | None
