"""The adaptive policies that a search tries: their free parameters, the trials of each, and which budgets they fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from mdm_tune.config.file import PolicyKind, SearchConfig
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity
from mdm_tune.core.numerals import shortest
from mdm_tune.evaluation.adaptive import check_adaptive
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.settings import Policy, Setting
from mdm_tune.schedules.adaptive_names import KL, AdaptiveName, parse_adaptive
from mdm_tune.schedules.curves import Beta, parse_schedule
from mdm_tune.search.ledger import LedgerEntry
from mdm_tune.search.proposals import Space
from mdm_tune.search.space import given_points

__all__ = ["KL_RANGE", "PlanSpace", "allotted", "check_policies"]

KL_RANGE = (1e-4, 10.0)  # nats; the authors of KLASS use 0.001 to 0.015
KL_POINTS = (KL, 0.1, 1.0)  # tried before a sampler proposes
FREE: Mapping[PolicyKind, int] = {"counts": 2, "quota": 2, "cap": 2, "klass": 1, "threshold": 0, "entropy-bound": 0}


def allotted(kinds: Sequence[PolicyKind], trials: int) -> dict[PolicyKind, int]:
    """Divide the trials of a budget among its policies.

    A policy without a free parameter is tried once, since its only number follows from the budget. The others share
    the rest equally; the first ones get what is left over.

    Args:
        kinds: The policies.
        trials: Trials of the budget, at least as many as policies.
    """
    share = {kind: 1 for kind in kinds if not FREE[kind]}
    free = [kind for kind in kinds if FREE[kind]]
    rest = trials - len(share)
    for place, kind in enumerate(free):
        share[kind] = rest * (place + 1) // len(free) - rest * place // len(free)
    ordered = sorted(share[kind] for kind in free)[::-1]
    share |= dict(zip(free, ordered, strict=True))
    return {kind: share[kind] for kind in kinds}


def check_policies(evaluator: Evaluator, search: SearchConfig, budgets: Sequence[int]) -> None:
    """Check that the metric and the sampler allow the adaptive policies of a search, and that they fit its budgets.

    Raises:
        InputError: If one does not, with the reason.
    """
    for kind, steps, size in product(search.policies, budgets, evaluator.block_lengths):
        if kind != "counts":
            view = evaluator.in_blocks(size)
            plan = PlanSpace(kind=kind, search=search, steps=steps, seed=0).given(())[0]

            def setting_at(name: str, number: int, view: Evaluator = view) -> Setting:
                return view.setting(parse_schedule(name), number)

            try:
                check_adaptive(view, plan, steps, setting_at)
            except InputError as error:
                counts = f" has counts of {quantity(plan.counts_steps, 'step')}" if plan.counts_steps else ""
                raise InputError(f"search.policies: {kind} at {quantity(steps, 'step')}{counts}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class PlanSpace(Space):
    """The adaptive policies of one kind that a search proposes at a budget.

    Attributes:
        kind: The kind; not ``counts``.
    """

    kind: PolicyKind

    @property
    def stream(self) -> str:
        return f"sampler of {self.kind}"

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        if self.kind == "klass":
            return {"kl": KL_RANGE}
        return self.search.space.ranges if FREE[self.kind] else {}

    def policy_at(self, point: Mapping[str, float]) -> AdaptiveName:
        if self.kind == "counts":
            raise AssertionError("counts are no adaptive policy")
        if self.kind == "klass":
            kl = float(f"{point['kl']:.4g}")
            return AdaptiveName(f"klass:{shortest(kl)}", "klass", None, kl=kl)
        if not FREE[self.kind]:
            return AdaptiveName(self.kind, self.kind, None)
        schedule = Beta(float(f"{point['a']:.4g}"), float(f"{point['b']:.4g}")).name  # names are for people
        named = AdaptiveName(f"{self.kind}:{schedule}", self.kind, None, schedule=schedule)
        counts_steps = named.steps_of_counts(self.steps)
        return replace(named, name=f"{named.name}#{counts_steps}", counts_steps=counts_steps)

    def point(self, policy: Policy) -> dict[str, float]:
        assert isinstance(policy, AdaptiveName)
        if self.kind == "klass":
            assert policy.kl is not None
            return {"kl": policy.kl}
        if policy.schedule is None:
            return {}
        beta = parse_schedule(policy.schedule)
        assert isinstance(beta, Beta)
        return beta.parameters

    def unvalued(self, policy: Policy) -> AdaptiveName:
        """A policy as it was proposed, without the value that was found for it."""
        return self.policy_at(self.point(policy))

    def policy_of(self, entry: LedgerEntry) -> Policy:
        plan = parse_adaptive(entry.record["policy"])
        assert plan is not None
        return plan

    def given(self, points: Sequence[Beta]) -> Sequence[AdaptiveName]:
        if not FREE[self.kind]:
            return [self.policy_at({})]
        if self.kind == "klass":
            kls = list(KL_POINTS)
            if self.search.strategy in ("qmc", "grid"):
                kls += np.geomspace(*KL_RANGE, max(0, self.search.trials - len(kls))).tolist()
            return [self.policy_at({"kl": kl}) for kl in kls]
        return [self.policy_at(beta.parameters) for beta in given_points(self.search, self.seed, self.steps, points)]
