"""scripts/benchmark_overhead.py and its clock: what they count, on a search of a few trials."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))  # the scripts import one another by name

import benchmark_overhead
import part_clock
from benchmark_overhead import DENOISER, LOOP, METRIC, PAGES, PARTS, TINY, growth, overhead, share
from part_clock import REST, PartClock


class Ticks:
    """The module time with clocks that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def process_time(self) -> float:
        return self.now

    def perf_counter(self) -> float:
        return 2 * self.now


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Ticks:
    made = Ticks()
    monkeypatch.setattr(part_clock, "time", made)
    return made


def test_the_smallest_search_is_measured_and_written_to_a_page(tmp_path: Path) -> None:
    page = tmp_path / "overhead.md"
    given = ["--only", TINY.name, "--repeats", "1", "--page", str(page)]
    subprocess.run([sys.executable, str(benchmark_overhead.__file__), *given], check=True, capture_output=True)
    text = page.read_text("utf-8")
    assert all(f"\n| {part} | " in text for part in PARTS)
    assert "| share of a run of 100 trials of 1 s | " in text and "\n| tiny | " in text


def test_every_part_of_a_search_takes_time_and_each_trial_is_noted() -> None:
    record = benchmark_overhead.in_process_of_its_own(TINY)
    assert record["trials"] == TINY.trials
    assert [number for number, _, _ in record["marks"]] == [*range(TINY.trials)]
    assert set(record["cpu"]) == set(record["wall"]) == set(PARTS)
    assert all(seconds > 0 for seconds in record["cpu"].values())
    assert record["marks"][-1][1] < overhead(record["cpu"]) < sum(record["cpu"].values())


def test_a_part_does_not_count_the_parts_inside_it(ticks: Ticks) -> None:
    clock = PartClock()
    ticks.now = 1
    with clock.part("outer"):
        ticks.now = 3
        with clock.part("inner"):
            ticks.now = 7
        ticks.now = 15
    ticks.now = 31
    clock.update()
    assert clock.cpu == {REST: 1 + 16, "outer": 2 + 8, "inner": 4}
    assert clock.wall == {part: 2 * seconds for part, seconds in clock.cpu.items()}
    assert clock.calls == {"outer": 1, "inner": 1}


def test_a_part_ends_with_an_error_and_a_generator_counts_by_its_steps(ticks: Ticks) -> None:
    clock = PartClock()

    def fails() -> None:
        ticks.now += 1
        raise KeyError

    def two() -> Iterator[int]:
        ticks.now += 2
        yield 1
        ticks.now += 4
        yield 2

    with pytest.raises(KeyError):
        clock.timed(fails, "fails")()
    for _ in clock.timed(two, "steps")():
        ticks.now += 8
    clock.update()
    assert clock.cpu == {"fails": 1, "steps": 6, REST: 16}


def test_a_function_is_timed_wherever_its_package_has_imported_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> int:
        return 3

    modules = {name: types.ModuleType(name) for name in ("house", "house.kitchen", "elsewhere")}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
        module.work = work  # type: ignore[attr-defined]
    clock = PartClock()
    clock.time_function("house.kitchen:work", "work")
    assert [module.work() for module in modules.values()] == [3, 3, 3]  # type: ignore[attr-defined]
    assert clock.calls == {"work": 2}


def test_growth_is_the_overhead_of_a_trial_in_four_parts_of_the_first_budget() -> None:
    """Trial n ends after n^2 seconds; between trials p and q a trial takes p + q on average."""
    marks = [(number, float(number**2), 0.0) for number in range(9)] + [(0, 100.0, 0.0), (1, 101.0, 0.0)]
    assert growth({"marks": marks}) == pytest.approx([1e3 * pair for pair in (1 + 3, 3 + 4, 4 + 6, 6 + 8)])
    parts = {DENOISER: 1.0, METRIC: 2.0, LOOP: 4.0, REST: 8.0, "proposals": 16.0}
    assert overhead(parts) == 24.0


def test_the_page_is_written_more_often_where_trials_take_longer() -> None:
    """Of 50 trials: 4 s of overhead, of which 1 s are pages."""
    record = {"trials": 50, "cpu": {DENOISER: 7.0, REST: 3.0, PAGES: 1.0}}
    assert share([record], 1) == pytest.approx(100 * 8 / (100 + 8))
    assert share([record], 10) == pytest.approx(100 * (6 + 20) / (1000 + 6 + 20))
