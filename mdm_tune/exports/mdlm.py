"""The formats ``mdlm`` and ``remdm``: sampling loops with the times of a schedule, for MDLM and for ReMDM."""

from __future__ import annotations

from mdm_tune.exports.ancestral import lines, masked_shares, settings_lost, skipped
from mdm_tune.exports.base import Exported, ExportFormat, python_file
from mdm_tune.exports.policy import Policy
from mdm_tune.exports.target import PeerFormat

__all__ = ["FORMATS", "Mdlm", "Remdm"]

BODY = '''
import torch

STEPS = {steps}  # the setting sampling.steps{skipped}
TIMES = (  # (STEPS + 1,) from 1, all masked, to 0, none masked
{times}
)
{samplers}

def _check(diffusion, num_steps):
    if diffusion.parameterization == "ar" or diffusion.config.noise.type != "loglinear":
        raise ValueError("these times are for masked diffusion with noise=loglinear")
    if num_steps is None:
        num_steps = diffusion.config.sampling.steps
    if num_steps != STEPS:
        raise ValueError(f"this schedule has {{STEPS}} steps, got {{num_steps}}; give sampling.steps={{STEPS}}")
{check}

@torch.no_grad()
def sample(self, num_steps=None, eps=None):
    """Take the place of Diffusion._sample(). The last step reveals all, so that none is needed for noise removal."""
    _check(self, num_steps)
    times = torch.tensor(TIMES, dtype=torch.float32, device=self.device)
    tokens = self._sample_prior(self.config.loader.eval_batch_size, self.config.model.length).to(self.device)
    prediction = None  # kept as long as no token changes
{confidence}    for step in range(STEPS):
        time, length = times[step].repeat(len(tokens), 1), times[step] - times[step + 1]
        if self.sampler == "ddpm_cache":
{cached}
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
# Where the loops of both differ.
MDLM = {
    "samplers": "",
    "check": "",
    "confidence": "",
    "cached": """            prediction, after = self._ddpm_caching_update(tokens, time, length, p_x0=prediction)
            if self.time_conditioning or not torch.equal(after, tokens):
                prediction = None
            tokens = after""",
}
REMDM = {
    "samplers": """SAMPLERS = ("mdlm", "remdm-cap", "remdm-rescale", "remdm-conf")  # of the setting sampling.sampler
""",
    "check": """    settings = diffusion.config.sampling
    if settings.dfm or (diffusion.sampler == "ddpm_cache" and settings.sampler not in SAMPLERS):
        raise ValueError(f"sampling.sampler must be one of {SAMPLERS}, without dfm; others have times of their own")
""",
    "confidence": """    confidence = torch.full(tokens.shape, -torch.inf, dtype=torch.bfloat16, device=self.device)
""",
    "cached": """            prediction, tokens, confidence = self._ddpm_caching_update(
                tokens, time, length, p_x0=prediction, conf=confidence
            )""",
}
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


class Mdlm(PeerFormat):
    """The samplers of MDLM."""

    name = "mdlm"
    target = "diffusion.py of github.com/kuleshov-group/mdlm"
    verified = "kuleshov-group/mdlm c112c52"
    file = "mdm_tune_mdlm.py"
    kinds = frozenset({"alphas"})

    def made(self, policy: Policy) -> Exported:
        """See ``PeerFormat``."""
        times = masked_shares(policy)
        body = BODY.format(steps=len(times) - 1, skipped=skipped(policy), times=lines(times), **MDLM)
        title = "The sampling loop of MDLM with the times of a tuned mask schedule."
        return Exported(
            files={self.file: python_file(title, policy, self.name, body)},
            where=_where("mdm_tune_mdlm", len(times) - 1, ""),
            lost=(FLOAT32, *settings_lost(policy)),
        )


class Remdm(PeerFormat):
    """The samplers of ReMDM whose times are free."""

    name = "remdm"
    target = "diffusion.py of github.com/kuleshov-group/remdm"
    verified = "kuleshov-group/remdm f830d65"
    file = "mdm_tune_remdm.py"
    kinds = frozenset({"alphas"})

    def made(self, policy: Policy) -> Exported:
        """See ``PeerFormat``."""
        times = masked_shares(policy)
        body = BODY.format(steps=len(times) - 1, skipped=skipped(policy), times=lines(times), **REMDM)
        title = "The sampling loop of ReMDM with the times of a tuned mask schedule."
        top_p = policy.sampler.get("top_p", 1.0)
        given = isinstance(top_p, float) and top_p < 1
        override = f" sampling.nucleus_p={top_p!r}" if given else ""
        where = _where("mdm_tune_remdm", len(times) - 1, override)
        return Exported(
            files={self.file: python_file(title, policy, self.name, body)},
            where=(
                *where,
                "sampling.sampler may be mdlm, remdm-cap, remdm-rescale or remdm-conf. The samplers remdm-loop,",
                "forward-backward and dfm have times of their own and are refused.",
            ),
            lost=(*REMASKED, *settings_lost(policy, "top_p")),
        )


FORMATS: tuple[ExportFormat, ...] = (Mdlm(), Remdm())
