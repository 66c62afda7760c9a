"""The format ``flow-matching``: a scheduler whose hazard gives the probabilities in the Euler solver."""

from __future__ import annotations

from mdm_tune.exports.ancestral import kept_alphas, lines, settings_lost, skipped
from mdm_tune.exports.base import Exported, ExportFormat, python_file
from mdm_tune.exports.policy import Policy
from mdm_tune.exports.target import PeerFormat

__all__ = ["FORMATS", "FlowMatching"]

BODY = '''
import torch
from flow_matching.path.scheduler import ConvexScheduler, SchedulerOutput

STEPS = {steps}  # calls of the model{skipped}
MASKED = (  # (STEPS + 1,) the expected masked share at the ends of the steps
{masked}
)


def time_grid(device=None):
    """The times of the solver, (STEPS + 1,), from 0, all masked, to 1."""
    return torch.arange(STEPS + 1, dtype=torch.float32, device=device) / STEPS


class MdmTuneScheduler(ConvexScheduler):
    """The schedule as a path from masks at 0 to data at 1, with the same hazard at all times of a step.

    The solver takes the hazard, d_alpha_t / (1 - alpha_t), at the start of a step and reveals with the probability
    1 - exp(-h hazard). With a hazard that does not change within the step this is exact. In the last step, in which the
    solver reveals all, alpha is a straight line.
    """

    def __call__(self, t):
        place = t.to(torch.float64) * STEPS
        place = torch.where((place - place.round()).abs() < 1e-3, place.round(), place)  # the end of a step
        step = place.floor().clamp(0, STEPS - 1).long()
        part = place - step
        shares = torch.tensor(MASKED, dtype=torch.float64, device=t.device)
        before, after = shares[step], shares[step + 1]
        last = step == STEPS - 1
        rate = torch.where(last, torch.ones_like(part), torch.log(before / after)) * STEPS
        masked = torch.where(last, before * (1 - part), before * torch.exp(-rate * part / STEPS))
        alpha = (1 - masked).to(t.dtype)
        if t.is_floating_point():  # no division by 0 where a small masked share is rounded away
            alpha = torch.where(masked > 0, alpha.clamp(max=1 - torch.finfo(t.dtype).eps), alpha)
        # The solver divides by 1 - alpha as it is rounded here; the product makes the quotient the rate.
        left = torch.where(last, before, (1 - alpha).to(torch.float64))
        slope = (rate * left).to(t.dtype)
        return SchedulerOutput(alpha_t=alpha, sigma_t=1 - alpha, d_alpha_t=slope, d_sigma_t=-slope)

    def kappa_inverse(self, kappa):
        shares = torch.tensor(MASKED, dtype=torch.float64, device=kappa.device)
        masked = 1 - kappa.to(torch.float64)
        step = (torch.searchsorted(-shares, -masked, right=True) - 1).clamp(0, STEPS - 1)
        before, after = shares[step], shares[step + 1]
        last = step == STEPS - 1
        part = torch.where(last, 1 - masked / before, torch.log(before / masked) / torch.log(before / after))
        return ((step + part) / STEPS).to(kappa.dtype)
'''


class FlowMatching(PeerFormat):
    """The solver for discrete data of flow_matching, which takes a scheduler and a time grid."""

    name = "flow-matching"
    target = "MixtureDiscreteEulerSolver of github.com/facebookresearch/flow_matching"
    verified = "facebookresearch/flow_matching 11568d3"
    file = "mdm_tune_flow_matching.py"
    kinds = frozenset({"alphas"})

    def made(self, policy: Policy) -> Exported:
        """See ``PeerFormat``."""
        assert policy.alphas is not None
        masked = [1 - alpha for alpha in kept_alphas(policy.alphas)]
        body = BODY.format(steps=len(masked) - 1, skipped=skipped(policy), masked=lines(masked))
        title = "A tuned mask schedule as a scheduler of flow_matching."
        return Exported(
            files={self.file: python_file(title, policy, self.name, body)},
            where=(
                "Copy mdm_tune_flow_matching.py beside your program, and call it so:",
                "    from flow_matching.path import MixtureDiscreteProbPath",
                "    from mdm_tune_flow_matching import MdmTuneScheduler, time_grid",
                "    path = MixtureDiscreteProbPath(scheduler=MdmTuneScheduler())",
                "    solver = MixtureDiscreteEulerSolver(model=model, path=path, vocabulary_size=...)",
                "    solver.sample(x_init=masks, step_size=None, time_grid=time_grid(),",
                "                  dtype_categorical=torch.float64)",
                "step_size must be None: the solver then takes the steps of the grid. div_free must be 0, its default.",
                "The model must give probability 0 to the mask, and probability 1 to tokens that are revealed, because",
                "the last step of the solver draws every token again.",
            ),
            lost=settings_lost(policy),
        )


FORMATS: tuple[ExportFormat, ...] = (FlowMatching(),)
