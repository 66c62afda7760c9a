"""The format ``transformers``: the fields of OmniVoice's generation config that are nearest to a schedule."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from mdm_tune.exports.base import Exported, ExportFormat
from mdm_tune.exports.nearest import differing, largest_difference, loss_text
from mdm_tune.exports.policy import Policy
from mdm_tune.exports.target import PeerFormat

__all__ = ["FORMATS", "OmniVoice", "nearest_shift", "shifted_counts"]

FILE = "generation_config.json"
SHIFTS = [float(f"{10 ** (power / 60):.3g}") for power in range(-120, 121)]  # from 0.01 to 100


def shifted_counts(length: int, steps: int, shift: float) -> tuple[int, ...]:
    """The tokens that each step of OmniVoice reveals.

    The time of a step is u -> S u / (1 + (S - 1) u) in float32, with u from 0 to 1. Each step reveals the length times
    its time, rounded up, as long as there are masked tokens; the last step reveals all that are left.

    Args:
        length: masked tokens, over all codebooks.
        steps: number of steps.
        shift: S, above 0; below 1 the first steps reveal little.
    """
    one, step = np.float32(1), np.float32(1) / np.float32(steps)
    places = np.arange(steps + 1, dtype=np.float64)
    # Product and sum are rounded once, as torch.linspace does it.
    exact = np.where(places < (steps + 1) // 2, step * places, 1 - float(step) * (steps - places))
    times = exact.astype(np.float32)
    times = np.float32(shift) * times / (one + np.float32(shift - 1) * times)
    counts: list[int] = []
    left = length
    ends = times.tolist()
    for before, after in pairwise(ends):
        count = left if len(counts) == steps - 1 else min(left, math.ceil(length * (after - before)))
        counts.append(count)
        left -= count
    return tuple(counts)


def nearest_shift(counts: Sequence[int]) -> float:
    """The shift, of three digits, whose counts are nearest: fewest positions at another step, then the nearest curve.

    Args:
        counts: (steps,), at least 1.
    """
    length, steps = sum(counts), len(counts)

    def loss(shift: float) -> tuple[float, ...]:
        others = shifted_counts(length, steps, shift)
        return differing(counts, others), largest_difference(counts, others), abs(math.log(shift))

    coarse = min(SHIFTS, key=loss)
    fine = {float(f"{coarse * 10 ** (power / 600):.3g}") for power in range(-10, 11)}
    return min(sorted(fine), key=loss)


class OmniVoice(PeerFormat):
    """OmniVoice's generation, whose curve has one number."""

    name = "transformers"
    target = "OmniVoiceGenerationConfig of github.com/k2-fsa/OmniVoice"
    verified = "k2-fsa/OmniVoice 468e927"
    file = FILE
    exact = False
    kinds = frozenset({"counts"})

    def made(self, policy: Policy) -> Exported:
        """See ``PeerFormat``."""
        counts = tuple(count for count in policy.flat_counts if count)
        shift = nearest_shift(counts)
        others = shifted_counts(policy.length, len(counts), shift)
        record = {"mdm_tune": list(policy.provenance(self.name)), "num_step": len(counts), "t_shift": shift}
        idle = others.count(0)
        return Exported(
            files={FILE: json.dumps(record, indent=1) + "\n"},
            where=(
                "Give the two numbers to OmniVoice:",
                f'    model.generate(text="...", num_step={len(counts)}, t_shift={shift})',
                "or read them from the file, which OmniVoice does not look for by itself:",
                "    import json, omnivoice",
                f'    fields = json.load(open("{FILE}"))',
                "    config = omnivoice.OmniVoiceGenerationConfig.from_dict(fields)",
                '    model.generate(text="...", generation_config=config)',
                "The temperatures and the guidance are settings of their own there: class_temperature,",
                "position_temperature and guidance_scale.",
            ),
            lost=(
                *loss_text(counts, others),
                *((f"{idle} steps reveal nothing and still call the model.",) if idle else ()),
                f"The counts hold for {policy.length} tokens over all codebooks; each clip has its own number.",
                "OmniVoice prefers its first codebooks by layer_penalty_factor.",
            ),
        )


FORMATS: tuple[ExportFormat, ...] = (OmniVoice(),)
