"""What is watched is what the sampler does, and watching changes no sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from mdm_tune.api.runs import sample
from mdm_tune.commands.events import Note, Watched
from mdm_tune.commands.watching import Watcher, described, token_texts, wanted
from mdm_tune.config.file import Config
from mdm_tune.core.errors import InputError
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.core.text import Symbols
from mdm_tune.evaluation.settings import Setting
from mdm_tune.pages.unmasking import Unmasking
from mdm_tune.run.sample_records import SampleResult
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.unmasking import Step, unmask
from tests.support.configs import MARKOV, TEXT, TRANSFORMER, load, whole
from tests.support.helpers import FunctionDenoiser, same_plan, seeds
from tests.test_cli import call

CHAIN = {**MARKOV, "length": 12}


def config_of(folder: Path, **sampler: Any) -> Config:
    sections = whole(model=CHAIN, objective={"metric": "order_kl"}, sampler={"steps": [4], **sampler})
    return load(folder, sections, output=str(folder / "run"))


def watched(config: Config, *arguments: Any, **options: Any) -> tuple[SampleResult, list[tuple[Unmasking, ...]]]:
    events: list[object] = []
    result = sample(config, *arguments, on_event=events.append, **options)
    return result, [event.rows for event in events if isinstance(event, Watched)]


def text_of(row: Unmasking) -> str:
    return "".join(token.text or "_" for token in row.tokens)


@pytest.mark.parametrize("batch", [1, 64])
def test_two_schedules_are_shown_as_each_of_them_samples_by_itself(tmp_path: Path, batch: int) -> None:
    config = config_of(tmp_path, batch=batch)
    counts = "counts:6,3,2,1"
    result, shown = watched(config, counts, number=3, beside="linear")
    assert result.samples == sample(config, counts, number=3).samples
    assert [[row.done for row in rows] for rows in shown] == [[step, step] for step in range(5)]
    assert [row.counts for row in shown[-1]] == [(6, 3, 2, 1), (3, 3, 3, 3)]
    assert [(row.name, row.note, row.scale) for row in shown[0]] == [(counts, "", None), ("linear", "", None)]
    assert [text_of(row) for row in shown[0]] == ["_" * 12] * 2
    alone = sample(config, "linear", number=1).samples[0]
    assert [text_of(row) for row in shown[-1]] == [result.samples[0].text, alone.text]
    for before, after in pairwise(shown):  # a visible token never changes
        for row, later in zip(before, after, strict=True):
            assert all(token in (same, type(token)()) for token, same in zip(row.tokens, later.tokens, strict=True))


def test_nothing_is_reported_unless_it_is_watched(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    assert watched(config, "linear", number=2)[1] == []
    plain, (_, shown) = sample(config, "linear", number=2), watched(config, "linear", number=2, save=tmp_path / "a.svg")
    assert len(shown) == 5 and len(shown[0]) == 1
    assert (tmp_path / "a.svg").read_text("utf-8").startswith("<svg ")
    assert plain.cost.denoiser_rows > 0 and not (tmp_path / "run" / "a.svg").exists()


def test_the_time_of_the_view_is_no_time_of_the_sampler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])

    def view(event: object) -> None:
        clock[0] += 100.0 * isinstance(event, Watched)

    assert sample(config_of(tmp_path), "linear", number=1, beside="sine", on_event=view).cost.seconds == 0
    assert clock[0] == 500


def test_confidence_is_that_of_the_step_that_reveals() -> None:
    # Two symbols; the sharper prediction goes first, and the second step predicts less surely than the first.
    sharp = torch.tensor([[3.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    first = torch.sigmoid(torch.tensor(3.0, dtype=torch.float64)).item()

    def logits(tokens: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        return sharp.expand(len(tokens), 2, 2)[hidden] / (1 if bool((tokens == 2).all()) else 2)

    heard: list[tuple[Unmasking, ...]] = []
    setting = Setting(name="linear", steps=2, length=2, counts=(1, 1))
    watcher = Watcher(
        settings=[setting],
        names=[("linear", "")],
        start=torch.tensor([2, 2]),
        mask_id=2,
        codec=Symbols("ab"),
        order="top-probability",
        show=heard.append,
    )
    watcher.begin()
    drawing = Drawing("top-probability", 0)
    tokens = torch.full((1, 2), 2)
    unmask(FunctionDenoiser(2, logits), tokens, same_plan([1, 1], 1), seeds=seeds(1), drawing=drawing, on_step=watcher)
    assert [[token.confidence for token in row.tokens] for (row,) in heard] == [
        [None, None],
        [pytest.approx(first), None],
        [pytest.approx(first), pytest.approx(torch.sigmoid(torch.tensor(0.5)).item(), abs=1e-6)],
    ]
    assert heard[0][0].scale == "largest probability" and text_of(heard[1][0]) == "a_"


@pytest.mark.parametrize(("order", "given", "shown"), [("entropy", -0.6931472, 0.5), ("margin", 0.3, 0.3)])
def test_every_order_has_its_confidence_between_0_and_1(order: Any, given: float, shown: float) -> None:
    heard: list[tuple[Unmasking, ...]] = []
    watcher = Watcher(
        settings=[Setting(name="linear", steps=1, length=3, counts=(3,))],
        names=[("linear", "")],
        start=torch.tensor([1, 5, 5, 5, -1]),
        mask_id=5,
        codec=Symbols("abcde", end_tokens=(4,)),
        order=order,
        show=heard.append,
    )
    watcher.begin()
    confidence = torch.tensor([[0.0, given, -torch.inf, 0.0, 0.0]], dtype=torch.float64)
    tokens = torch.tensor([[1, 0, 4, 4, -1]])
    watcher(Step(0, tokens, torch.tensor([[False, True, True, True, False]]), confidence=confidence))
    (row,) = heard[-1]
    assert [(token.kind, token.step) for token in row.tokens] == [("prompt", 0), ("text", 1), ("end", 1), ("end", 1)]
    assert [token.confidence for token in row.tokens][:3] == [None, pytest.approx(shown, abs=1e-6), None]
    assert row.progress == "step 1 of 1, 3 of 3 tokens" and row.level(row.tokens[2]) is None


@dataclass
class Pieces:
    """Decodes as tokenizers do: no space before the first word, bytes that are no character as U+FFFD, no specials."""

    table: dict[int, bytes]
    end_tokens: tuple[int, ...] = ()

    def decode(self, tokens: Sequence[int]) -> str:
        text = b"".join(self.table[token] for token in tokens).decode("utf-8", "replace")
        return text.removeprefix(" ")


def test_the_texts_of_tokens_join_to_the_text_of_the_row() -> None:
    cat = "\u732b".encode()
    codec: Any = Pieces({0: b" the", 1: b" cat", 2: b"s", 3: cat[:1], 4: cat[1:2], 5: cat[2:], 6: b"", 7: b"\n"})
    assert token_texts(codec, [0, 1, 2, 7, 3, 4, 5, 6]) == ["the", " cat", "s", "\n", "\u732b", "", "", ""]
    assert token_texts(codec, [None, 1, None, 0]) == ["", " cat", "", " the"]
    assert token_texts(codec, [3, None, 5])[0] == "\ufffd"  # a part of a character cannot be shown
    assert token_texts(codec, []) == []


def test_a_long_prompt_is_shown_near_the_text_that_is_filled() -> None:
    symbols = "abcdefghij"
    heard: list[tuple[Unmasking, ...]] = []
    start = torch.tensor([place % 10 for place in range(300)] + [10] * 3 + [1] * 300 + [10] + [2] * 4)
    watcher = Watcher(
        settings=[Setting(name="linear", steps=1, length=4, counts=(4,))],
        names=[("linear", "")],
        start=start,
        mask_id=10,
        codec=Symbols(symbols),
        order="random",
        show=heard.append,
    )
    watcher.begin()
    text = "".join(token.text if token.step is not None else "_" for token in heard[0][0].tokens)
    assert text == " \u2026 " + (symbols * 30)[-120:] + "___" + "b" * 120 + " \u2026 " + "b" * 120 + "_cccc"


def entry(**changes: Any) -> dict[str, Any]:
    values = {"value": 0.9, "ci": [0.85, 0.95]}
    budget = {
        "steps": 2,
        "schedule": "sine",
        "counts": [3, 1],
        "alphas": None,
        "metric": "spelling",
        "n": 512,
        **values,
    }
    return {**budget, "baselines": {"linear": {"value": 0.8, "ci": [0.75, 0.85]}}, **changes}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("spelling 0.90 [0.85, 0.95] on 512 examples", "spelling 0.80 [0.75, 0.85] on 512 examples")),
        ({"ci": None, "baselines": 3, "n": "many"}, ("", "")),
        ({"value": "good", "metric": ["a"]}, ("", "")),
    ],
)
def test_values_come_from_the_schedule_file(tmp_path: Path, changes: dict[str, Any], expected: tuple[str, str]) -> None:
    path = tmp_path / "schedule.yaml"
    path.write_text(yaml_text({"format": "mdm-tune-schedule-1", "length": 4, "budgets": [entry(**changes)]}))
    settings = [
        Setting(name=name, steps=2, length=4, counts=(3, 1)) for name in (str(path), "linear", "maskgit-cosine")
    ]
    assert described(settings, with_values=True) == [
        ("tuned (sine)", expected[0]),
        ("linear", expected[1]),
        ("maskgit-cosine", ""),
    ]
    assert [note for _, note in described(settings, with_values=False)] == ["", "", ""]


def test_parameters_have_four_digits(tmp_path: Path) -> None:
    path, long = tmp_path / "schedule.yaml", "beta:0.43123456789012345,0.7561234567890123"
    budgets = [entry(schedule=long)]
    path.write_text(yaml_text({"format": "mdm-tune-schedule-1", "length": 4, "budgets": budgets}))
    settings = [Setting(name=name, steps=2, length=4, counts=(3, 1)) for name in (str(path), long)]
    names = [name for name, _ in described(settings, with_values=True)]
    assert names == ["tuned (beta:0.4312,0.7561)", "beta:0.4312,0.7561"]


def test_a_second_schedule_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    for beside, message in (
        ("counts:6,6", r"--watch: schedule counts:6,6 is for 2 steps, got 4; give --steps 2, or a curve"),
        ("threshold:0.9", r"threshold:0.9 reveals what .* no meaning in random order; set sampler.order to confidence"),
        ("linaer", "--watch: .*Did you mean linear"),
        (str(tmp_path / "none.yaml"), "--watch: .*none.yaml"),
    ):
        with pytest.raises(InputError, match=message):
            sample(config, "linear", number=1, beside=beside)
    _, shown = watched(config, "linear", number=1, beside="beta:0.5,0.5")
    notes: list[object] = []
    sample(config, "linear", number=1, beside="beta:0.5,0.5", on_event=notes.append)
    assert any(isinstance(each, Note) and "has the same counts as linear" in each.text for each in notes) and shown


def test_files_that_cannot_be_written_are_refused_before_the_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert wanted(None, None) is None
    for path, message in (
        (tmp_path / "a.png", r"--save writes an animated SVG, so its name must end in \.svg"),
        (tmp_path / "none" / "a.svg", "lies in a folder that does not exist"),
        (tmp_path, "must end in"),
    ):
        with pytest.raises(InputError, match=message):
            wanted("", path)
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        wanted(None, tmp_path / "folder.svg")
    found = wanted("", tmp_path / "a.SVG")
    assert found is not None and found.beside is None and not (tmp_path / "a.SVG").exists()

    def refused(*arguments: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(InputError, match=r"cannot \(Permission denied\); name another folder"):
        wanted("linear", tmp_path / "a.svg")


def test_code_of_the_user_shows_no_steps(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def generate(*arguments, **options):\n    raise SystemExit\n")
    sampler = {"steps": [4], "type": "external", "target": "mine.py:generate"}
    sections = whole(model=TRANSFORMER, dataset=TEXT, objective={"metric": "spelling"}, sampler=sampler)
    (tmp_path / "run.yaml").write_text(yaml_text({**sections, "output": str(tmp_path / "run")}))
    done = call("sample", str(tmp_path / "run.yaml"), "--watch", "--trust-code")
    assert done.exit_code == 2 and "sampler.type external is your own code, whose steps cannot be seen" in done.stderr


def ranked(folder: Path, **sampler: Any) -> Config:
    """A chain of six symbols in order of confidence."""
    sections = whole(
        model={**MARKOV, "length": 6, "flip": 0.1},
        objective={"metric": "kl"},
        sampler={"steps": [4], "order": "confidence", **sampler},
    )
    return load(folder, sections, output=str(folder / "run"))


@pytest.mark.parametrize("beside", [None, "threshold:0.95", "linear"])
def test_an_adaptive_policy_is_watched_also_beside_a_schedule(tmp_path: Path, beside: str | None) -> None:
    """A policy of another form is drawn before it is shown, and each text ends with its own last step."""
    config, first = ranked(tmp_path), "threshold:0.6"
    result, shown = watched(config, first, number=3, beside=beside, save=tmp_path / "a.svg")
    plain = sample(config, first, number=3)
    assert result.samples == plain.samples and result.nfe == plain.nfe
    names = [first, *([] if beside is None else [beside])]
    alone = [sample(config, name, number=1) for name in names]
    calls = [int(each.nfe) for each in alone]
    assert [text_of(row) for row in shown[-1]] == [each.samples[0].text for each in alone]
    assert [row.done for row in shown[-1]] == calls == [row.steps for row in shown[-1]]
    assert [[row.done for row in rows] for rows in shown] == [
        [min(step, most) for most in calls] for step in range(max(calls) + 1)
    ]
    assert 1 < calls[0] < 6 and shown[0][0].progress == "step 0, 0 of 6 tokens"
    assert shown[-1][0].progress == f"step {calls[0]} of {calls[0]}, 6 of 6 tokens"
    for before, after in pairwise(shown):  # a visible token never changes
        for row, later in zip(before, after, strict=True):
            assert all(token in (same, type(token)()) for token, same in zip(row.tokens, later.tokens, strict=True))
    if beside == "linear":  # rows of two calls are not shared
        one, _ = watched(config, first, number=1, beside=beside)
        assert one.cost.denoiser_rows == sum(each.cost.denoiser_rows for each in alone)
    svg = (tmp_path / "a.svg").read_text("utf-8")
    assert all(name in svg for name in names)


def test_a_policy_of_a_file_is_watched_by_its_name(tmp_path: Path) -> None:
    entry = {"steps": 4, "schedule": None, "counts": None, "alphas": None, "policy": "threshold:0.85"}
    path = tmp_path / "tuned.yaml"
    path.write_text(yaml_text({"format": "mdm-tune-schedule-2", "length": 6, "budgets": [entry]}))
    _, shown = watched(ranked(tmp_path), str(path), number=1, beside="threshold:0.85")
    assert [row.name for row in shown[-1]] == ["tuned (threshold:0.85)", "threshold:0.85"]
    assert text_of(shown[-1][0]) == text_of(shown[-1][1])
    with pytest.raises(InputError, match=r"got confidence for .*tuned\.yaml and entropy for entropy-bound:0\.2; se"):
        sample(ranked(tmp_path), str(path), number=1, beside="entropy-bound:0.2")
    with pytest.raises(InputError, match="threshold has no value of its own: mdm-tune evaluate finds the one"):
        sample(ranked(tmp_path), "threshold", number=1)
