from __future__ import annotations

import pytest

from mdm_tune.commands.listing import SCHEDULES, listing, listing_lines
from mdm_tune.config.families import FAMILIES
from mdm_tune.core.errors import InputError
from mdm_tune.schedules.adaptive_names import parse_adaptive
from mdm_tune.schedules.curves import parse_schedule


def names(kind: str, word: str | None = None) -> list[str]:
    return [entry["name"] for entry in listing(kind, word)["entries"]]


def test_families_and_metrics() -> None:
    assert names("families") == list(FAMILIES)
    assert names("families", "LLaDA") == ["llada", "llada-1.5"]
    assert {"task", "nelbo", "exact_match"} <= set(names("metrics"))
    assert "order confidence; temperature 0" in "\n".join(listing_lines(listing("families", "llada")))


@pytest.mark.parametrize("name", SCHEDULES)
def test_each_schedule_can_be_written_so(name: str) -> None:
    if name != "optimum" and parse_adaptive(name) is None:
        parse_schedule(name)


def test_tasks() -> None:
    assert "gsm8k" in names("tasks", "gsm8k")
    assert {"name": "bbh", "about": "group"} in listing("tasks", "bbh")["entries"]


@pytest.mark.parametrize(
    ("kind", "word", "part"),
    [("tasks", None, "got no WORD"), ("models", None, "WHAT must be one of"), ("metrics", "zzz", "no name has 'zzz'")],
)
def test_bad_input(kind: str, word: str | None, part: str) -> None:
    with pytest.raises(InputError, match=part):
        listing(kind, word)
