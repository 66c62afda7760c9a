"""The format ``duo``: a time profile for the masked diffusion of Duo's repository, which succeeds MDLM's."""

from __future__ import annotations

from mdm_tune.exports.ancestral import lines, masked_shares, settings_lost, skipped
from mdm_tune.exports.base import Exported, ExportFormat, python_file
from mdm_tune.exports.policy import Policy
from mdm_tune.exports.target import PeerFormat

__all__ = ["FORMATS", "Duo"]

BODY = '''
import math

import torch

STEPS = {calls}  # calls of the model: sampling.steps and the noise removal{skipped}
MASKED = (  # (STEPS,) the expected masked share before each step; the last step reveals all
{masked}
)


def time_profile(self, eps, num_steps):
    """Take the place of _get_sampling_time_profile(). Return the times, (STEPS,), from 1 down."""
    settings = self.config.sampling
    if settings.predictor == "psi" or settings.noise_removal != "ancestral":
        raise ValueError("these times are for sampling.noise_removal=ancestral and a sampling.predictor other than psi")
    if num_steps != STEPS - 1:
        raise ValueError(f"this schedule needs sampling.steps={{STEPS - 1}}, got {{num_steps}}")
    times, noise = MASKED, type(self.noise).__name__
    if noise == "Cosine":  # the masked share of its noise is sin(pi / 2 (1 - eps) t)
        end = math.pi / 2 * (1 - self.noise.eps)
        times = [math.asin(masked * math.sin(end)) / end for masked in MASKED]
    elif noise != "LogLinear":
        raise ValueError(f"the noise must be log-linear or cosine, got {{noise}}")
    return torch.tensor(times, dtype=torch.float32)


def install(model_class):
    """Use the times in all models of the class."""
    model_class._get_sampling_time_profile = time_profile
'''


class Duo(PeerFormat):
    """The samplers of masked diffusion in Duo's repository."""

    name = "duo"
    target = "trainer_base.py of github.com/s-sahoo/duo, algo=mdlm"
    verified = "s-sahoo/duo 7c9b498"
    file = "mdm_tune_duo.py"
    kinds = frozenset({"alphas"})

    def made(self, policy: Policy) -> Exported:
        """See ``PeerFormat``."""
        masked = masked_shares(policy)[:-1]
        body = BODY.format(calls=len(masked), skipped=skipped(policy), masked=lines(masked))
        title = "A tuned mask schedule as a sampling time profile of Duo's repository."
        top_p = policy.sampler.get("top_p", 1.0)
        nucleus = f" sampling.p_nucleus={top_p!r}" if isinstance(top_p, float) and top_p < 1 else ""
        return Exported(
            files={self.file: python_file(title, policy, self.name, body)},
            where=(
                "Copy mdm_tune_duo.py beside main.py, and add to main.py, below its imports:",
                "    import mdm_tune_duo",
                "    mdm_tune_duo.install(algo.MDLM)",
                f"Then run it with algo=mdlm sampling.steps={len(masked) - 1} sampling.predictor=ancestral_cache",
                f"sampling.noise_removal=ancestral{nucleus}, which is also checked.",
                "noise=log-linear and noise=cosine are both known. The noise removal is the last step of the",
                f"schedule, so that {len(masked)} steps are sampling.steps={len(masked) - 1}.",
            ),
            lost=settings_lost(policy, "top_p"),
        )


FORMATS: tuple[ExportFormat, ...] = (Duo(),)
