"""Reads what the page shows of a run from the JSON records of its folder. Nothing is computed anew."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mdm_tune.core.statistics import TOO_FEW, Estimate
from mdm_tune.pages.brief_names import with_brief_names
from mdm_tune.pages.frontier import read_frontier
from mdm_tune.pages.reading_rows import rows_of_evaluation
from mdm_tune.pages.run_views import (
    About,
    BudgetView,
    CurveView,
    Drawn,
    GainView,
    LossView,
    PairView,
    Point,
    PolicyView,
    Progress,
    RevealsView,
    Row,
    RunView,
    SharedView,
    State,
    Verdict,
    Warned,
    WinsView,
    baselines_in,
    stand_ins_in,
)
from mdm_tune.schedules.equal_cost import CallRatio
from mdm_tune.schedules.labels import Label

__all__ = ["RunRecords", "read_run"]

Record = Mapping[str, Any]
OTHER = Warned(
    "other-evaluation",
    "evaluate.json in this folder has another model, metric or sampler than the search, so it is not shown",
    "run mdm-tune evaluate again",
)
MINIMIZED = ("kl", "tv", "order_kl", "nelbo", "path_nll", "generative_nll")  # for evaluations of earlier versions


@dataclass(frozen=True, kw_only=True)
class RunRecords:
    """The records of a run folder as they were read. What is missing is None or empty.

    Attributes:
        name: name of the folder.
        path: the folder, as it is to be shown.
        search: ``search.json``.
        evaluate: ``evaluate.json``.
        profile: ``profile.json``.
        identity: ``run.json``.
        progress: ``progress.json`` of a search that has no result yet.
        curves: the stored profiles, as in ``profile_curves`` of a search.
        trials: trials of the journal, by budget, where the result does not list them.
        pairs: pairs of samples, where the results do not have them.
    """

    name: str
    path: str
    search: Record | None = None
    evaluate: Record | None = None
    profile: Record | None = None
    identity: Record | None = None
    progress: Record | None = None
    curves: Sequence[Record] = ()
    trials: Mapping[int, Sequence[Record]] = field(default_factory=dict)
    pairs: Sequence[Record] = ()


def read_run(records: RunRecords) -> RunView:
    """The view of a run.

    Raises:
        AttributeError, IndexError, KeyError, TypeError, ValueError: a record is damaged.
    """
    search, progress = records.search, records.progress
    other = _of_another(search or progress, records.evaluate)
    evaluate = None if other else records.evaluate
    state = State.FINISHED
    if progress is not None and search is None:
        state = State.STOPPED if progress.get("state") == "stopped" else State.RUNNING
    budgets = (search or progress or {}).get("budgets") or ()
    frontier = (search or {}).get("frontier") or {}
    policies = (search or {}).get("policy_frontier") or (evaluate or {}).get("frontier") or {}
    found = [record for record in (search, evaluate, progress) if record is not None]
    curves = next((record["profile_curves"] for record in found if record.get("profile_curves")), records.curves)
    if not curves and records.profile is not None:
        curves = [records.profile, *(records.profile.get("other_block_lengths") or ())]
    pairs = next((record["sample_pairs"] for record in found if record.get("sample_pairs")), records.pairs)
    about = _about(records)
    view = RunView(
        name=records.name,
        path=records.path,
        state=state,
        about=about,
        budgets=tuple(sorted((_budget(each, records.trials) for each in budgets), key=lambda each: each.steps)),
        headline=frontier.get("headline"),
        margin=frontier.get("margin"),
        cheapest_policy=_cheapest(policies.get("cheapest")),
        hint=str(policies.get("hint") or ""),
        rows=() if evaluate is None else tuple(rows_of_evaluation(evaluate, about.maximize)),
        frontier=read_frontier(policies, searched=bool((search or {}).get("policy_frontier"))),
        data=None if evaluate is None or not evaluate.get("data") else Estimate.from_json(evaluate["data"]),
        reference="linear" if evaluate is None else evaluate.get("reference") or "linear",
        evaluated=None if evaluate is None else next((row.get("n") for row in evaluate["rows"]), None),
        profile=records.profile,
        curves=tuple(map(_curve, curves)),
        pairs=tuple(map(_pair, pairs)),
        rows_of=dict((search or {}).get("denoiser_rows_of") or {}),
        cost=None if search is None else _cost(search),
        evaluate_cost=None if evaluate is None else _cost(evaluate),
        trials=0 if search is None else int(search.get("trials") or 0),
        warnings=(*_warnings(found), *([OTHER] if other else [])),
        cheapest=str(policies.get("sentence") or ""),
        shared=SharedView.of(search["shared"]) if search and search.get("shared") else None,
        claims=_claims((search or {}).get("confidence") or {"budgets": len(budgets)}),
        progress=None if progress is None or search is not None else _progress(progress, records.trials),
    )
    return with_brief_names(view)


def _of_another(search: Record | None, evaluate: Record | None) -> bool:
    """Whether an evaluation has another model, metric or sampler than the search in its folder."""
    if not search or not evaluate:
        return False
    first, second = search.get("description"), evaluate.get("description")
    if first and second:
        return _subject(first) != _subject(second)
    metrics = [each.get("metric") for part in (search.get("budgets"), evaluate["rows"]) for each in (part or ())[:1]]
    return len(set(metrics)) > 1


def _subject(description: Record) -> object:
    """What must be equal for values to stand on one page: model, metric, and sampler without its budgets."""
    config, sampler = description["config"], description["config"].get("sampler") or {}
    kept = {name: value for name, value in sampler.items() if name not in ("steps", "batch")}
    return description["fingerprints"].get("model"), config.get("objective"), kept


def _warnings(records: Sequence[Record]) -> tuple[Warned, ...]:
    """The warnings of all records, each once."""
    found = [each for record in records for each in record.get("warnings") or ()]
    return tuple(
        dict.fromkeys(Warned(str(each["code"]), str(each["text"]), str(each.get("advice") or "")) for each in found)
    )


def _about(records: RunRecords) -> About:
    """What the run is of: from the result, or for older ones from the files beside it."""
    found = [each for each in (records.search, records.evaluate, records.progress) if each is not None]
    stated = next((each["description"] for each in found if each.get("description")), None)
    if stated is not None:
        return About(
            metric=str(stated.get("label") or "custom") if stated["metric"] == "custom" else str(stated["metric"]),
            label=_label(stated),
            maximize=stated["direction"] == "maximize",
            exact=bool(stated["exact"]),
            length=stated["length"],
            sampler=str(stated["sampler"]),
            config=stated["config"],
            fingerprints=dict(stated["fingerprints"]),
            versions=dict(stated["versions"]),
            flags=tuple(map(str, stated.get("flags") or ())),
            parameters=stated.get("parameters"),
            vocabulary=stated.get("vocabulary"),
        )
    first: Record = next((each for each in (records.search or {}).get("budgets", ())), {})
    row: Record = next((each for each in (records.evaluate or {}).get("rows", ())), {})
    any_row = first or row
    identity = records.identity or {}
    config = identity.get("config") or {}
    metric = any_row.get("metric") or ("nelbo" if records.profile is not None else "value")
    sampler = config.get("sampler") or {}
    parts = [(key, sampler[key]) for key in ("order", "reveal", "temperature") if key in sampler]
    described = ", ".join(f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in parts)
    counts = any_row.get("counts")
    return About(
        metric=str(metric),
        label=str(metric),
        maximize=first.get("direction", "minimize" if metric in MINIMIZED else "maximize") == "maximize",
        exact=bool(any_row) and any_row.get("ci") is None and any_row.get("no_interval") in (None, "exact"),
        length=sum(counts) if counts else (records.profile or {}).get("length"),
        sampler=described,
        config=config,
        fingerprints=dict(identity.get("fingerprints") or {}),
        versions=dict(identity.get("versions") or {}),
    )


def _label(stated: Record) -> str:
    """The objective in words. The words that spelling knows are those of the data."""
    label = str(stated.get("label") or stated["metric"])
    return f"{label} (those of words.txt, beside the texts)" if stated["metric"] == "spelling" else label


def _gain(record: Record) -> GainView:
    own, together = Estimate.from_json(record), Estimate.from_json({**record, "ci": record.get("ci_familywise")})
    exact = record.get("no_interval") == "exact" or record.get("examples_that_differ", 0) is None
    reason = None if own.ci is not None else "exact" if exact else TOO_FEW
    return GainView(
        value=own.value,
        own=own.ci,
        familywise=together.ci,
        reason=reason,
        shown=record.get("shown") is True,
        differing=record.get("examples_that_differ"),
        fewest=record.get("examples_that_must_differ"),
    )


def _verdict(record: Record, gain: GainView, losses: Sequence[LossView]) -> Verdict:
    """As ``search.outcomes.Outcome`` says; its two reasons why a gain above 0 is not claimed are one here."""
    if gain.reason == TOO_FEW:
        return Verdict.UNTESTED
    if record.get("loser") is not None:
        return Verdict.WORSE
    if gain.shown and "more-calls" in (record.get("flags") or ()):
        return Verdict.MORE_CALLS
    if gain.shown:
        return Verdict.LESS_DIVERSE if any(loss.flagged and loss.blocks for loss in losses) else Verdict.BETTER
    if gain.own is None or gain.own[0] <= 0:
        return Verdict.NO_GAIN
    return Verdict.NOT_CLAIMED


def _losses(stated: Record) -> tuple[LossView, ...]:
    return tuple(
        LossView(
            figure=str(loss["figure"]),
            than=str(loss["than"]),
            share=float(loss["share"]),
            ends=None if loss.get("share_ci") is None else (float(loss["share_ci"][0]), float(loss["share_ci"][1])),
            flagged=bool(loss["flagged"]),
            blocks=bool(loss["blocks"]),
            of_linear=_number(loss.get("share_of_linear")),
        )
        for loss in stated.get("losses") or ()
    )


def _budget(record: Record, journal: Mapping[int, Sequence[Record]]) -> BudgetView:
    schedule, gain, steps = record["schedule"], _gain(record["gain_over_linear"]), int(record["steps"])
    stated = record.get("diversity_losses") or {}
    losses = _losses(stated)
    loser, calls = record.get("loser"), record.get("baseline_calls") or {}
    baselines = {
        str(name): Row(
            label=str(name),
            steps=steps,
            calls=float(calls[name]["nfe"]) if name in calls else None,
            estimate=Estimate.from_json(each),
        )
        for name, each in record["baselines"].items()
    }
    sign = -1 if record.get("direction") == "minimize" else 1
    others = [row for row in baselines.values() if Label.read(row.label).name != "linear"]
    rival = max(others, key=lambda row: sign * row.estimate.value, default=None)
    linear = baselines.get("linear")
    over = {"linear": gain}
    over |= {str(name): _gain(each) for name, each in (record.get("gains_over_baselines") or {}).items()}
    own = {str(name): _gain(each) for name, each in (record.get("gains_of_baselines") or {}).items()}
    kinds = tuple(map(_policy, record.get("policies") or ()))
    own |= {each.policy: each.gain for each in kinds if each.policy in baselines and each.gain is not None}
    points = record.get("trial_points") or journal.get(steps) or ()
    return BudgetView(
        steps=steps,
        kind=str(schedule["type"]),
        a=_number(schedule.get("a")),
        b=_number(schedule.get("b")),
        values=_values(schedule),
        counts=_whole(record.get("counts")),
        alphas=None if record.get("alphas") is None else tuple(map(float, record["alphas"])),
        policy=str(record.get("policy") or schedule.get("policy") or ""),
        policies=kinds,
        reveals={str(name): _reveals(each) for name, each in (record.get("reveals") or {}).items()},
        block_length=record.get("block_length"),
        calls=float(record["nfe"]),
        estimate=Estimate.from_json(record),
        examples=record.get("n"),
        baselines=baselines,
        gain=gain,
        verdict=_verdict(record, gain, losses),
        rejected=None
        if loser is None
        else (str(loser["schedule"]), Estimate.from_json(loser), _gain(loser["gain_over_linear"])),
        data=None if record.get("data") is None else Estimate.from_json(record["data"]),
        diversity=_diversity(record, None if rival is None else rival.label),
        samples=stated.get("examples"),
        losses=losses,
        reference_steps=stated.get("reference_steps"),
        threshold=stated.get("threshold"),
        detectable=record.get("detectable_gain"),
        call_ratio=_call_ratio(record),
        trials=int(record.get("trials") or 0),
        dropped=int(record.get("dropped") or 0),
        ended=str(record.get("ended") or ""),
        points=_points(points),
        choose=tuple((str(each["schedule"]), Estimate.from_json(each)) for each in record.get("choose") or ()),
        grid_rows=(record.get("paper_grid") or {}).get("denoiser_rows"),
        same=tuple(map(str, record.get("same_counts") or ())),
        rival=rival,
        rival_gain=None if rival is None else own.get(rival.label),
        over_rival=None if rival is None or Label.read(rival.label).name == schedule["type"] else over.get(rival.label),
        linear_above_rival=rival is not None
        and linear is not None
        and sign * (linear.estimate.value - rival.estimate.value) > 0,
        over=over,
        wins={
            str(name): WinsView(int(each["wins"]), int(each["ties"]), int(each["losses"]))
            for name, each in (record.get("wins_over_baselines") or {}).items()
        },
        stand_ins=stand_ins_in(record),
        replaced_by=baselines_in(record),
        unreachable=tuple(map(str, record.get("unreachable") or ())),
    )


def _policy(record: Record) -> PolicyView:
    calls = record.get("calls") or {}
    return PolicyView(
        kind=str(record["kind"]),
        policy=record.get("policy"),
        estimate=None if record.get("value") is None else Estimate.from_json(record["value"]),
        calls=_number(calls.get("nfe")),
        ends=None if calls.get("nfe_ci") is None else (float(calls["nfe_ci"][0]), float(calls["nfe_ci"][1])),
        more=record.get("more_calls") is True,
        less_diverse=any(loss["blocks"] for loss in record.get("losses") or ()),
        gain=None if record.get("gain_over_linear") is None else _gain(record["gain_over_linear"]),
        trials=int(record.get("trials") or 0),
        why=str(record.get("why") or ""),
    )


def _cheapest(record: Record | None) -> tuple[str, int] | None:
    return None if record is None else (str(record["schedule"]), int(record["steps"]))


def _claims(confidence: Record) -> int:
    """For how many comparisons with linear the gains are corrected."""
    return int(confidence.get("budgets") or 1) * int(confidence.get("policies") or 1)


def _call_ratio(record: Record) -> CallRatio | None:
    ratio, ends = _number(record.get("calls_of_linear")), record.get("calls_of_linear_ci")
    return None if ratio is None else CallRatio(ratio, None if ends is None else (float(ends[0]), float(ends[1])))


def _reveals(record: Record) -> RevealsView:
    low, high, examples = (_whole(record[name]) or () for name in ("low", "high", "examples"))
    return RevealsView(mean=tuple(map(float, record["mean"])), low=low, high=high, examples=examples)


def _number(value: object) -> float | None:
    """The value if it is a number."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _values(schedule: Record) -> dict[str, float]:
    """The parameters of a policy that is more than a schedule Beta(a, b), by name; {} of a schedule."""
    numbers = {str(name): found for name, value in schedule.items() if (found := _number(value)) is not None}
    return numbers if numbers.keys() - {"a", "b"} else {}


def _diversity(record: Record, rival: str | None) -> dict[str, dict[str, Estimate]]:
    """The figures of diversity by source; those of the best hand-made schedule stand after linear."""
    found = dict(record.get("diversity") or {})
    order = dict.fromkeys(("winner", "linear", "rival", *found))
    if (of_rival := (record.get("baseline_diversity") or {}).get(rival)) is not None:
        found["rival"] = of_rival
    return {
        source: {name: Estimate.from_json(each) for name, each in found[source].items()}
        for source in order
        if source in found
    }


def _points(records: Sequence[Record]) -> tuple[Point, ...]:
    """The trials of schedules Beta(a, b); those of other policies have no place on a map."""
    return tuple(
        _point(record)
        for record in records
        if record.get("kind", "counts") == "counts" and None not in (_number(record.get("a")), _number(record.get("b")))
    )


def _point(record: Record) -> Point:
    return Point(
        number=int(record["number"]),
        a=float(record["a"]),
        b=float(record["b"]),
        block_length=record.get("block_length"),
        value=math.nan if record.get("value") is None else float(record["value"]),
        examples=record.get("examples"),
        dropped=bool(record.get("dropped")),
        fresh=bool(record.get("fresh", True)),
    )


def _curve(record: Record) -> CurveView:
    intervals = record.get("cross_entropy_ci")
    return CurveView(
        length=int(record["length"]),
        block_length=int(record["block_length"]),
        vocabulary=record.get("vocab_size"),
        exact=bool(record["exact"]),
        examples=record.get("examples"),
        revealed=_whole(record["revealed"]) or (),
        mean=tuple(map(float, record["cross_entropy"])),
        low=None if intervals is None else tuple(float(low) for low, _ in intervals),
        high=None if intervals is None else tuple(float(high) for _, high in intervals),
        pricing=tuple(map(float, record.get("pricing_curve") or ())),
    )


def _pair(record: Record) -> PairView:
    return PairView(
        steps=int(record["steps"]),
        id=str(record["id"]),
        chosen=str(record["chosen"]),
        first=_drawn(record["first"]),
        second=_drawn(record["second"]),
        third=None if record.get("third") is None else _drawn(record["third"]),
        example=str(record.get("example") or ""),
    )


def _drawn(record: Record) -> Drawn:
    return Drawn(
        label=str(record["schedule"]),
        value=math.nan if record["value"] is None else float(record["value"]),
        pieces=tuple((str(text), bool(differs)) for text, differs in record["pieces"]),
    )


def _progress(record: Record, journal: Mapping[int, Sequence[Record]]) -> Progress:
    """How far a search is. journal: the trials of each budget, which after a resumption are more than those listed."""
    current = record.get("current")
    return Progress(
        stage=str(record["stage"]),
        done=int(record["done"]),
        total=int(record["total"]),
        updated=str(record["updated"]),
        steps=_whole(record["steps"]) or (),
        current=current,
        best=record.get("best"),
        resume=str(record.get("resume") or ""),
        seconds_left=_number(record.get("seconds_left")),
        points=_points(max(record.get("trial_points") or (), journal.get(current or 0) or (), key=len)),
    )


def _cost(record: Record) -> tuple[int, int, float]:
    return int(record["denoiser_rows"]), int(record["denoiser_tokens"]), float(record["seconds"])


def _whole(values: Sequence[Any] | None) -> tuple[int, ...] | None:
    return None if values is None else tuple(map(int, values))
