"""scripts/worst_seeds.py: its tables are what the sampler scores, and its page says what its records hold."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import worst_seeds
from problems import problems

from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.schedules.curves import Beta
from mdm_tune.schedules.pricing import count_weights


@pytest.fixture(scope="module")
def bench() -> worst_seeds.Bench:
    return worst_seeds.Bench(problems(Path())[worst_seeds.NAME](), 3)


@pytest.mark.parametrize("schedule", [Beta(0.5, 0.5), Beta(3.0, 0.2), Beta(0.1, 10.0)])
def test_the_table_of_losses_is_what_the_sampler_scores(bench: worst_seeds.Bench, schedule: Beta) -> None:
    setting = bench.model.setting(schedule, 8)
    drawn = bench.model.measure_on(setting, bench.model.split("tune")).values
    assert drawn is not None
    assert np.allclose(bench.tune.of(setting.key), drawn, rtol=0, atol=1e-5)


def test_losses_agree_with_the_law_in_the_mean(bench: worst_seeds.Bench) -> None:
    """4.5 standard errors of 512 examples: a false alarm in 1 of 100,000 sets of them."""
    key = bench.model.setting(Beta(0.7, 0.4), 8).key
    law = MarkovChain.sticky(2, 0.05, 32)
    truth = float(count_weights([int(each) for each in key], 32) @ law.profile())
    for losses in (bench.tune, bench.fresh):
        values = losses.of(key)
        assert abs(values.mean() - truth) < 4.5 * values.std() / len(values) ** 0.5


def test_a_search_may_spend_a_tenth_of_the_grid(bench: worst_seeds.Bench) -> None:
    assert bench.rows == 35_635  # a tenth of the 356,352 rows of docs/rows.md
    spent = [trial.cost.denoiser_rows for trial in bench.search(worst_seeds.Way("x"), [], 9_000, bench.tune.of, 512)]
    assert spent[0] == 8 * 512
    assert sum(spent) <= 9_000


def test_fresh_examples_are_not_the_tune_examples(bench: worst_seeds.Bench) -> None:
    key = bench.model.setting(Beta(0.7, 0.4), 8).key
    assert abs(np.corrcoef(bench.tune.of(key), bench.fresh.of(key))[0, 1]) < 0.2  # 4.5 standard errors


def test_the_start_stays_unless_a_trial_is_clearly_better(bench: worst_seeds.Bench) -> None:
    good, bad = Beta(0.73, 0.41), Beta(10.0, 0.1)
    key = bench.model.setting(good, 8).key
    assert worst_seeds.steady(bench, bad, key) == key
    assert worst_seeds.steady(bench, good, bench.model.setting(bad, 8).key) == key


def test_the_page_says_what_the_records_hold(tmp_path: Path, monkeypatch: Any) -> None:
    names = [name for table in worst_seeds.TABLES.values() for name in table]
    for seed, value in enumerate((0.01, 0.02, 0.20)):
        record = {part: dict.fromkeys(names, value) for part in ("cold", "warm")}
        record["alone"] = {"few": value / 2, "all": value / 4, "scan": value}
        record["rows"] = {"search": 1000, "few": 4096, "all": 16384, "box": 10, "vector": 4096}
        record["noise"] = {"truly": 0.07}
        (tmp_path / f"worst-{seed}.json").write_text(json.dumps(record), "utf-8")
    cheap = {part: record[part] for part in ("rows", "noise")} | {"alone": {"few": 0.9, "all": 0.01, "scan": 0.2}}
    (tmp_path / "unsearched-3.json").write_text(json.dumps(cheap), "utf-8")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- worst -->\nwhat was there\n<!-- /worst -->\nafter\n", "utf-8")
    monkeypatch.setattr(worst_seeds, "Bench", lambda *_: pytest.fail("a seed that is there is not run again"))
    worst_seeds.main(["--work", str(tmp_path), "--seeds", "3", "--unsearched", "4", "--page", str(page)])
    text = page.read_text("utf-8")
    assert text.startswith("before\n<!-- worst -->\n3 seeds of")
    assert text.endswith("<!-- /worst -->\nafter\n")
    assert "what was there" not in text
    assert "| the best fully scored trial | 2.0%, 16.4%, 20.0% (33%) | 2.0%, 16.4%, 20.0% (33%) |" in text
    assert "| without a search, 4 seeds |" in text
    assert "| profile of 128 examples, its best Beta | 4,096 | 5.5%, 66.0%, 90.0% (50%) |" in text
