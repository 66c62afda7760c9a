"""The format ``vllm``: the number of tokens of each step, for the remasking policy of vLLM's dllm plugin."""

from __future__ import annotations

from mdm_tune.exports.base import (
    Exported,
    ExportFormat,
    python_file,
    sampling_arguments,
)
from mdm_tune.exports.diffusers import used_steps
from mdm_tune.exports.policy import Policy
from mdm_tune.exports.target import PeerFormat

__all__ = ["FORMATS", "Vllm"]

FILE = "mdm_tune_vllm.py"
DRAFT_SIZE = 32  # tokens of a block in the plugin
BODY = '''
from vllm_dllm_plugin.config import LLADA2_DEFAULT_MASK_TOKEN_ID
from vllm_dllm_plugin.remasking.llada2_default import Llada2DefaultRemaskingPolicy

BLOCK_LENGTH = {block_length}  # DRAFT_SIZE of the plugin
THRESHOLD = {threshold!r}  # a step also reveals all tokens with a higher confidence; no confidence is above 1
COUNTS = {counts}  # tokens that each step of a block reveals{least}
BY_MASKS = {by_masks}  # whether the step is found by the masks that are left, or given as denoise_step_index


def remasking_config(masks, step=0, mask_token_id=LLADA2_DEFAULT_MASK_TOKEN_ID):
    """The remasking_config of a step.

    masks: masked tokens that are left in the block.
    step: of the block, from 0; without effect if BY_MASKS.
    """
    if BY_MASKS:
        step, revealed = 0, COUNTS[0]
        while revealed <= BLOCK_LENGTH - masks and step + 1 < len(COUNTS):
            step += 1
            revealed += COUNTS[step]
        number = revealed - (BLOCK_LENGTH - masks)
    else:
        number = COUNTS[min(step, len(COUNTS) - 1)]
    return {{"num_transfer": number, "commit_confidence_threshold": THRESHOLD, "mask_token_id": mask_token_id}}


class MdmTuneRemaskingPolicy(Llada2DefaultRemaskingPolicy):
    """The plugin's policy with the exported tokens per step."""

    def apply(self, *, input_draft, logits=None, remasking_config=None):
        given = dict(remasking_config or {{}})
        mask = given.get("mask_token_id", LLADA2_DEFAULT_MASK_TOKEN_ID)
        masks = sum(token == mask for token in input_draft)
        own = _config(masks, given.get("denoise_step_index", 0), mask)
        return super().apply(input_draft=input_draft, logits=logits, remasking_config={{**given, **own}})


_config = remasking_config
'''


class Vllm(PeerFormat):
    """The policy of vLLM's dllm plugin."""

    name = "vllm"
    target = "the remasking policy of github.com/vllm-project/dllm-plugin"
    verified = "vllm-project/dllm-plugin 0c53db5"
    file = FILE
    kinds = frozenset({"counts", "quota", "threshold"})
    blocks = "equal"

    def made(self, policy: Policy) -> Exported:
        """See ``PeerFormat``."""
        block = (1,) if policy.kind == "threshold" else tuple(count for count in used_steps(policy)[0] if count)
        body = BODY.format(
            block_length=policy.block_length,
            threshold=1.0 if policy.value is None else policy.value,
            counts=f"(1,) * {len(block)}" if len(block) > 500 and set(block) == {1} else repr(block),
            least="" if policy.kind == "counts" else ", at least; the last number goes on",
            by_masks=policy.kind == "counts",
        )
        lost = [
            "The plugin has no worker yet that passes settings to its policy; the policy itself is exact.",
            "The policy always reveals the most probable token, by confidence.",
        ]
        if policy.block_length != DRAFT_SIZE:
            lost.append(f"The plugin has blocks of {DRAFT_SIZE}: DRAFT_SIZE in its config.py must be changed.")
        if policy.kind == "threshold":
            lost.append("A token whose confidence equals the threshold is not above it there.")
        _, missing = sampling_arguments(policy, {"temperature": "temperature"})
        title = "Tokens per step of a tuned mask schedule, for the dllm plugin of vLLM."
        return Exported(
            files={FILE: python_file(title, policy, self.name, body)},
            where=(
                f"Copy {FILE} beside your worker, and give the policy to the plugin's function:",
                "    from mdm_tune_vllm import MdmTuneRemaskingPolicy",
                "    remask_after_block_forward(input_draft=draft, logits=logits, policy=MdmTuneRemaskingPolicy(),",
                '                               remasking_config={"mask_token_id": mask, "denoise_step_index": step})',
                "With the plugin's own policy, pass remasking_config(masks, step, mask) of the file at each step.",
            ),
            lost=(*lost, *missing),
        )


FORMATS: tuple[ExportFormat, ...] = (Vllm(),)
