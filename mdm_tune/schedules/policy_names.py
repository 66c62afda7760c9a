"""The names of schedules and of adaptive policies together, with one message for a name that is neither."""

from __future__ import annotations

import difflib
from typing import get_args

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import shown
from mdm_tune.schedules import adaptive_names, curves
from mdm_tune.schedules.adaptive_names import AdaptiveName, Kind, parse_adaptive
from mdm_tune.schedules.curves import WITH_NUMBERS, WITHOUT_NUMBERS, Schedule, begins_with_schedule_name, parse_schedule

__all__ = ["FILES", "parse_policy"]

FILES = "a file that ends in .yaml, or a run folder with a schedule.yaml in it"


def parse_policy(text: str, others: str = FILES) -> Schedule | AdaptiveName:
    """The schedule or the adaptive policy that a text names.

    Args:
        text: the name. The schedule of a quota or a cap is not read.
        others: what else may be named where the text stands, for the message; the caller has looked for it.

    Raises:
        InputError: the name is empty or unknown, or its numbers are invalid.
    """
    if not text.strip():
        raise InputError("the schedule's name is empty; give a name such as linear")
    plan = parse_adaptive(text)
    if plan is not None:
        return plan
    if begins_with_schedule_name(text):
        return parse_schedule(text)
    name = text.strip().partition(":")[0].partition("@")[0].lower()[:100]
    close = difflib.get_close_matches(name, [*WITHOUT_NUMBERS, *WITH_NUMBERS, *get_args(Kind)], n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise InputError(
        f"Unknown schedule {shown(text)}.{hint} A schedule is one of: {curves.FORMS}. Or it is an adaptive policy: "
        f"{adaptive_names.FORMS}. Or {others}."
    )
