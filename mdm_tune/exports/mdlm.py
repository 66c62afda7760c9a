"""The formats ``mdlm`` and ``remdm``: sampling loops with the times of a schedule, for MDLM and for ReMDM."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mdm_tune.exports.ancestral import lines, masked_shares, settings_lost, skipped
from mdm_tune.exports.base import BlockRule, Exported, ExportFormat, Realised, check_expressible, python_file
from mdm_tune.exports.peer_process import run_peer
from mdm_tune.exports.policy import Kind, Policy

__all__ = ["FORMATS", "Mdlm", "Remdm"]

HEAD = """
import torch

STEPS = {steps}  # the setting sampling.steps{skipped}
TIMES = (  # (STEPS + 1,) from 1, all masked, to 0, none masked
{times}
)


def _check(model, num_steps):
    if model.parameterization == "ar" or model.config.noise.type != "loglinear":
        raise ValueError("these times are for masked diffusion with noise=loglinear")
    if num_steps is None:
        num_steps = model.config.sampling.steps
    if num_steps != STEPS:
        raise ValueError(f"this schedule has {{STEPS}} steps, got {{num_steps}}; give sampling.steps={{STEPS}}")
"""
MDLM = (
    HEAD
    + '''

@torch.no_grad()
def sample(self, num_steps=None, eps=None):
    """Take the place of Diffusion._sample(). The last step reveals all, so that none is needed for noise removal."""
    _check(self, num_steps)
    times = torch.tensor(TIMES, dtype=torch.float32, device=self.device)
    tokens = self._sample_prior(self.config.loader.eval_batch_size, self.config.model.length).to(self.device)
    prediction = None  # kept as long as no token changes
    for step in range(STEPS):
        time, length = times[step].repeat(len(tokens), 1), times[step] - times[step + 1]
        if self.sampler == "ddpm_cache":
            prediction, after = self._ddpm_caching_update(tokens, time, length, p_x0=prediction)
            if self.time_conditioning or not torch.equal(after, tokens):
                prediction = None
            tokens = after
        elif self.sampler == "ddpm":
            tokens = self._ddpm_update(tokens, time, length)
        elif step < STEPS - 1:
            tokens = self._analytic_update(tokens, time, length)
        else:
            tokens = self._denoiser_update(tokens, time)
    return tokens


def install(diffusion_class):
    """Use the times in all models of the class."""
    diffusion_class._sample = sample
'''
)
REMDM = (
    HEAD
    + '''

SAMPLERS = ("mdlm", "remdm-cap", "remdm-rescale", "remdm-conf")  # of the setting sampling.sampler


@torch.no_grad()
def sample(self, num_steps=None, eps=None):
    """Take the place of Diffusion._sample(). The last step reveals all, so that none is needed for noise removal."""
    _check(self, num_steps)
    settings = self.config.sampling
    if settings.dfm or (self.sampler == "ddpm_cache" and settings.sampler not in SAMPLERS):
        raise ValueError(f"sampling.sampler must be one of {{SAMPLERS}}, without dfm; others have times of their own")
    times = torch.tensor(TIMES, dtype=torch.float32, device=self.device)
    tokens = self._sample_prior(self.config.loader.eval_batch_size, self.config.model.length).to(self.device)
    prediction = None  # kept as long as no token changes
    confidence = torch.full(tokens.shape, -torch.inf, dtype=torch.bfloat16, device=self.device)
    for step in range(STEPS):
        time, length = times[step].repeat(len(tokens), 1), times[step] - times[step + 1]
        if self.sampler == "ddpm_cache":
            prediction, tokens, confidence = self._ddpm_caching_update(
                tokens, time, length, p_x0=prediction, conf=confidence
            )
        elif self.sampler == "ddpm":
            tokens = self._ddpm_update(tokens, time, length)
        elif step < STEPS - 1:
            tokens = self._analytic_update(tokens, time, length)
        else:
            tokens = self._denoiser_update(tokens, time)
    return tokens


def install(diffusion_class):
    """Use the times in all models of the class."""
    diffusion_class._sample = sample
'''
)
FLOAT32 = "MDLM draws tokens with uniform numbers in float32, which makes rare tokens rarer, as with its own times."
REMASKED = (
    "With remdm-cap and remdm-rescale the masked share at the end of a step is that of the schedule, and more tokens "
    "are revealed, in place of those that are masked again.",
    "With remdm-conf up to one token more than in the schedule is masked at the end of a step, in expectation.",
    "The setting eta is not part of the schedule; the sampler mdlm masks nothing again.",
)


def _where(file: str, steps: int, override: str) -> tuple[str, ...]:
    return (
        f"Copy {file}.py beside main.py, and add to main.py, below its imports:",
        f"    import {file}",
        f"    {file}.install(diffusion.Diffusion)",
        f"Then run it with noise=loglinear sampling.steps={steps}{override}, which is also checked.",
        "sampling.predictor may be ddpm_cache, ddpm or analytic. sampling.noise_removal and eps have no effect.",
        f"The model is called at most {steps} times; MDLM's own loop calls it once more for noise removal.",
        "Semi-autoregressive sampling (sampling.semi_ar) keeps its own times.",
    )


@dataclass(frozen=True)
class Mdlm:
    """The samplers of MDLM."""

    name: str = "mdlm"
    target: str = "diffusion.py of github.com/kuleshov-group/mdlm"
    verified: str = "kuleshov-group/mdlm c112c52"
    exact: bool = True
    kinds: frozenset[Kind] = frozenset({"alphas"})
    blocks: BlockRule = "none"

    def export(self, policy: Policy) -> Exported:
        """See ``ExportFormat``."""
        check_expressible(self, policy)
        times = masked_shares(policy)
        body = MDLM.format(steps=len(times) - 1, skipped=skipped(policy), times=lines(times))
        title = "The sampling loop of MDLM with the times of a tuned mask schedule."
        return Exported(
            files={"mdm_tune_mdlm.py": python_file(title, policy, self.name, body)},
            where=_where("mdm_tune_mdlm", len(times) - 1, ""),
            lost=(FLOAT32, *settings_lost(policy)),
        )

    def verify(self, policy: Policy, exported: Path, peer: Path) -> Realised:
        """See ``Verifiable``. The peer's updates run, and the probability that they give to the mask is read."""
        return run_peer("mdlm", policy, exported / "mdm_tune_mdlm.py", peer)


@dataclass(frozen=True)
class Remdm:
    """The samplers of ReMDM whose times are free."""

    name: str = "remdm"
    target: str = "diffusion.py of github.com/kuleshov-group/remdm"
    verified: str = "kuleshov-group/remdm f830d65"
    exact: bool = True
    kinds: frozenset[Kind] = frozenset({"alphas"})
    blocks: BlockRule = "none"

    def export(self, policy: Policy) -> Exported:
        """See ``ExportFormat``."""
        check_expressible(self, policy)
        times = masked_shares(policy)
        body = REMDM.format(steps=len(times) - 1, skipped=skipped(policy), times=lines(times))
        title = "The sampling loop of ReMDM with the times of a tuned mask schedule."
        top_p = policy.sampler.get("top_p", 1.0)
        given = isinstance(top_p, float) and top_p < 1
        override = f" sampling.nucleus_p={top_p!r}" if given else ""
        where = _where("mdm_tune_remdm", len(times) - 1, override)
        return Exported(
            files={"mdm_tune_remdm.py": python_file(title, policy, self.name, body)},
            where=(
                *where,
                "sampling.sampler may be mdlm, remdm-cap, remdm-rescale or remdm-conf. The samplers remdm-loop,",
                "forward-backward and dfm have times of their own and are refused.",
            ),
            lost=(*REMASKED, *settings_lost(policy, "top_p")),
        )

    def verify(self, policy: Policy, exported: Path, peer: Path) -> Realised:
        """See ``Verifiable``. The probabilities are those of the samplers mdlm and remdm-cap."""
        return run_peer("remdm", policy, exported / "mdm_tune_remdm.py", peer)


FORMATS: tuple[ExportFormat, ...] = (Mdlm(), Remdm())
