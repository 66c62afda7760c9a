"""Typical uses of the public API. mypy checks their types; nothing here is run."""

from __future__ import annotations

import mdm_tune


def loop() -> int:
    schedule = mdm_tune.load_schedule("runs/text")
    total = 0
    for step, count in schedule.plan(length=256, steps=32):
        total += step * count
    counts: tuple[int, ...] = schedule.counts(256, 32)
    notes: tuple[str, ...] = schedule.notes(256, 32)
    return total + len(counts) + len(notes)


def price() -> tuple[float, str]:
    result: mdm_tune.ProfileResult = mdm_tune.profile("run.yaml", [8, 16])
    nodes: tuple[int, ...] = result.profiles[0].revealed
    best: float = result.profiles[0].budgets[0].beta.nelbo.value
    exported: mdm_tune.ExportResult = mdm_tune.export("runs/text", "llada", length=64, steps=8)
    return best * len(nodes), exported.where[0]


def trials() -> list[float]:
    events: list[object] = []
    mdm_tune.search("run.yaml", on_event=events.append)
    notes: list[str] = [event.text for event in events if isinstance(event, mdm_tune.Note)]
    return [event.value + len(notes) for event in events if isinstance(event, mdm_tune.TrialDone)]


def tune() -> str:
    config: mdm_tune.Config = mdm_tune.load_config("run.yaml")
    result: mdm_tune.SearchResult = mdm_tune.search(config, on_event=lambda event: None)
    scores: mdm_tune.EvaluateResult = mdm_tune.evaluate(config, ["linear"], [8])
    samples: mdm_tune.SampleResult = mdm_tune.sample("run.yaml", number=2)
    gain: int = result.budgets[0].steps
    return samples.samples[0].text + str(gain) + str(scores.rows[0])


def texts(model: object, tokenizer: object) -> list[str]:
    drawn: mdm_tune.Texts = mdm_tune.generate(model, tokenizer, ["2 + 2 ="], schedule="linear", steps=4, length=8)
    return [*drawn, *drawn.notes]


def schedule(name: str) -> mdm_tune.Schedule:
    try:
        return mdm_tune.parse_schedule(name)
    except mdm_tune.InputError:
        return mdm_tune.Beta(0.9, 0.3)
