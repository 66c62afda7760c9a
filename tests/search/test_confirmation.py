"""The end of a search by hand-made scores: who is chosen, what is reported, and quality against denoiser calls.

Covers: comparing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mdm_tune.config.sampler import SamplerConfig
from mdm_tune.core.statistics import Estimate, corrected_confidence
from mdm_tune.core.types import Direction
from mdm_tune.datasets.splits import Split, Use
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Policy, Setting
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.schedule_records import ScheduleFileRecord
from mdm_tune.run.search_records import SearchResult
from mdm_tune.schedules.adaptive_names import AdaptiveName
from mdm_tune.schedules.curves import Beta, Linear, Schedule, SquaredSine
from mdm_tune.search.confirmation import Budget, confirm
from mdm_tune.search.finalists import Study, Trial
from mdm_tune.search.gains import gain_of
from mdm_tune.search.outcomes import Ended, Ending
from mdm_tune.search.power import smallest_gain
from mdm_tune.terminal.tables import paste, verdict
from tests.support.helpers import sampler_of

Values = NDArray[np.float64]
LENGTH = 64
FIXED = sampler_of()
BASELINES: dict[str, Schedule] = {"linear": Linear(), "squared-sine": SquaredSine()}
A, B, C = Beta(2.0, 0.5), Beta(0.5, 2.0), Beta(3.0, 3.0)
T = AdaptiveName("threshold:0.9", "threshold", 0.9)


@dataclass
class Metric:
    """Its one figure of diversity, if it has any, is the mean of the tokens of each sample."""

    direction: Direction = "minimize"
    name: str = "made-up"
    has_figures: bool = True
    sizes: set[int] = field(default_factory=set)

    def diversity(self, tokens: torch.Tensor, split: Split) -> dict[str, Values]:
        self.sizes.add(len(tokens))
        return {"token_entropy": tokens.double().mean(1).numpy()} if self.has_figures else {}


@dataclass
class Bench:
    """Stands in for an evaluator: values by schedule's label and split, and a note of what was scored."""

    values: dict[str, float]
    metric: Metric = field(default_factory=Metric)
    tokens: dict[str, int] = field(default_factory=dict)
    examples: int = 64
    exact: bool = False
    asked: list[tuple[Use, list[str]]] = field(default_factory=list)

    def setting(self, schedule: Policy, steps: int, label: str | None = None) -> Setting:
        if isinstance(schedule, AdaptiveName):
            return Setting.of_adaptive(schedule, steps, LENGTH)
        return Setting.of(schedule, steps, LENGTH, FIXED, label)

    def data(self, use: Use) -> Scores | None:
        return self.made("data", Setting("data", 0, LENGTH), use) if "data" in self.values else None

    def split(self, use: Use) -> Split:
        hidden = torch.full((self.examples, 4), 1000)
        seeds = np.zeros(self.examples, dtype=np.uint64)
        return Split(
            use=use,
            ids=tuple(map(str, range(self.examples))),
            originals=hidden,
            start=hidden,
            seeds=seeds,
            mask_id=1000,
        )

    def made(self, label: str, setting: Setting, use: Use | None) -> Scores:
        noise = np.random.default_rng([ord(letter) for letter in f"{label}{setting.steps}"])
        value = self.values.get(f"{use} {label}", self.values.get(label, 9.0))
        if self.exact:
            return Scores(setting=setting, estimate=Estimate(value, None), nfe=setting.nfe, cost=Cost(seconds=1.0))
        values = value + noise.normal(0.0, 0.01, self.examples)
        tokens = torch.full((self.examples, 4), self.tokens.get(label, 100))
        return Scores(
            setting=setting,
            estimate=Estimate(float(values.mean()), None),
            nfe=setting.nfe,
            cost=Cost(10, 40, 1.0),
            use=use,
            values=values,
            tokens=tokens,
        )

    def score(self, settings: Sequence[Setting], use: Use) -> list[Scores]:
        self.asked.append((use, [setting.label for setting in settings]))
        return [self.made(setting.label, setting, use) for setting in settings]

    def trial(self, number: int, schedule: Policy, value: float, steps: int = 8, **more: Any) -> Trial:
        return Trial(number, schedule, self.setting(schedule, steps).key, value, True, Cost(1, 4, 0.5), **more)

    def confirm(self, trials: Sequence[Trial], steps: int = 8, finalists: int = 2, **more: Any) -> Budget:
        study = Study(cast(Evaluator, self), trials, BASELINES, more.pop("choose", None), more.pop("ended", None))
        return confirm([study], steps, finalists, self.score, **more)


def test_the_best_trials_meet_the_baselines_and_the_best_on_choose_is_reported() -> None:
    bench = Bench({"linear": 3.0, A.name: 2.0, f"report {A.name}": 2.5, B.name: 2.2, C.name: 1.0})
    trials = [bench.trial(0, A, 0.3), bench.trial(1, B, 0.2), bench.trial(2, C, 0.4), bench.trial(3, B, 0.2)]
    budget = bench.confirm(trials)
    assert bench.asked == [
        ("choose", ["linear", "squared-sine", B.name, A.name]),  # C was third on tune
        ("report", ["linear", "squared-sine", A.name]),
    ]
    assert budget.policy == A and budget.winner.setting.label == A.name
    assert budget.winner.estimate.value == pytest.approx(2.5, abs=0.01)  # and not what it had when it was chosen
    assert budget.gain.value == pytest.approx(0.5, abs=0.01) and budget.gain.shown and budget.beats_linear
    assert set(budget.baselines) == set(BASELINES)
    assert [scores.setting.label for scores in budget.chosen_from] == bench.asked[0][1]


@pytest.mark.parametrize(("direction", "sign"), [("minimize", 1.0), ("maximize", -1.0)])
def test_what_the_report_split_shows_to_be_worse_than_linear_is_not_returned(
    direction: Direction, sign: float, tmp_path: Path
) -> None:
    values = {"linear": sign * 3.0, A.name: sign * 2.0, f"report {A.name}": sign * 3.4, "squared-sine": sign * 9.0}
    bench = Bench(values, Metric(direction, has_figures=False))
    budget = bench.confirm([bench.trial(0, A, 0.1)])
    assert budget.policy == Linear() and budget.winner.setting == bench.setting(Linear(), 8, "linear")
    assert (budget.gain.value, budget.gain.ci, budget.gain.shown, budget.beats_linear) == (
        0.0,
        (0.0, 0.0),
        False,
        False,
    )
    assert budget.loser is not None and budget.loser.policy == A and budget.judged is budget.loser.gain
    lost = budget.loser.scores.values
    linear = budget.baselines["linear"].values
    assert lost is not None and linear is not None
    assert budget.loser.gain.value == pytest.approx(float(-sign * (lost - linear).mean())) and budget.loser.gain.loss
    assert budget.cost.denoiser_rows == 1 + 30 + 30  # the trial, three on choose, three on report
    span = float(np.ptp([lost, linear]))
    assert budget.detectable == smallest_gain(lost - linear, 64, 0.95, span)  # from the pair that was compared
    result = SearchResult.of(run_of(bench), RunFolder(tmp_path), [budget], None).budgets[0]
    file = ScheduleFileRecord.of_search(run_of(bench), [budget], ()).budgets[0]
    assert result.plan.counts == file.plan.counts == (8,) * 8
    assert (result.schedule.type, file.schedule) == ("linear", "linear")
    assert result.quality.loser == file.quality.loser and result.quality.loser is not None
    loser = result.quality.loser.to_json()
    assert json.loads(json.dumps(result.to_json(), allow_nan=False)) == result.to_json()
    assert (loser["schedule"], loser["counts"]) == (A.name, list(bench.setting(A, 8).counts or ()))
    assert loser["gain_over_linear"]["ci"][1] < 0 and loser["value"] == pytest.approx(sign * 3.4, abs=0.01)
    text = "\n".join(verdict(result))
    assert text.startswith("worse than linear: the schedule that was chosen, beta:2,0.5, has a gain of -0.")
    assert paste(result.steps, result.plan) == "counts = [8, 8, 8, 8, 8, 8, 8, 8]  # 8 steps, tokens to reveal at each"


def test_a_loss_that_may_be_noise_is_returned_and_a_gain_has_no_loser() -> None:
    bench = Bench({"linear": 3.0, A.name: 2.0, f"report {A.name}": 3.0005})
    noisy = bench.confirm([bench.trial(0, A, 0.1)])
    assert noisy.gain.ci is not None and noisy.gain.ci[0] < noisy.gain.value < 0 < noisy.gain.ci[1]
    assert noisy.policy == A and noisy.loser is None and noisy.judged is noisy.gain
    better = Bench({"linear": 3.0, A.name: 2.0}).confirm([bench.trial(0, A, 0.1)])
    assert better.policy == A and better.loser is None


def test_what_loses_against_the_linear_of_the_first_blocks_is_not_returned() -> None:
    """Linear in the second kind of blocks was the best of linears on choose, and is not on report."""

    class Blocks(Bench):
        block_length = 0

        def setting(self, schedule: Schedule, steps: int, label: str | None = None) -> Setting:
            found = super().setting(schedule, steps, label)
            return replace(found, block_length=self.block_length, says_blocks=self.block_length > 0)

    values = {
        "linear": 3.0,
        "linear in blocks of 32": 4.0,
        "choose linear in blocks of 32": 2.0,
        f"{A.name} in blocks of 32": 3.5,
        f"choose {A.name} in blocks of 32": 1.0,
    }
    one, two = Blocks(values), Blocks(values)
    two.block_length = 32
    trial = two.trial(0, A, 0.1)
    studies = [Study(cast(Evaluator, each), [trial][: each is two], BASELINES) for each in (one, two)]
    budget = confirm(studies, 8, 1, one.score)
    assert budget.policy == Linear() and budget.winner.setting.label == "linear"
    assert budget.gain_over_first is None and budget.gain.value == 0
    assert set(budget.baselines) == {
        "linear", "squared-sine", "linear in blocks of 32", "squared-sine in blocks of 32"
    }  # fmt: skip
    assert budget.loser is not None and budget.loser.scores.setting.label == f"{A.name} in blocks of 32"
    assert budget.loser.gain.value == pytest.approx(-0.5, abs=0.01)  # over the linear that is returned


def test_how_often_a_schedule_that_is_no_worse_is_left_out() -> None:
    """Of 400 gains of truly 0 on 64 examples at most 19 may be called a loss: more have probability 0.5 %."""
    rng = np.random.default_rng(5)
    setting = Bench({}).setting(Linear(), 8)

    def scores(values: Values) -> Scores:
        return Scores(
            setting=setting,
            estimate=Estimate(float(values.mean()), None),
            nfe=8,
            cost=Cost(),
            use="report",
            values=values,
        )

    zero, half = scores(np.zeros(64)), 0.5 / 8  # half a standard error of the mean
    lost = [gain_of(scores(rng.normal(0, 1, 64)), zero, "maximize", 1).loss for _ in range(400)]
    better = [gain_of(scores(rng.normal(half, 1, 64)), zero, "maximize", 1).loss for _ in range(400)]
    worse = [gain_of(scores(rng.normal(-0.5, 1, 64)), zero, "maximize", 1).loss for _ in range(40)]
    assert 1 <= sum(lost) <= 19 and sum(better) <= sum(lost) and sum(worse) >= 35


def test_the_cost_is_that_of_trials_and_scores() -> None:
    bench = Bench({})
    budget = bench.confirm(
        [bench.trial(0, A, 0.1), replace(bench.trial(1, A, 0.1), fresh=False)], ended=Ended.of(Ending.EXHAUSTED)
    )
    assert budget.cost == Cost(2 + 10 * (3 + 3), 8 + 40 * (3 + 3), 1.0 + 6.0)
    assert (budget.reused, budget.ended) == (1, Ended.of(Ending.EXHAUSTED))


def test_choosing_without_sampling_asks_for_the_report_alone() -> None:
    bench = Bench({A.name: 1.0, B.name: 5.0})
    prices = {A.name: 5.0, B.name: 1.0}

    def price(setting: Setting) -> Scores:
        return Scores(
            setting=setting, estimate=Estimate(prices.get(setting.label, 9.0), None), nfe=setting.nfe, cost=Cost()
        )

    budget = bench.confirm([bench.trial(0, A, 0.1), bench.trial(1, B, 0.2)], choose=price)
    assert bench.asked == [("report", ["linear", "squared-sine", B.name])]
    assert budget.policy == B and budget.cost.denoiser_rows == 2 + 30


def test_a_claim_and_what_could_be_seen_are_corrected_for_the_budgets() -> None:
    bench = Bench({"linear": 9.0, A.name: 8.9966})
    one, six = (bench.confirm([bench.trial(0, A, 0.1)], claims=claims) for claims in (1, 6))
    assert one.gain.ci == six.gain.ci and one.claims == 1 and six.claims == 6
    assert one.gain.familywise is not None and six.gain.familywise is not None
    assert six.gain.familywise[0] < one.gain.familywise[0]
    linear, winner = one.baselines["linear"].values, one.winner.values
    assert linear is not None and winner is not None
    span = float(np.ptp([linear, winner]))
    assert one.detectable == smallest_gain(winner - linear, 64, 0.95, span)
    assert six.detectable == smallest_gain(winner - linear, 64, corrected_confidence(6), span)


def test_pairs_that_are_all_alike_do_not_say_what_could_be_seen() -> None:
    class Hopeless(Bench):
        def made(self, label: str, setting: Setting, use: Use | None) -> Scores:
            return replace(super().made(label, setting, use), values=np.zeros(self.examples))

    bench = Hopeless({})
    budget = bench.confirm([bench.trial(0, A, 0.1)])
    assert budget.detectable is None and not budget.beats_linear  # and not that it shows gains of 0 and more


@pytest.mark.parametrize(
    ("winner", "flags", "beats"),
    [
        (100, (), True),
        (96, ("less-diverse-than-data:token_entropy",), True),
        (94, ("less-diverse:token_entropy", "less-diverse-than-data:token_entropy"), False),
    ],
)
def test_diversity_is_compared_on_the_examples_of_the_reference(
    winner: int, flags: tuple[str, ...], beats: bool
) -> None:
    bench = Bench({"linear": 3.0, A.name: 2.0, "data": 0.0}, tokens={A.name: winner, "data": 102})
    many = replace(bench.made("linear", bench.setting(Linear(), 32), "report"))
    assert many.values is not None and many.tokens is not None
    many = replace(many, values=many.values[:16], tokens=many.tokens[:16])
    budget = bench.confirm([bench.trial(0, A, 0.1)], reference=many, diversity_loss=0.05)
    assert budget.gain.shown
    assert (budget.flags, budget.beats_linear) == (flags, beats)
    assert budget.diversity is not None and budget.diversity.examples == 16 and bench.metric.sizes == {16}
    assert list(budget.diversity.figures) == ["winner", "linear", "reference", "data"]
    assert budget.reference == many.setting


def test_without_a_reference_the_data_are_compared_on_all_examples() -> None:
    bench = Bench({"linear": 3.0, A.name: 2.0, "data": 0.0}, tokens={A.name: 80})
    budget = bench.confirm([bench.trial(0, A, 0.1)])
    assert budget.diversity is not None and budget.diversity.examples == 64
    assert budget.flags == ("less-diverse-than-data:token_entropy",)
    assert not budget.beats_linear  # linear itself is as diverse as the data


def test_a_metric_without_figures_compares_none() -> None:
    bench = Bench({"linear": 3.0, A.name: 2.0}, Metric(has_figures=False))
    budget = bench.confirm([bench.trial(0, A, 0.1)])
    assert budget.diversity is None and budget.flags == () and budget.beats_linear


def test_the_best_of_each_kind_of_policy_is_compared_in_diversity() -> None:
    bench = Bench({"linear": 3.0, A.name: 2.5, T.name: 2.0, "data": 0.0}, tokens={T.name: 80})
    studies = [
        Study(cast(Evaluator, bench), [bench.trial(0, A, 0.2)], BASELINES),
        Study(cast(Evaluator, bench), [bench.trial(0, T, 0.1)], {}, kind="threshold"),
    ]
    budget = confirm(studies, 8, 2, bench.score, diversity_loss=0.05)
    counts, threshold = (outcome.best for outcome in budget.policies)
    assert counts is not None and threshold is not None
    assert budget.policy == T and not budget.beats_linear
    assert counts.gain.shown and counts.beats_linear and counts.flags == ()
    assert threshold.gain.shown and not threshold.beats_linear
    assert threshold.flags == budget.flags == ("less-diverse-than-data:token_entropy",)


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ({"linear": 3.0, "squared-sine": 2.0, A.name: 2.5, B.name: 2.6}, SquaredSine()),  # hand-made, and best
        ({"linear": 3.0, "squared-sine": 2.8, A.name: 2.5, B.name: 2.6}, A),
        ({"linear": 3.0, "squared-sine": 2.8, A.name: 2.5, f"choose {A.name}": 2.9, B.name: 2.9}, SquaredSine()),
        ({"linear": 2.0, "squared-sine": 2.8, A.name: 2.5, B.name: 2.6}, Linear()),
        ({"linear": 2.4, "squared-sine": 2.8, A.name: 2.5, f"choose {A.name}": 2.0, B.name: 2.6}, Linear()),  # worse
    ],
)
def test_counts_are_represented_by_what_a_search_over_counts_alone_returns(
    values: dict[str, float], best: Policy
) -> None:
    bench = Bench({**values, T.name: 1.0})
    trials = [bench.trial(0, A, 0.2), bench.trial(1, B, 2.9)]
    alone = bench.confirm(trials, finalists=1)
    studies = [
        Study(cast(Evaluator, bench), trials, BASELINES),
        Study(cast(Evaluator, bench), [bench.trial(0, T, 0.1)], {}, kind="threshold"),
    ]
    budget = confirm(studies, 8, 2, bench.score)
    counts = budget.policies[0].best
    assert budget.policy == T and counts is not None and counts.policy == alone.policy == best
    assert counts.scores.setting.label == best.name and counts.gain.value == alone.gain.value
    assert counts.scores.estimate == alone.winner.estimate


def budgets_of(values: dict[int, tuple[float, float]], *, exact: bool = False) -> list[Budget]:
    """Budgets by steps, from the values of linear and of the winner."""
    found = []
    for steps, (linear, winner) in values.items():
        bench = Bench({"linear": linear, A.name: winner}, exact=exact)
        found.append(bench.confirm([bench.trial(0, A, 0.1, steps)], steps, claims=len(values)))
    return found


def run_of(bench: Bench) -> Any:
    sampler = SamplerConfig(steps=(8,))
    model = SimpleNamespace(type="markov")
    config = SimpleNamespace(model=model, sampler=sampler, search=SimpleNamespace(margin=0.01), seed=0)
    evaluator = SimpleNamespace(metric=bench.metric, preparation=Cost(), length=LENGTH)
    plain = {"fingerprints": {"model": "0"}, "dataset": None, "programs": {}, "own": None, "own_cost": Cost()}
    return SimpleNamespace(config=config, evaluator=evaluator, **plain)
