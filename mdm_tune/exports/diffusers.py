"""The format ``diffusers``: subclasses of its schedulers for text in blocks and for AMUSEd."""

from __future__ import annotations

from mdm_tune.exports.base import (
    Exported,
    ExportFormat,
    python_file,
    sampling_arguments,
)
from mdm_tune.exports.policy import Policy
from mdm_tune.exports.target import PeerFormat

__all__ = ["AMUSED_FILE", "BLOCK_FILE", "FORMATS", "Diffusers", "used_steps"]

BLOCK_FILE = "mdm_tune_diffusers.py"
AMUSED_FILE = "mdm_tune_amused.py"
BLOCK_BODY = '''
import torch
from diffusers import BlockRefinementScheduler

LENGTH = {length}  # tokens to generate
BLOCK_LENGTH = {block_length}
STEPS = {steps}  # num_inference_steps: of a block
THRESHOLD = {threshold!r}  # a step also reveals all tokens with a higher confidence; no confidence is above 1
COUNTS = (  # tokens that each step reveals{least}: {rows}
{counts}
)


class MdmTuneBlockRefinementScheduler(BlockRefinementScheduler):
    """BlockRefinementScheduler with the exported tokens per step. Give THRESHOLD to the pipeline, too."""

    def get_num_transfer_tokens(self, block_length, num_inference_steps):
        """Called by set_timesteps(), with which a generation begins."""
        if (block_length, num_inference_steps) != (BLOCK_LENGTH, STEPS):
            raise ValueError(
                f"this schedule has block_length={{BLOCK_LENGTH}} and num_inference_steps={{STEPS}}, got "
                f"{{block_length}} and {{num_inference_steps}}"
            )
        self._blocks_begun = 0
        return torch.tensor(COUNTS[0], dtype=torch.long)

    def step(self, model_output, timestep, sample, *, mask_token_id=None, **arguments):
        """A step. Step 0 begins the next block; its masks get the same shares if they are fewer than BLOCK_LENGTH."""
        if mask_token_id is None:
            raise ValueError("this schedule is for masked tokens; give mask_token_id")
        if int(timestep) == 0:
            masks = int((sample == mask_token_id).sum(dim=1).max())
            if masks:
                ends, revealed = [0], 0
                for count in COUNTS[min(self._blocks_begun, len(COUNTS) - 1)]:
                    revealed += count
                    ends.append((2 * masks * revealed + BLOCK_LENGTH) // (2 * BLOCK_LENGTH))
                counts = [after - before for before, after in zip(ends, ends[1:])]
                self._transfer_schedule = torch.tensor(counts, dtype=torch.long, device=sample.device)
                self._blocks_begun += 1
        return super().step(model_output, timestep, sample, mask_token_id=mask_token_id, **arguments)
'''
AMUSED_BODY = '''
import math

import torch
from diffusers import AmusedScheduler

LENGTH = {length}  # masked tokens
STEPS = {steps}  # num_inference_steps
MASKED = (  # tokens that stay masked after each step
{masked}
)


class MdmTuneAmusedScheduler(AmusedScheduler):
    """AmusedScheduler with the exported tokens per step. Rows with another number of masks get the same shares."""

    def set_timesteps(self, num_inference_steps, *arguments, **named):
        if num_inference_steps != STEPS:
            raise ValueError(f"this schedule has num_inference_steps={{STEPS}}, got {{num_inference_steps}}")
        super().set_timesteps(num_inference_steps, *arguments, **named)

    def step(self, model_output, timestep, sample, starting_mask_ratio=1.0, generator=None, return_dict=True):
        """A step. starting_mask_ratio has no effect: the masks of the first step are counted."""
        step = STEPS - 1 - int(timestep)
        flat = sample.reshape(len(sample), -1)
        if step == 0:
            self._masks = (flat == self.config.mask_token_id).sum(dim=1, keepdim=True).float()
        if step < STEPS - 1:
            share = (step + 1) / STEPS
            left = 1 - share if self.config.masking_schedule == "linear" else math.cos(share * math.pi / 2)
            wanted = torch.floor(self._masks * MASKED[step] / LENGTH + 0.5)
            # The scheduler rounds tokens * ratio * left down. Half a token more survives its rounding.
            starting_mask_ratio = (wanted + 0.5) / (flat.shape[1] * left)
        return super().step(model_output, timestep, sample, starting_mask_ratio, generator, return_dict)
'''


def used_steps(policy: Policy) -> tuple[tuple[int, ...], ...]:
    """The counts of each block without the steps that reveal nothing, with zeros at the end of the shorter blocks."""
    blocks = [tuple(count for count in block if count) for block in policy.counts or ()]
    most = max(map(len, blocks))
    return tuple((*block, *(0,) * (most - len(block))) for block in blocks)


class Diffusers(PeerFormat):
    """BlockRefinementScheduler, of the LLaDA2 pipeline, and AmusedScheduler."""

    name = "diffusers"
    target = "BlockRefinementScheduler and AmusedScheduler of diffusers"
    verified = "huggingface/diffusers 0.42.1"
    file = BLOCK_FILE
    kinds = frozenset({"counts", "quota", "threshold"})
    blocks = "any"

    def made(self, policy: Policy) -> Exported:
        """See ``PeerFormat``."""
        if policy.kind == "threshold":
            counts: tuple[tuple[int, ...], ...] = ((1,) * policy.block_length,)
        else:
            counts = used_steps(policy)
        one_for_all = len(set(counts)) == 1
        title = "Tokens per step of a tuned mask schedule, for the LLaDA2 pipeline of diffusers."
        body = BLOCK_BODY.format(
            length=policy.length,
            block_length=policy.block_length,
            steps=len(counts[0]),
            threshold=1.0 if policy.value is None else policy.value,
            least="" if policy.kind == "counts" else ", at least",
            rows="the same in every block" if one_for_all else "one row per block",
            counts="\n".join(_row(block) for block in (counts[:1] if one_for_all else counts)),
        )
        files = {BLOCK_FILE: python_file(title, policy, self.name, body)}
        sampling, lost = sampling_arguments(policy, {"temperature": "temperature", "top_p": "top_p"})
        where = [
            f"Copy {BLOCK_FILE} beside your program, and call it so:",
            "    from mdm_tune_diffusers import THRESHOLD, MdmTuneBlockRefinementScheduler",
            "    pipe = LLaDA2Pipeline(model, MdmTuneBlockRefinementScheduler(), tokenizer)",
            f"    pipe(prompt, gen_length={policy.length}, block_length={policy.block_length}, "
            f"num_inference_steps={len(counts[0])},",
            f"         threshold=THRESHOLD, editing_threshold=None{sampling})",
        ]
        if policy.kind == "counts" and policy.blocks == 1:
            files[AMUSED_FILE] = self._amused(policy, counts[0])
            noise = policy.sampler.get("confidence_temperature", 0.0)
            noise = float(noise) if isinstance(noise, int | float) else 0.0
            where += [
                f"For AMUSEd, {AMUSED_FILE}:",
                "    pipe.scheduler = mdm_tune_amused.MdmTuneAmusedScheduler.from_config(pipe.scheduler.config)",
                f"    pipe(prompt, num_inference_steps={len(counts[0])}, temperature=({noise!r}, {noise!r}))",
                f"The image must have {policy.length} tokens; those of others get the same shares, rounded.",
            ]
        return Exported(files=files, where=tuple(where), lost=(*_lost(policy), *lost))

    def _amused(self, policy: Policy, counts: tuple[int, ...]) -> str:
        left, masked = policy.length, []
        for count in counts:
            left -= count
            masked.append(f"    {left},")
        title = "Masked tokens after each step of a tuned mask schedule, for AMUSEd in diffusers."
        body = AMUSED_BODY.format(length=policy.length, steps=len(counts), masked="\n".join(masked))
        return python_file(title, policy, self.name, body)


def _row(block: tuple[int, ...]) -> str:
    return f"    {block!r}," if len(set(block)) > 1 or len(block) < 4 else f"    ({block[0]},) * {len(block)},"


def _lost(policy: Policy) -> tuple[str, ...]:
    """What the two schedulers do otherwise."""
    lost = ["If the prompt ends within a block, this block has fewer masked tokens, and there is one block more."]
    order = policy.sampler.get("order", "confidence")
    if order not in ("confidence", "top-probability"):
        lost.append(f"The schedule was tuned for the order {order}, and the schedulers reveal by confidence.")
    if policy.kind == "threshold":
        lost.append("A token whose confidence equals the threshold is not above it there.")
    if policy.kind == "counts" and policy.blocks == 1:
        lost.append("AMUSEd draws at temperature 1, and reveals tokens of equal confidence together.")
    return tuple(lost)


FORMATS: tuple[ExportFormat, ...] = (Diffusers(),)
