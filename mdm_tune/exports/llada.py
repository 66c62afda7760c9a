"""The formats ``llada`` and ``fast-dllm``: a replacement of ``get_num_transfer_tokens`` in one file."""

from __future__ import annotations

from mdm_tune.exports.base import (
    Exported,
    ExportFormat,
    python_file,
    sampling_arguments,
)
from mdm_tune.exports.policy import Policy
from mdm_tune.exports.target import PeerFormat

__all__ = ["FORMATS", "FastDllm", "Llada", "counts_body", "remasking"]

BODY = '''
import torch

LENGTH = {length}  # tokens to generate
BLOCK_LENGTH = {block_length}
STEPS = {steps}  # the argument `steps` of generate(), for all blocks together
COUNTS = (  # tokens that each step reveals: {rows}
{counts}
)
EXTRA_STEPS = {extra}  # steps that reveal nothing, at the end of each block

_blocks_begun = 0


def restart():
    """Begin again with the first block. generate() does it by itself unless it was stopped before its last block."""
    global _blocks_begun
    _blocks_begun = 0


def get_num_transfer_tokens(mask_index, steps):
    """Tokens to reveal at each step of a block, (rows, steps) int64.

    mask_index: (rows, positions) bool, True where a token is masked. A row with a number of masks other than
    BLOCK_LENGTH gets the same shares of its own number, rounded.
    steps: of the block; it must be the number that was exported.
    """
    global _blocks_begun
    counts = COUNTS[_blocks_begun % len(COUNTS)]
    if steps != len(counts):
        raise ValueError(f"this schedule has {{len(counts)}} steps per block, got {{steps}}; give steps={{STEPS}}")
    _blocks_begun += 1
    rows = []
    for masks in mask_index.sum(dim=1).tolist():
        ends, revealed = [0], 0
        for count in counts:
            revealed += count
            ends.append((2 * masks * revealed + BLOCK_LENGTH) // (2 * BLOCK_LENGTH))
        rows.append([after - before for before, after in zip(ends, ends[1:])] + [0] * EXTRA_STEPS)
    return torch.tensor(rows, dtype=torch.int64, device=mask_index.device).reshape(len(rows), steps + EXTRA_STEPS)
'''
MASK = "Also pass mask_id where the mask token of your model is not LLaDA's 126336."
INSTALL = '''

def install(module):
    """Replace the function in the module that holds generate()."""
    module.get_num_transfer_tokens = get_num_transfer_tokens
    restart()
'''
SETTINGS = """
SETTINGS = {settings}  # keyword arguments of generate()
"""


def counts_body(policy: Policy, extra: int = 0) -> str:
    """The code of a ``get_num_transfer_tokens`` with the policy's counts.

    Args:
        policy: with counts.
        extra: steps that reveal nothing, at the end of each block.
    """
    blocks = policy.padded[:1] if policy.one_for_all else policy.padded
    return BODY.format(
        length=policy.length,
        block_length=policy.block_length,
        steps=policy.most_steps * policy.blocks,
        rows="the same in every block" if policy.one_for_all else "one row per block",
        counts="\n".join(f"    {block!r}," for block in blocks),
        extra=extra,
    )


def remasking(policy: Policy) -> tuple[str, tuple[str, ...]]:
    """LLaDA's name of the order, and what is lost where it has no such order."""
    order = policy.sampler.get("order", "confidence")
    if order == "random":
        return "random", ()
    if order == "confidence":
        return "low_confidence", ()
    return "low_confidence", (
        f"The schedule was tuned for the order {order}, which LLaDA's code does not have; low_confidence is another.",
    )


def idle_steps(policy: Policy) -> tuple[str, ...]:
    """What is lost where the target also calls the model at steps that reveal nothing."""
    calls = policy.most_steps * policy.blocks
    if calls == policy.calls:
        return ()
    return (f"The target calls the model also at steps that reveal nothing: {calls} calls, not {policy.calls}.",)


class Llada(PeerFormat):
    """LLaDA's own ``generate``."""

    name = "llada"
    target = "generate.py of github.com/ML-GSAI/LLaDA"
    verified = "ML-GSAI/LLaDA b7e6c35"
    file = "mdm_tune_llada.py"
    kinds = frozenset({"counts"})
    blocks = "any"

    def made(self, policy: Policy) -> Exported:
        """See ``PeerFormat``."""
        order, lost = remasking(policy)
        sampling, missing = sampling_arguments(policy, {"temperature": "temperature", "guidance": "cfg_scale"})
        steps = policy.most_steps * policy.blocks
        title = "Tokens per step of a tuned mask schedule, for generate() of LLaDA."
        return Exported(
            files={self.file: python_file(title, policy, self.name, counts_body(policy) + INSTALL)},
            where=(
                "Copy mdm_tune_llada.py beside LLaDA's generate.py, and call it so:",
                "    import generate, mdm_tune_llada",
                "    mdm_tune_llada.install(generate)",
                f"    generate.generate(model, prompt, steps={steps}, gen_length={policy.length},",
                f'                      block_length={policy.block_length}, remasking="{order}"{sampling})',
                MASK,
                "Other numbers of steps raise an error; export again for them.",
                *(() if policy.one_for_all else ("After a call that was stopped: mdm_tune_llada.restart()",)),
            ),
            lost=(*lost, *missing, *idle_steps(policy)),
        )


class FastDllm(PeerFormat):
    """The three ``generate`` functions of Fast-dLLM for LLaDA."""

    name = "fast-dllm"
    target = "llada/generate.py of github.com/NVlabs/Fast-dLLM"
    verified = "NVlabs/Fast-dLLM 24cc59e"
    file = "mdm_tune_fast_dllm.py"
    kinds = frozenset({"counts", "threshold"})
    blocks = "any"

    def made(self, policy: Policy) -> Exported:
        """See ``PeerFormat``."""
        if policy.kind == "threshold":
            return self._threshold(policy)
        order, lost = remasking(policy)
        sampling, missing = sampling_arguments(policy, {"temperature": "temperature"})
        steps = policy.most_steps * policy.blocks
        # The functions with a cache ask for a second step even where the first has revealed all.
        extra = int(policy.most_steps == 1)
        title = "Tokens per step of a tuned mask schedule, for the generate functions of Fast-dLLM."
        cached = (
            (f"With a cache a block takes a second call, also where its one step has revealed all: {2 * steps} calls.",)
            if extra
            else ()
        )
        return Exported(
            files={self.file: python_file(title, policy, self.name, counts_body(policy, extra) + INSTALL)},
            where=(
                "Copy mdm_tune_fast_dllm.py beside Fast-dLLM's llada/generate.py, and call it so:",
                "    import generate, mdm_tune_fast_dllm",
                "    mdm_tune_fast_dllm.install(generate)",
                f"    generate.generate(model, prompt, steps={steps}, gen_length={policy.length},",
                f'                      block_length={policy.block_length}, remasking="{order}"{sampling})',
                MASK,
                "generate_with_prefix_cache and generate_with_dual_cache take the same arguments.",
                *(() if policy.one_for_all else ("After a call that was stopped: mdm_tune_fast_dllm.restart()",)),
            ),
            lost=(*lost, *missing, *cached, *_zero_steps(policy)),
        )

    def _threshold(self, policy: Policy) -> Exported:
        settings = {
            "steps": policy.blocks,
            "gen_length": policy.length,
            "block_length": policy.block_length,
            "remasking": "low_confidence",
            "threshold": policy.value,
        }
        title = "A confidence threshold, for the generate functions of Fast-dLLM."
        body = SETTINGS.format(settings=repr(settings))
        return Exported(
            files={self.file: python_file(title, policy, self.name, body)},
            where=(
                "Copy mdm_tune_fast_dllm.py beside Fast-dLLM's llada/generate.py, and call it so:",
                "    import generate, mdm_tune_fast_dllm",
                "    generate.generate(model, prompt, **mdm_tune_fast_dllm.SETTINGS)",
                "generate_with_prefix_cache and generate_with_dual_cache take the same arguments.",
                "steps is only checked there: with a threshold each block goes on until it is full.",
            ),
        )


def _zero_steps(policy: Policy) -> tuple[str, ...]:
    """What is lost where a step before the last token of its block reveals nothing; later ones are never reached."""
    idle = 0
    for block in policy.counts or ():
        last = max((step for step, count in enumerate(block) if count), default=0)
        idle += block[:last].count(0)
    if not idle:
        return ()
    return (f"The target calls the model also at the steps that reveal nothing: {policy.calls + idle} calls.",)


FORMATS: tuple[ExportFormat, ...] = (Llada(), FastDllm())
