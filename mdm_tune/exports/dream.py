"""The format ``dream``: time steps that give the counts, or the probabilities, in Dream's sampler."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from mdm_tune.exports.base import (
    Exported,
    ExportFormat,
    python_file,
    sampling_arguments,
)
from mdm_tune.exports.policy import Policy
from mdm_tune.exports.target import PeerFormat

__all__ = ["FORMATS", "Dream", "times_of_alphas", "times_of_counts"]

ALL = 2.0**-30  # a ratio of times at which 1 - ratio is exactly 1 in float32, so that a step reveals all
ALGORITHMS = {
    "confidence": "maskgit_plus",
    "top-probability": "maskgit_plus",
    "margin": "topk_margin",
    "entropy": "entropy",
}
TAKES = {"temperature": "temperature", "top_p": "top_p", "confidence_temperature": "alg_temp"}
BODY = '''
import sys

import torch

LENGTH = {length}  # tokens to generate
STEPS = {steps}  # the argument `steps` of diffusion_generate()
TIMES = (  # (STEPS + 1,) from 1, all masked, down
{times}
)


class _Torch:
    """The library torch as Dream's sampler sees it, with linspace replaced."""

    def __getattr__(self, name):
        return getattr(torch, name)

    def linspace(self, start, end, steps, device=None, **options):
        if steps != STEPS + 1:
            raise ValueError(f"this schedule has {{STEPS}} steps, got {{steps - 1}}; give steps={{STEPS}}")
        return torch.tensor(TIMES, dtype=torch.float32, device=device)


def _module(model):
    return sys.modules[type(model)._sample.__module__]


def install(model):
    """Use the time steps in the module that holds the model's diffusion_generate()."""
    _module(model).torch = _Torch()


def uninstall(model):
    """Use Dream's own time steps again."""
    _module(model).torch = torch
'''


def times_of_counts(counts: Sequence[int]) -> tuple[float, ...]:
    """Times at which Dream's floor gives these counts, (steps + 1,), from 1 and never increasing.

    A step from t to s reveals floor(m (1 - s/t)) of m masked tokens, in float32. Half a token is added to what a step
    shall reveal, so that the product is as far from the next integers as it can be. The last step reveals all that are
    left, whatever its times are.

    Args:
        counts: (steps,), at least 0.
    """
    times, masked = [1.0], sum(counts)
    for count in counts:
        if count == 0:
            ratio = 1.0
        elif count == masked:
            ratio = ALL
        else:
            ratio = 1 - (count + 0.5) / masked
        times.append(times[-1] * ratio)
        masked -= count
    return tuple(times)


def times_of_alphas(alphas: Sequence[float]) -> tuple[float, ...]:
    """Times at which Dream's ``origin`` reveals with the probabilities of these alphas, (steps + 1,).

    A step from t to s reveals each masked token with probability 1 - s/t, so that t = 1 - alpha. No time is 0, because
    a step after it would divide by it.

    Args:
        alphas: (steps + 1,), from 0 to 1.
    """
    times = [1.0]
    for before, after in pairwise(alphas):
        ratio = 1.0 if before == after else ALL if after == 1 else (1 - after) / (1 - before)
        times.append(times[-1] * ratio)
    return tuple(times)


class Dream(PeerFormat):
    """Dream's ``diffusion_generate``, as the checkpoints bring it."""

    name = "dream"
    target = "generation_utils.py of Dream's checkpoints"
    verified = "ZHZisZZ/dllm ca17675, NVlabs/Fast-dLLM 24cc59e"
    file = "mdm_tune_dream.py"
    kinds = frozenset({"counts", "alphas"})

    def made(self, policy: Policy) -> Exported:
        """See ``PeerFormat``."""
        order = policy.sampler.get("order", "confidence")
        lost = [
            "All rows of a batch must have the exported number of masked tokens, because Dream computes one number per "
            "step from their mean."
        ]
        if policy.alphas is not None:
            times, steps, algorithm = times_of_alphas(policy.alphas), policy.steps, "origin"
            lost = []
        else:
            times, steps = times_of_counts(policy.flat_counts), len(policy.flat_counts)
            algorithm = ALGORITHMS.get(str(order), "maskgit_plus")
            if order in ("random", "top-probability"):
                lost.append(f"The schedule was tuned for the order {order}, which Dream does not have for counts.")
            if policy.calls < steps:
                lost.append(
                    f"Dream calls the model also at steps that reveal nothing: {steps} calls, not {policy.calls}."
                )
        sampling, missing = sampling_arguments(policy, TAKES)
        title = "Time steps of a tuned mask schedule, for diffusion_generate() of Dream."
        body = BODY.format(length=policy.length, steps=steps, times="\n".join(f"    {time!r}," for time in times))
        return Exported(
            files={self.file: python_file(title, policy, self.name, body)},
            where=(
                "Copy mdm_tune_dream.py beside your program, and call it so:",
                "    import mdm_tune_dream",
                "    mdm_tune_dream.install(model)  # the model that AutoModel loaded",
                f"    model.diffusion_generate(input_ids, attention_mask=mask, max_new_tokens={policy.length},",
                f'                             steps={steps}, alg="{algorithm}"{sampling})',
                "eps has no effect. Other numbers of steps raise an error; export again for them.",
                "mdm_tune_dream.uninstall(model) brings Dream's own times back.",
            ),
            lost=(*lost, *missing),
        )


FORMATS: tuple[ExportFormat, ...] = (Dream(),)
