"""The format ``md4``: a sampling grid for MD4."""

from __future__ import annotations

from mdm_tune.exports.ancestral import lines, masked_shares, settings_lost, skipped
from mdm_tune.exports.base import Exported, ExportFormat, python_file
from mdm_tune.exports.policy import Policy
from mdm_tune.exports.target import PeerFormat

__all__ = ["FORMATS", "Md4"]

BODY = '''
import math

import jax.numpy as jnp

STEPS = {steps}  # the setting config.timesteps, for sampling{skipped}
MASKED = (  # (STEPS + 1,) the expected masked share at the ends of the steps
{masked}
)


def times(kind, eps):
    """The times of the shares under MD4's masking schedule, (STEPS + 1,), from 1, all masked, to 0.

    The masked share at time t is eps + (1 - 2 eps) m(t), with m(t) = t, t^n or cos(pi / 2 (1 - t)). It is eps at
    time 0 and 1 - eps at time 1, where all is masked. Shares below eps get time 0.
    """
    result = []
    for masked in MASKED:
        share = min(1.0, max(0.0, (masked * (1 - eps) - eps) / (1 - 2 * eps)))
        if kind == "linear":
            result.append(share)
        elif kind == "cosine":
            result.append(1 - 2 / math.pi * math.acos(share))
        elif "poly" in kind:
            result.append(share ** (1 / float(kind.replace("poly", ""))))
        else:
            raise ValueError(f"the noise schedule must be linear, cosine or poly, got {{kind}}")
    return result


def get_sampling_grid(self, i, timesteps):
    """Take the place of MD4.get_sampling_grid(): the times after and before step i."""
    if timesteps != STEPS:
        raise ValueError(f"this schedule has {{STEPS}} steps, got {{timesteps}}; give config.timesteps={{STEPS}}")
    grid = jnp.asarray(times(self.noise_schedule.schedule_fn_type, self.noise_schedule.eps))
    return grid[i + 1], grid[i]


def install(model_class):
    """Use the grid in all models of the class."""
    model_class.get_sampling_grid = get_sampling_grid
'''


class Md4(PeerFormat):
    """The samplers of MD4."""

    name = "md4"
    target = "md4/models/diffusion/md4.py of github.com/google-deepmind/md4"
    verified = "google-deepmind/md4 b9fbf29"
    file = "mdm_tune_md4.py"
    exact = False
    kinds = frozenset({"alphas"})

    def made(self, policy: Policy) -> Exported:
        """See ``PeerFormat``."""
        masked = masked_shares(policy)
        body = BODY.format(steps=len(masked) - 1, skipped=skipped(policy), masked=lines(masked))
        title = "A tuned mask schedule as a sampling grid of MD4."
        top_p = policy.sampler.get("top_p", 1.0)
        given = isinstance(top_p, float) and top_p < 1
        sampler = f"config.sampler='topp' (topp={top_p!r} of MD4)" if given else "config.sampler='ancestral'"
        return Exported(
            files={self.file: python_file(title, policy, self.name, body)},
            where=(
                "Copy mdm_tune_md4.py beside your program, and add to it, before the model is made:",
                "    import mdm_tune_md4",
                "    from md4.models.diffusion.md4 import MD4",
                "    mdm_tune_md4.install(MD4)",
                f"Then sample with config.timesteps={len(masked) - 1} and {sampler}.",
                "config.sampling_grid has no effect. All masking schedules of MD4 are known: linear, cosine, poly.",
            ),
            lost=(
                "MD4's masking schedule ends with a share eps = 1e-4 masked: the last step leaves one token in 10000, "
                "in expectation, to MD4's decode(), which is one call more and takes the most likely token.",
                *settings_lost(policy, "top_p"),
            ),
        )


FORMATS: tuple[ExportFormat, ...] = (Md4(),)
