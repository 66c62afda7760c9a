"""Typical uses of the public API. mypy checks their types; nothing here is run."""

from __future__ import annotations

from pathlib import Path

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
    notes: list[mdm_tune.Note] = []
    drawn: mdm_tune.Texts = mdm_tune.generate(
        model, tokenizer, ["2 + 2 ="], schedule="linear", steps=4, length=8, on_event=notes.append
    )
    chats = [[{"role": "user", "content": "2 + 2 ="}]]
    quick = mdm_tune.generate(model, tokenizer, chats, schedule="threshold:0.9", length=8, progress=False)
    calls: tuple[int, ...] = quick.nfe
    return [*drawn, *drawn.notes, quick[0] + str(sum(calls) + quick.denoiser_rows), notes[0].text]


def compare() -> dict[str, float]:
    own = mdm_tune.Counts((5, 2, 1))
    result = mdm_tune.evaluate("run.yaml", [own, "linear", Path("runs/text")], steps=range(1, 4))
    interval: tuple[float, float] | None = result.comparisons[0].difference.ci
    row = result.rows[0]
    return {row.schedule: row.estimate.value, "calls": row.calls.nfe, "low": interval[0] if interval else 0.0}


def mistakes() -> None:
    """Each is an error to a type checker, which would report the comment if it were none."""
    mdm_tune.serach("run.yaml")  # type: ignore[attr-defined]
    mdm_tune.search(3)  # type: ignore[arg-type]
    mdm_tune.generate(None, None, [3], steps=2)  # type: ignore[list-item]
    assert mdm_tune.search("run.yaml").budgets[0].step  # type: ignore[attr-defined]


def schedule(name: str) -> mdm_tune.Schedule:
    try:
        return mdm_tune.parse_schedule(name)
    except mdm_tune.InputError:
        return mdm_tune.Beta(0.9, 0.3)
