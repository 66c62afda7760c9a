"""What a search would cost and could show."""

from __future__ import annotations

import math
from typing import Any

from mdm_tune.core.statistics import Estimate
from mdm_tune.search.power import Detectable
from mdm_tune.terminal.cost_tables import cannot_be_shown, detectable_lines
from mdm_tune.terminal.tables import verdict
from tests.support.search_results import budget_record


def pilot(*, needed: int | None, **changes: Any) -> Detectable:
    """What a report split can show, with the number of examples that would show more given instead of simulated."""
    few = Estimate(0.0, None, 4)
    fields = {"steps": 8, "gain": math.inf, "limit": 0.1, "linear": 0.0, "difference": few, "report": 4, "claims": 1}
    found = Detectable(**{**fields, **changes})
    found.__dict__["needed"] = needed  # where a cached property keeps its value
    return found


def test_what_can_be_seen_is_said_before_the_first_trial() -> None:
    difference = Estimate(-0.023, (-0.04, -0.01), 32)
    found = pilot(needed=86, gain=0.0204, linear=0.531, report=512, claims=4, difference=difference)
    (line,) = detectable_lines(found)
    assert line == (
        "512 report examples show gains of about 0.0204 and more (80 % power, corrected for 4 gains), guessed from "
        "linear against squared-sine at 8 steps on a pilot; there linear has 0.531, and squared-sine minus "
        "linear is -0.023 [-0.040, -0.010]"
    )
    _, warning = detectable_lines(pilot(needed=1234, gain=0.0204, limit=0.01, report=512))
    assert warning.startswith("warning:") and warning.endswith(
        "raise dataset.report to 1,234 or more for gains of 0.01"
    )
    unknown = pilot(needed=None, gain=0.0204, limit=0.01, report=512)
    assert detectable_lines(unknown)[1].endswith("raise dataset.report")
    assert detectable_lines(None) == []


def test_no_more_examples_are_asked_for_than_the_data_have() -> None:
    def remedy(spare: int | None, needed: int | None = 600) -> str:
        return detectable_lines(pilot(needed=needed, gain=0.02, limit=0.01, report=512, pilot_size=32, spare=spare))[1]

    unseen = "warning: smaller gains than these are worth having and may go unseen; "
    assert remedy(None) == remedy(88) == f"{unseen}raise dataset.report to 600 or more for gains of 0.01"
    assert remedy(87) == (
        f"{unseen}raise dataset.report to 599, which are all; gains of 0.01 take 600 or more, so give more data"
    )
    assert remedy(0) == f"{unseen}the data have no more of them, so give more data (600 or more report examples)"
    assert remedy(0, None) == f"{unseen}the data have no more of them, so give more data"
    assert remedy(5, None) == f"{unseen}raise dataset.report"


def test_where_no_gain_can_be_shown_groups_are_counted_and_more_of_them_asked_for() -> None:
    remedy = "give more groups of report examples (prompts), not more examples of each"
    assert detectable_lines(pilot(needed=None, examples=16)) == [
        "warning: no gain can be shown with 4 groups of report examples (16 examples), guessed from linear against "
        "squared-sine at 8 steps on a pilot; there linear has 0",
        f"{remedy}, or read the result as a search without a test",
    ]
    assert detectable_lines(pilot(needed=40, examples=16))[1].startswith("give 40 or more groups of")
    known = Estimate(0.25, (0.1, 0.4), 32)
    assert detectable_lines(pilot(needed=86, report=8, examples=8, difference=known)) == [
        "warning: no gain can be shown with 8 report examples, guessed from linear against squared-sine at 8 steps on "
        "a pilot; there linear has 0, and squared-sine minus linear is 0.25 [0.10, 0.40]",
        "raise dataset.report to 86 or more for gains of 0.1, or read the result as a search without a test",
    ]
    assert cannot_be_shown(16, 4) == (
        "no gain can be shown with 4 groups of report examples (16 examples); it takes more groups (prompts), not more "
        "examples of each"
    )
    assert cannot_be_shown(8, 8) == (
        "no gain can be shown with 8 report examples; it takes more of them (dataset.report, or more data)"
    )
    none = budget_record(detectable_gain=None, gain_can_be_shown=False, n=16, independent=4)
    assert verdict(none)[1] == cannot_be_shown(16, 4)
    assert verdict(budget_record())[1] == (
        "by the differences seen in it, this report split shows gains of 0.016 and more (80 % power)"
    )
