"""The format ``dllm``: a scheduler class that gives the counts, or the probabilities, in dllm's samplers."""

from __future__ import annotations

from mdm_tune.exports.base import (
    Exported,
    ExportFormat,
    python_file,
    sampling_arguments,
)
from mdm_tune.exports.llada import remasking
from mdm_tune.exports.policy import Policy
from mdm_tune.exports.target import PeerFormat

__all__ = ["FORMATS", "Dllm"]

BODY = '''
import dataclasses

import torch
from dllm.core.schedulers import BaseAlphaScheduler

LENGTH = {length}  # tokens to generate
BLOCK_LENGTH = {block_length}
STEPS = {steps}  # the setting `steps` of the sampler, for all blocks together
REVEALED = (  # {what}, at the ends of the steps of a block
{revealed}
)


@dataclasses.dataclass
class MdmTuneAlphaScheduler(BaseAlphaScheduler):
    """The schedule as dllm counts time: all is masked at 1, nothing at 0. Between two steps it is a straight line."""

    def _alpha(self, i):
        values = torch.tensor(REVEALED, dtype=torch.float64, device=i.device) / REVEALED[-1]
        place, step = self._place(i)
        return (values[step] + (values[step + 1] - values[step]) * (place - step)).to(i.dtype)

    def _alpha_derivative(self, i):
        values = torch.tensor(REVEALED, dtype=torch.float64, device=i.device) / REVEALED[-1]
        _, step = self._place(i)
        return ((values[step] - values[step + 1]) * (len(REVEALED) - 1)).to(i.dtype)

    def _place(self, i):
        """The time in steps from all masked, and the step that it lies in. Ends of steps are met exactly."""
        place = (1 - i.to(torch.float64)) * (len(REVEALED) - 1)
        place = torch.where((place - place.round()).abs() < 1e-3, place.round(), place)
        return place, place.floor().clamp(0, len(REVEALED) - 2).long()

    def reverse_mask_prob(self, s, t):
        """The probability that a token which is masked at time t is masked at time s < t, in float64."""
        several = any(torch.is_tensor(time) and time.numel() > 1 for time in (s, t))
        places = () if several else tuple((1 - float(time)) * (len(REVEALED) - 1) for time in (t, s))
        if several or any(abs(place - round(place)) > 1e-3 for place in places):
            return super().reverse_mask_prob(s, t)  # not at the ends of steps: another number of steps
        before, after = (REVEALED[-1] - REVEALED[round(place)] for place in places)
        kept = after / before if before else 0.0
        return kept if isinstance(t, float) and isinstance(s, float) else torch.as_tensor(kept, dtype=torch.float32)
'''


class Dllm(PeerFormat):
    """The samplers of dllm, which take a scheduler."""

    name = "dllm"
    target = "the samplers of github.com/ZHZisZZ/dllm"
    verified = "ZHZisZZ/dllm ca17675"
    file = "mdm_tune_dllm.py"
    kinds = frozenset({"counts", "alphas"})
    blocks = "equal"

    def made(self, policy: Policy) -> Exported:
        """See ``PeerFormat``."""
        if policy.alphas is not None:
            revealed = [repr(alpha) for alpha in policy.alphas]
            what, order = "share that is revealed", "random"
            lost: tuple[str, ...] = ()
            more = ", stochastic_transfer=True"
        else:
            assert policy.counts is not None
            block = policy.counts[0]
            revealed = [str(sum(block[:step])) for step in range(len(block) + 1)]
            what, more = "tokens that are revealed", ""
            order, lost = remasking(policy)
        sampling, missing = sampling_arguments(policy, {"temperature": "temperature", "guidance": "cfg_scale"})
        steps = (len(revealed) - 1) * policy.blocks
        title = "A tuned mask schedule as a scheduler of dllm."
        body = BODY.format(
            length=policy.length,
            block_length=policy.block_length,
            steps=steps,
            what=what,
            revealed="\n".join(f"    {entry}," for entry in revealed),
        )
        return Exported(
            files={self.file: python_file(title, policy, self.name, body)},
            where=(
                "Copy mdm_tune_dllm.py beside your program, and call it so:",
                "    from dllm.core.samplers import MDLMSampler, MDLMSamplerConfig",
                "    from mdm_tune_dllm import MdmTuneAlphaScheduler",
                "    sampler = MDLMSampler(model=model, tokenizer=tokenizer, scheduler=MdmTuneAlphaScheduler())",
                f"    config = MDLMSamplerConfig(max_new_tokens={policy.length}, block_size={policy.block_length},",
                f'                               steps={steps}, remasking="{order}"{more}{sampling})',
                "    sampler.sample(inputs, config)",
                "dllm's evaluation scripts build their samplers without a scheduler; add the argument there.",
            ),
            lost=(*lost, *missing),
        )


FORMATS: tuple[ExportFormat, ...] = (Dllm(),)
