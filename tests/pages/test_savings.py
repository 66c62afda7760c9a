"""What a policy saves, in words."""

from __future__ import annotations

from mdm_tune.pages.savings import beside_linear, calls_saved

AS_MANY = "times as many denoiser calls"


def test_a_saving_has_an_interval_or_the_reason_that_it_has_none() -> None:
    pair = {"ratio": 2.0312}
    assert calls_saved({**pair, "ratio_ci": [1.93, 2.14]}) == f"linear makes 2.03 [1.93, 2.14] {AS_MANY}"
    assert calls_saved(pair) == f"linear makes 2.0 {AS_MANY} (without an interval)"  # of an earlier version
    fixed = calls_saved({**pair, "ratio_ci": None, "calls_vary": False})
    assert fixed == f"linear makes 2.0 {AS_MANY} (the same for every example)"
    assert "too few" in calls_saved({**pair, "ratio_ci": None, "calls_vary": True})


def test_better_is_said_only_where_it_is_shown() -> None:
    assert beside_linear({"better": True}) == "is better than"
    assert beside_linear({"better": False}) == beside_linear({}) == "is as good as"
