"""What a policy saves, in words."""

from __future__ import annotations

from mdm_tune.pages.savings import beside_linear, calls_saved


def test_a_saving_has_an_interval_or_the_reason_that_it_has_none() -> None:
    pair = {"ratio": 2.0312}
    assert calls_saved({**pair, "ratio_ci": [1.93, 2.14]}) == "2.03 [1.93, 2.14] times fewer denoiser calls"
    assert calls_saved(pair) == "2.0 times fewer denoiser calls (without an interval)"  # of an earlier version
    fixed = calls_saved({**pair, "ratio_ci": None, "calls_vary": False})
    assert fixed == "2.0 times fewer denoiser calls (the same for every example)"
    assert "too few" in calls_saved({**pair, "ratio_ci": None, "calls_vary": True})


def test_better_is_said_only_where_it_is_shown() -> None:
    assert beside_linear({"better": True}) == "is better than"
    assert beside_linear({"better": False}) == beside_linear({}) == "is as good as"
