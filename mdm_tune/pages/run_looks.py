"""How each schedule of a page looks: one colour and one marker in every figure, table and sample."""

from __future__ import annotations

from collections.abc import Iterable

from mdm_tune.pages.chart_frame import KINDS, LOOKS, PLACES, Look, looks, marker
from mdm_tune.pages.colours import resolved
from mdm_tune.pages.names import kind_of, role_of
from mdm_tune.pages.run_views import RunView
from mdm_tune.pages.svg import element
from mdm_tune.schedules.labels import Label

__all__ = ["TUNED", "Looks"]

TUNED = LOOKS["tuned"][0]


class Looks:
    """The looks of the schedules of one page.

    Args:
        view: the run. Its tuned schedules share a look; each other schedule and adaptive policy has its own. Where a
            search compares kinds of policies, the look of an adaptive winner is that of its kind. A hand-made schedule
            that was chosen keeps its own.
    """

    def __init__(self, view: RunView) -> None:
        budgets = [
            budget for budget in view.budgets if not (budget.hand_made or (budget.policies and kind_of(budget.label)))
        ]
        self.tuned = {(budget.steps, label) for budget in budgets for label in (budget.label, budget.brief)}
        labels = ["tuned", "linear", *PLACES]  # a map names some of them before there are results
        labels += [label for budget in view.budgets for label in budget.baselines]
        labels += [policy.kind for budget in view.budgets for policy in budget.policies if policy.kind != "counts"]
        labels += [row.name for row in view.rows]
        found = _looks(labels)
        self.found = found | {row.label: found[row.name] for row in view.rows if row.label not in found}

    def of(self, label: str, steps: int | None = None) -> Look:
        """The look of a schedule by its label; that of the tuned one where a budget has found it."""
        if (steps, label) in self.tuned or (label not in self.found and role_of(label) in ("tuned", "other")):
            return TUNED
        kind = kind_of(label)
        return self.found.get(label) or (LOOKS["adaptive"][KINDS[kind]] if kind else LOOKS[role_of(label)][0])

    def of_policy(self, policy: str) -> Look:
        """The look of a policy of a frontier, which a search calls ``tuned counts``, ``tuned quota`` and so on."""
        return TUNED if policy == "tuned counts" else self.of(policy.removeprefix("tuned "))

    def colour(self, label: str, steps: int | None = None) -> str:
        """The name of its colour, such as ``linear``."""
        return self.of(label, steps).colour.removeprefix("@")

    def key(self, label: str, steps: int | None = None) -> str:
        """Its marker as an element ``svg``, to stand before its name."""
        look = self.of(label, steps)
        drawn = marker(look.shape, (6, 6), 4.2, fill=look.colour)
        return resolved(element("svg", drawn, class_="key", viewBox="0 0 12 12", aria_hidden="true"), "page")


def _looks(labels: Iterable[str]) -> dict[str, Look]:
    """The looks by label. The first tuned schedule of an evaluation is taken as that of the page."""
    known = list(dict.fromkeys(labels))
    tuned = [label for label in known if role_of(label) == "tuned"]
    same = dict.fromkeys(tuned[:2], TUNED)
    others = [label for label in known if label not in same]
    names = [Label.read(label).name for label in others]
    found = looks([role_of(label) for label in others], [False] * len(others), names)
    return same | dict(zip(others, found, strict=True))
