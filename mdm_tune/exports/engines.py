"""The formats ``lmdeploy`` and ``sglang``: settings of servers that know block lengths and thresholds."""

from __future__ import annotations

from mdm_tune.exports.base import (
    Exported,
    ExportFormat,
    python_file,
)
from mdm_tune.exports.diffusers import used_steps
from mdm_tune.exports.nearest import differing, largest_difference, loss_text
from mdm_tune.exports.policy import Policy
from mdm_tune.exports.target import PeerFormat

__all__ = ["FORMATS", "Lmdeploy", "Sglang", "lmdeploy_counts", "nearest_steps"]

LMDEPLOY_FILE = "mdm_tune_lmdeploy.py"
SGLANG_FILE = "mdm_tune_sglang.yaml"


def lmdeploy_counts(block_length: int, denoising_steps: int) -> tuple[int, ...]:
    """The tokens that each step of a block reveals with LMDeploy's static strategy.

    Each step reveals the same number, the block length divided by the steps and rounded down, until none is left. There
    can be more steps than were asked for.
    """
    number = max(1, block_length // denoising_steps)
    rest = block_length % number
    return (number,) * (block_length // number) + (rest,) * (rest > 0)


def nearest_steps(counts: tuple[int, ...]) -> int:
    """The ``denoising_steps`` whose counts are nearest: fewest positions at another step, then the nearest curve."""
    length = sum(counts)

    def loss(steps: int) -> tuple[float, ...]:
        others = lmdeploy_counts(length, steps)
        return differing(counts, others), largest_difference(counts, others), abs(len(others) - len(counts))

    return min(range(1, length + 1), key=loss)


class Lmdeploy(PeerFormat):
    """LMDeploy's PyTorch engine, with the static or the dynamic strategy."""

    name = "lmdeploy"
    target = "the PyTorch engine of github.com/InternLM/lmdeploy"
    verified = "InternLM/lmdeploy 1263d5c"
    file = LMDEPLOY_FILE
    exact = False
    kinds = frozenset({"counts", "threshold"})
    blocks = "equal"

    def made(self, policy: Policy) -> Exported:
        """See ``PeerFormat``."""
        settings: dict[str, object] = {"dllm_block_length": policy.block_length}
        lost: tuple[str, ...] = ()
        if policy.kind == "threshold":
            settings["dllm_unmasking_strategy"] = "low_confidence_dynamic"
            settings["dllm_confidence_threshold"] = policy.value
        else:
            counts = tuple(count for count in used_steps(policy)[0] if count)
            steps = nearest_steps(counts)
            settings["dllm_unmasking_strategy"] = "low_confidence_static"
            settings["dllm_denoising_steps"] = steps
            lost = loss_text(counts, lmdeploy_counts(policy.block_length, steps), policy.blocks)
        flags = [f"--{name.replace('_', '-')} {value}" for name, value in settings.items()]
        title = "The settings of LMDeploy that are nearest to a tuned mask schedule."
        body = f"SETTINGS = {settings!r}  # keyword arguments of PytorchEngineConfig"
        return Exported(
            files={LMDEPLOY_FILE: python_file(title, policy, self.name, body)},
            where=(
                "Start the server with these flags, beside your own:",
                f"    lmdeploy serve api_server MODEL --backend pytorch {' '.join(flags[:2])} \\",
                f"        {' '.join(flags[2:])}",
                f"or copy {LMDEPLOY_FILE} beside your program, and call it so:",
                "    from mdm_tune_lmdeploy import SETTINGS",
                "    lmdeploy.pipeline(MODEL, backend_config=lmdeploy.PytorchEngineConfig(**SETTINGS))",
                f"Generate {policy.length} tokens. The block length must be one that the model was trained for.",
            ),
            lost=(*lost, *_order(policy)),
        )


class Sglang(PeerFormat):
    """SGLang's algorithm ``LowConfidence``."""

    name = "sglang"
    target = "LowConfidence of github.com/sgl-project/sglang"
    verified = "sglang 0.5.23"
    file = SGLANG_FILE
    kinds = frozenset({"threshold"})
    blocks = "any"

    def made(self, policy: Policy) -> Exported:
        """See ``PeerFormat``."""
        comments = "".join(f"# {line}\n" for line in policy.provenance(self.name))
        return Exported(
            files={SGLANG_FILE: f"{comments}threshold: {policy.value!r}\nblock_size: {policy.block_length}\n"},
            where=(
                "Start the server with these flags, beside your own:",
                "    python -m sglang.launch_server --model-path MODEL --dllm-algorithm LowConfidence \\",
                f"        --dllm-algorithm-config {SGLANG_FILE}",
                f"Generate {policy.length} tokens. The block size must be one that the model was trained for.",
            ),
            lost=("A token whose confidence equals the threshold is not above it there.", *_order(policy)),
        )


def _order(policy: Policy) -> tuple[str, ...]:
    order = policy.sampler.get("order", "confidence")
    if order in ("confidence", "top-probability"):
        return ()
    return (f"The schedule was tuned for the order {order}, and the server reveals by confidence.",)


FORMATS: tuple[ExportFormat, ...] = (Lmdeploy(), Sglang())
