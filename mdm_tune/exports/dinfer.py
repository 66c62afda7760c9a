"""The format ``dinfer``: a replacement of ``get_num_transfer_tokens``, and a decoder, in one file."""

from __future__ import annotations

from mdm_tune.exports.base import (
    Exported,
    ExportFormat,
    python_file,
    sampling_arguments,
)
from mdm_tune.exports.llada import counts_body, remasking
from mdm_tune.exports.policy import Policy
from mdm_tune.exports.target import PeerFormat

__all__ = ["FORMATS", "Dinfer"]

INSTALL = '''

def install():
    """Replace the function in every module of dinfer that is loaded. Call it after the imports of dinfer."""
    import sys

    for name, module in list(sys.modules.items()):
        if name.startswith("dinfer.") and hasattr(module, "get_num_transfer_tokens"):
            module.get_num_transfer_tokens = get_num_transfer_tokens
    restart()
'''
DECODER = '''

THRESHOLD = {threshold}  # a step also reveals all tokens with a higher confidence; None for counts alone


class CountsDecoder:
    """A decoder for BlockWiseDiffusionLLM and its relatives, which reveals the exported counts.

    A step is found by the number of tokens that a block has already, so that calls after the last token do nothing.
    """

    def __init__(self, temperature=0.0, mask_id=126336, eos_id=126081):
        self.temperature, self.mask_id, self.eos_id = temperature, mask_id, eos_id
        self.block = self.calls = 0

    def block_init(self, block_x, block_id):
        self.block, self.calls = block_id, 0

    def decode(self, logits, block_start, block_end, x, iter_threshold=None):
        tokens = x[:, block_start:block_end]
        hidden = tokens == self.mask_id
        logits = logits.to(torch.float64).clone()
        logits[:, :, self.mask_id : self.mask_id + 1] = -torch.inf  # never drawn, where the model has it
        noise = torch.zeros_like(logits)
        if self.temperature > 0:
            noise = -torch.log(-torch.log(torch.rand_like(logits)))
        drawn = (logits + self.temperature * noise).argmax(-1)
        confidence = logits.softmax(-1).gather(-1, drawn.unsqueeze(-1)).squeeze(-1).masked_fill(~hidden, -torch.inf)
        chosen = torch.zeros_like(hidden)
        for row, left in enumerate(hidden.sum(1).tolist()):
            least = self._least(left, block_end - block_start)
            chosen[row, confidence[row].topk(least).indices] = True
            if THRESHOLD is not None:
                above = confidence[row] > THRESHOLD
                if int(above.sum()) >= least:
                    chosen[row] = above
        x[:, block_start:block_end] = torch.where(chosen, drawn, tokens)
        self.calls += 1

    def _least(self, left, width):
        """How many of the `left` hidden tokens of a block this step reveals, at least."""
        counts = [count for count in COUNTS[self.block % len(COUNTS)] if count]
        if THRESHOLD is not None:
            return min(left, counts[min(self.calls, len(counts) - 1)])
        revealed = 0
        for count in counts:
            revealed += count
            end = (2 * width * revealed + BLOCK_LENGTH) // (2 * BLOCK_LENGTH)
            if end > width - left:
                return min(left, end - (width - left))
        return left
'''
THRESHOLD_BODY = '''
SETTINGS = {settings}


def decoder(temperature=0.0, mask_id=126336, eos_id=126081):
    """dinfer's decoder with the exported threshold, for BlockWiseDiffusionLLM and its relatives."""
    from dinfer.decoding.parallel_strategy import ThresholdParallelDecoder

    return ThresholdParallelDecoder(
        temperature=temperature, threshold=SETTINGS["threshold"], mask_id=mask_id, eos_id=eos_id, use_float64=True
    )
'''


class Dinfer(PeerFormat):
    """dInfer: its functions with counts, and its generation by blocks with a decoder."""

    name = "dinfer"
    target = "python/dinfer of github.com/inclusionAI/dInfer"
    verified = "inclusionAI/dInfer fce4e32"
    file = "mdm_tune_dinfer.py"
    kinds = frozenset({"counts", "quota", "threshold"})
    blocks = "any"

    def made(self, policy: Policy) -> Exported:
        """See ``PeerFormat``."""
        if policy.kind == "threshold":
            return self._threshold(policy)
        order, lost = remasking(policy)
        sampling, missing = sampling_arguments(policy, {"temperature": "temperature"})
        title = "Tokens per step of a tuned mask schedule, for dInfer."
        body = (
            counts_body(policy) + ("" if policy.kind == "quota" else INSTALL) + DECODER.format(threshold=policy.value)
        )
        steps = policy.most_steps * policy.blocks
        decoder = f"mdm_tune_dinfer.CountsDecoder({sampling.removeprefix(', ')})"
        functions = (
            "For the functions of dinfer.decoding.generate_fastdllm, which have counts of their own:",
            "    mdm_tune_dinfer.install()",
            f"    generate_fastdllm(model, prompt, steps={steps}, gen_length={policy.length},",
            f'                      block_length={policy.block_length}, remasking="{order}"{sampling})',
        )
        if order == "random":
            lost = ("CountsDecoder reveals by confidence; the functions have the order random.",)
        return Exported(
            files={self.file: python_file(title, policy, self.name, body)},
            where=(
                "Copy mdm_tune_dinfer.py beside your program, and call it so:",
                "    import mdm_tune_dinfer",
                f"    llm = BlockWiseDiffusionLLM(model, {decoder}, BlockIteratorFactory())",
                f"    llm.generate(prompt, gen_length={policy.length}, block_length={policy.block_length})",
                *(() if policy.kind == "quota" else functions),
            ),
            lost=(*lost, *missing),
        )

    def _threshold(self, policy: Policy) -> Exported:
        settings = {"gen_length": policy.length, "block_length": policy.block_length, "threshold": policy.value}
        title = "A confidence threshold, for dInfer."
        body = THRESHOLD_BODY.format(settings=repr(settings))
        return Exported(
            files={self.file: python_file(title, policy, self.name, body)},
            where=(
                "Copy mdm_tune_dinfer.py beside your program, and call it so:",
                "    import mdm_tune_dinfer",
                "    llm = BlockWiseDiffusionLLM(model, mdm_tune_dinfer.decoder(), BlockIteratorFactory())",
                f"    llm.generate(prompt, gen_length={policy.length}, block_length={policy.block_length})",
            ),
            lost=(
                "Where no token reaches the threshold, those within 1e-5 of the most confident one are revealed too.",
            ),
        )


FORMATS: tuple[ExportFormat, ...] = (Dinfer(),)
