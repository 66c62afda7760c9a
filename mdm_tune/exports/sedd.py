"""The formats ``sedd`` and ``radd``: times for SEDD's sampler, and probabilities for RADD's."""

from __future__ import annotations

from mdm_tune.exports.ancestral import lines, masked_shares, reveal_probabilities, settings_lost, skipped
from mdm_tune.exports.base import Exported, ExportFormat, python_file
from mdm_tune.exports.policy import Policy
from mdm_tune.exports.target import PeerFormat

__all__ = ["FORMATS", "Radd", "Sedd"]

SEDD = '''
import sampling
import torch

STEPS = {steps}  # the number of steps of the sampler, the denoising step among them{skipped}
TIMES = (  # (STEPS + 1,) from 1, all masked, to 0, none masked
{times}
)


def get_pc_sampler(
    graph, noise, batch_dims, predictor, steps, denoise=True, eps=None, device="cpu", proj_fun=lambda tokens: tokens
):
    """Take the place of sampling.get_pc_sampler(). The denoising step is the last step of the schedule."""
    if not graph.absorb or not denoise or type(noise).__name__ != "LogLinearNoise":
        raise ValueError("these times are for graph=absorb and noise=loglinear, with the denoising step")
    if steps != STEPS:
        raise ValueError(f"this schedule has {{STEPS}} steps, got {{steps}}; give steps={{STEPS}}")
    before_last = sampling.get_predictor(predictor)(graph, noise)
    last = sampling.Denoiser(graph, noise)

    @torch.no_grad()
    def pc_sampler(model):
        score = sampling.mutils.get_score_fn(model, train=False, sampling=True)
        times = torch.tensor(TIMES, dtype=torch.float32, device=device)
        tokens = graph.sample_limit(*batch_dims).to(device)
        for step in range(STEPS):
            tokens, time = proj_fun(tokens), times[step].repeat(len(tokens), 1)
            if step < STEPS - 1:
                tokens = before_last.update_fn(score, tokens, time, times[step] - times[step + 1])
            else:
                tokens = last.update_fn(score, tokens, time)
        return tokens

    return pc_sampler


def install():
    """Use the times in the module `sampling`."""
    sampling.get_pc_sampler = get_pc_sampler
'''
RADD = '''
STEPS = {steps}  # the argument `steps` of sample(){skipped}
PROBABILITIES = (  # (STEPS,) that a masked token is revealed
{probabilities}
)


def get_update_rate(self, t, steps):
    """Take the place of DiffusionSampler.get_update_rate(). The step follows from the time, which falls evenly."""
    if steps != STEPS:
        raise ValueError(f"this schedule has {{STEPS}} steps, got {{steps}}; give steps={{STEPS}}")
    return PROBABILITIES[round((1 - float(t)) / (1 - self.eps) * STEPS)]


def install(sampler_class):
    """Use the probabilities in all samplers of the class."""
    sampler_class.get_update_rate = get_update_rate
'''


class Sedd(PeerFormat):
    """The sampler of SEDD, whose scores decide how much a step reveals."""

    name = "sedd"
    target = "sampling.py of github.com/louaaron/Score-Entropy-Discrete-Diffusion"
    verified = "louaaron/Score-Entropy-Discrete-Diffusion 0605786"
    file = "mdm_tune_sedd.py"
    exact = False
    kinds = frozenset({"alphas"})

    def made(self, policy: Policy) -> Exported:
        """See ``PeerFormat``."""
        times = masked_shares(policy)
        body = SEDD.format(steps=len(times) - 1, skipped=skipped(policy), times=lines(times))
        title = "The sampling loop of SEDD with the times of a tuned mask schedule."
        return Exported(
            files={self.file: python_file(title, policy, self.name, body)},
            where=(
                "Copy mdm_tune_sedd.py beside sampling.py, and add to your program, such as run_sample.py:",
                "    import mdm_tune_sedd",
                "    mdm_tune_sedd.install()  # before sampling.get_pc_sampler() is called",
                f"Then run it with --steps {len(times) - 1}, which is also checked.",
                "The predictors analytic and euler give the same probabilities. The argument eps has no effect.",
                "SEDD's own loop takes one more step, because it does not count the denoising step.",
            ),
            lost=(
                "The probability of a step is that of the schedule times (exp(sigma) - 1) times the sum of the model's "
                "scores, which is 1 for exact scores only.",
                "SEDD draws tokens with uniform numbers in float32, which makes rare tokens rarer.",
                *settings_lost(policy),
            ),
        )


class Radd(PeerFormat):
    """The sampler of RADD, whose updates take a probability."""

    name = "radd"
    target = "sampling.py of github.com/ML-GSAI/RADD"
    verified = "ML-GSAI/RADD 60b772d"
    file = "mdm_tune_radd.py"
    kinds = frozenset({"alphas"})

    def made(self, policy: Policy) -> Exported:
        """See ``PeerFormat``."""
        assert policy.alphas is not None
        chances = reveal_probabilities(policy.alphas)
        body = RADD.format(steps=len(chances), skipped=skipped(policy), probabilities=lines(chances))
        title = "The probabilities of a tuned mask schedule for RADD's sampler."
        top_p = policy.sampler.get("top_p", 1.0)
        given = top_p if isinstance(top_p, float) else 1.0
        return Exported(
            files={self.file: python_file(title, policy, self.name, body)},
            where=(
                "Copy mdm_tune_radd.py beside sampling.py, and add to your program, such as run_sample.py:",
                "    import mdm_tune_radd",
                "    mdm_tune_radd.install(DiffusionSampler)",
                f"Then run it with --steps {len(chances)} --strategy top_p --strategy_para {given!r}.",
                "The methods tweedie and euler give the same. The strategy top_k draws as exactly as top_p;",
                "the strategy direct computes in float16.",
            ),
            lost=(
                "With the strategy direct, RADD rounds the probabilities to float16, and the result differs from the "
                "schedule by up to a thousandth of it.",
                *settings_lost(policy, "top_p"),
            ),
        )


FORMATS: tuple[ExportFormat, ...] = (Sedd(), Radd())
