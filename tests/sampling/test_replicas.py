"""Pieces filled by two replicas on a local Ray: what one process computes, its errors, and replicas that die.

Covers: actors, pieces.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner, Result

from mdm_tune.cli import app
from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.files import bundled
from mdm_tune.datasets.splits import text_dataset
from mdm_tune.denoisers.asking import PredictionRequest
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.run.measuring import measure_profile
from mdm_tune.sampling import cluster, pieces
from mdm_tune.sampling import replicas as replicas_module
from mdm_tune.sampling.actors import Actor, FailedTask
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.pieces import LocalPool, Pool, predict
from mdm_tune.sampling.plans import QuotaPlan
from mdm_tune.sampling.replicas import QUEUE_DEPTH, Replicas
from mdm_tune.sampling.unmasking import CountPlan, Plan, RevealPlan, unmask
from mdm_tune.version import package_versions
from tests.support.helpers import even_counts, plan, same_plan, seeds
from tests.support.pools import DIE, ERROR, FINE, NAN, ODD, TWO, absent, asking_for, chain, faulty, leave, meet, text


def fill(pool: Pool | Denoiser, tokens: Tensor, plan: Plan | None = None, **options: Any) -> Any:
    """By a pool in pieces of two rows; by a denoiser in one call."""
    given = {"plan": plan or same_plan((1, 2), len(tokens)), "seeds": seeds(len(tokens), 7), "batch": 2, **options}
    if isinstance(pool, LocalPool | Replicas):
        return pieces.fill_rows(pool, tokens, **given)
    return unmask(pool, tokens, **given)


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    """One Ray for all tests here, with room for the replicas of every fixture."""
    with cluster.local_ray(8):
        yield


@pytest.fixture(scope="module")
def chains() -> Iterator[Replicas]:
    with Replicas(chain, TWO) as replicas:
        yield replicas


@pytest.fixture(scope="module")
def texts() -> Iterator[Replicas]:
    with Replicas(text, TWO) as replicas:
        yield replicas


@pytest.fixture(scope="module")
def faults() -> Iterator[Replicas]:
    with Replicas(faulty, TWO) as replicas:
        yield replicas


def question(denoiser: Denoiser, kind: str, rows: int, length: int) -> tuple[Tensor, dict[str, Any]]:
    """Rows that differ in their prompts and plans, from the fifth on, and what else ``unmask`` is given."""
    tokens = torch.full((rows, length), denoiser.mask_id)
    for row in range(4, rows):
        tokens[row, row % length] = row % denoiser.vocab_size
    hidden = tokens == denoiser.mask_id
    masked = hidden.sum(1).tolist()
    if kind == "bernoulli":
        alphas = (
            torch.linspace(0, 1, 5, dtype=torch.float64) ** torch.linspace(1, 2, rows, dtype=torch.float64)[:, None]
        )
        return tokens, {"plan": RevealPlan(alphas)}
    if kind == "blocks":
        blocks = (torch.arange(length) >= length // 2).long().repeat(rows, 1)
        inside = [[int((hidden[row] & (blocks[row] == block)).sum()) for block in (0, 1)] for row in range(rows)]
        counts = [[even_counts(count, 1 + row % 3) for count in each] for row, each in enumerate(inside)]
        options = {
            "drawing": Drawing("entropy"),
            "blocks": blocks,
            "reference": tokens.clamp(max=denoiser.vocab_size - 1),
        }
        return tokens, {"plan": plan(*counts), **options}
    counts = [[even_counts(count, 2 + row % 3)] for row, count in enumerate(masked)]
    whole = plan(*counts) if rows else CountPlan(torch.zeros(0, 1, 1, dtype=torch.int64))
    if kind == "quota":  # rows stop where all are masked throughout, since masks must lie side by side
        drawing = Drawing("confidence", top_p=0.9, end_tokens=(1,), end_confident=False, stop_at_end=rows < 4)
        return tokens, {"plan": QuotaPlan(whole.counts, torch.linspace(0.3, 0.9, rows)), "drawing": drawing}
    return tokens, {"plan": whole, "drawing": Drawing(kind, 0.8), "batch": 3}


KINDS = ("random", "confidence", "bernoulli", "blocks", "quota")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 2, 9, 12])
def test_rows_of_a_law_are_those_of_one_process(chains: Replicas, kind: str, rows: int) -> None:
    law = chain("cpu")
    tokens, options = question(law, kind, rows, law.length)
    alone, shared = fill(law, tokens, **options), fill(chains, tokens, **options)
    assert torch.equal(shared.tokens, alone.tokens) and torch.equal(shared.nfe, alone.nfe)
    assert (shared.nll is None) == (alone.nll is None) == (kind != "blocks")
    assert alone.nll is None or torch.equal(shared.nll, alone.nll)
    assert [each.dtype for each in (shared.tokens, shared.nfe)] == [torch.int64, torch.int64]
    here = fill(LocalPool(law), tokens, **options)
    assert (shared.denoiser_rows, shared.denoiser_tokens) == (here.denoiser_rows, here.denoiser_tokens)
    assert shared.denoiser_tokens == shared.denoiser_rows * law.length
    assert shared.denoiser_rows >= alone.denoiser_rows


def test_no_rows(chains: Replicas) -> None:
    tokens, options = question(chain("cpu"), "random", 0, 12)
    found = fill(chains, tokens, **options)
    assert found.tokens.shape == (0, 12) and found.nfe.shape == (0,) and found.denoiser_rows == 0


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_network_are_those_of_one_process(texts: Replicas, kind: str) -> None:
    """Half as many rows in a matrix product round otherwise, by less than a drawn token ever shows here."""
    model = text("cpu")
    tokens, options = question(model, kind, 7, 24)
    alone, shared = fill(model, tokens, **options), fill(texts, tokens, **options)
    assert torch.equal(shared.tokens, alone.tokens) and torch.equal(shared.nfe, alone.nfe)
    if alone.nll is not None:
        torch.testing.assert_close(shared.nll, alone.nll, rtol=1e-5, atol=0)


def test_the_profile_of_a_law_is_that_of_one_process(chains: Replicas) -> None:
    law = chain("cpu")
    originals = law.sample(9, 1)
    start = torch.full_like(originals, law.mask_id)
    start[:4, 3] = originals[:4, 3]
    args: dict[str, Any] = {"examples": 9, "points": 8}
    alone = measure_profile(law, start, originals, seeds(9), **args)
    shared = measure_profile(law, start, originals, seeds(9), **args, predictor=partial(predict, chains))
    np.testing.assert_array_equal(shared.values, alone.values)
    np.testing.assert_array_equal(shared.entropies, alone.entropies)
    assert shared.revealed.tolist() == alone.revealed.tolist()
    assert alone.denoiser_rows <= shared.denoiser_rows <= 8 * 9
    assert shared.denoiser_tokens == 12 * shared.denoiser_rows


def test_the_profile_of_a_network_is_that_of_one_process(texts: Replicas) -> None:
    """To the rounding of float32 logits: matrix products of other shapes add up in another order."""
    model = text("cpu")
    split = text_dataset(bundled("package:text"), model.symbols, 24, {"tune": 5}, 0).splits["tune"]
    args: dict[str, Any] = {"examples": 5, "points": 4}
    alone = measure_profile(model, split.start, split.originals, split.seeds, **args)
    shared = measure_profile(
        model, split.start, split.originals, split.seeds, **args, predictor=partial(predict, texts)
    )
    np.testing.assert_allclose(shared.values, alone.values, rtol=1e-5)
    np.testing.assert_allclose(shared.entropies, alone.entropies, rtol=1e-5)
    here = measure_profile(
        model, split.start, split.originals, split.seeds, **args, predictor=partial(predict, LocalPool(model))
    )
    assert shared.denoiser_rows == here.denoiser_rows == 1 + 3 * 5  # nothing visible is one row for all five


def test_replicas_work_on_while_answers_are_used(chains: Replicas, tmp_path: Path) -> None:
    """The first answer is in use all the time; as many more are worked out as may wait, and no task more is made."""
    made: list[int] = []

    def tasks() -> Iterator[Any]:
        for number in range(1000):
            made.append(number)
            yield partial(leave, folder=tmp_path, number=number)

    answers = chains.results(tasks())
    assert next(answers) == 0
    room = replicas_module.MAX_WAITING * chains.copies
    end = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < room and time.monotonic() < end:
        time.sleep(0.02)
    assert len(list(tmp_path.iterdir())) >= room
    assert len(made) <= 2 * room + 2 + (QUEUE_DEPTH + 2) * chains.copies
    assert [next(answers) for _ in range(room)] == list(range(1, room + 1))
    answers.close()
    tokens, options = question(chain("cpu"), "random", 5, 12)
    assert torch.equal(fill(chains, tokens, **options).tokens, fill(chain("cpu"), tokens, **options).tokens)


@pytest.mark.parametrize("pairs", [[("a", "b"), ("b", "a")], [("long", "last"), ("short", "short"), ("last", "long")]])
def test_no_piece_waits_behind_another_while_a_replica_is_free(
    chains: Replicas, tmp_path: Path, pairs: list[tuple[str, str]]
) -> None:
    """Two pieces that wait for each other, with a short one between them perhaps, end on two replicas alone."""
    tasks = [partial(meet, folder=tmp_path, own=own, other=other) for own, other in pairs]
    assert list(chains.results(tasks)) == [True] * len(pairs)


REFUSED: dict[str, dict[str, Any]] = {
    "one seed too few": {"seeds": seeds(6)},
    "one seed too many": {"seeds": seeds(8)},
    "an order": {"plan": RevealPlan(torch.tensor([[0.0, 1.0]] * 7)), "drawing": Drawing("margin")},
    "a batch": {"batch": 0},
    "blocks": {"blocks": torch.zeros(6, 12, dtype=torch.int64)},
    "a reference": {"reference": torch.full((7, 12), 3)},
    "counts of a row": {"plan": CountPlan(torch.tensor([12] * 5 + [11, 12]).view(7, 1, 1))},
    "counts of too few rows": {"plan": same_plan((12,), 6)},
    "alphas": {"plan": RevealPlan(torch.tensor([[0.0, 1.0]] * 6 + [[0.0, 0.5]]))},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_one_process_refuses_is_refused_alike(chains: Replicas, name: str) -> None:
    tokens = torch.full((7, 12), 3)
    options = {"plan": same_plan((12,), 7), **REFUSED[name]}
    with pytest.raises(InputError) as alone:
        fill(chain("cpu"), tokens, **options)
    with pytest.raises(InputError) as shared:
        fill(chains, tokens, **options)
    assert str(shared.value) == str(alone.value)


def test_the_input_errors_of_a_replica_are_raised_here(chains: Replicas) -> None:
    """And the replicas go on with the next call."""
    tokens = torch.full((7, 12), 3)
    tokens[6, 11] = -1
    counts = CountPlan(torch.tensor([12] * 6 + [11]).view(7, 1, 1))
    with pytest.raises(InputError, match="takes no padding, got token -1") as told:
        fill(chains, tokens, counts)
    assert any(re.match(r"replica [12] on cpu, node .*:\nTraceback", note) for note in told.value.__notes__)
    assert len(fill(chains, tokens[:6], same_plan((12,), 6)).tokens) == 6


@pytest.mark.parametrize("bad", [0, 2, 3, 6])
def test_a_bad_answer_names_the_row_of_the_whole_call(faults: Replicas, bad: int) -> None:
    tokens = asking_for(*[FINE] * bad, NAN, *[FINE] * (6 - bad))
    with pytest.raises(RunError, match=f"the denoiser returned NaN for row {bad} at step 1;"):
        fill(faults, tokens)
    wanted = tokens == 6
    names = torch.arange(7) + 40
    with pytest.raises(RunError, match=f"the denoiser returned NaN for row {40 + bad} with some visible;"):
        next(
            predict(
                faults,
                [
                    PredictionRequest(
                        tokens=tokens, wanted=wanted, originals=tokens % 6, names=names, where="with some visible"
                    )
                ],
                batch=2,
            )
        )


def test_the_error_of_the_first_rows_is_raised(faults: Replicas) -> None:
    for first, second in ((NAN, ERROR), (ERROR, NAN)):
        with pytest.raises(RunError if first == NAN else ValueError):
            fill(faults, asking_for(FINE, first, second, FINE), batch=1)


def test_other_errors_stay_what_they_are_and_are_no_reason_to_start_again(faults: Replicas) -> None:
    before = pids(faults)
    with pytest.raises(ValueError, match="1 threads") as told:  # the CPUs are divided, or the user allows one
        fill(faults, asking_for(FINE, FINE, FINE, ERROR))
    (note,) = told.value.__notes__
    assert re.match(r"replica [12] on cpu, node .*:\nTraceback", note) and "in __call__" in note
    assert pids(faults) == before


def test_an_error_that_cannot_be_sent_is_told_in_words(faults: Replicas) -> None:
    with pytest.raises(RuntimeError, match="OddError: very odd"):
        fill(faults, asking_for(ODD))
    assert fill(faults, asking_for(FINE)).nfe.tolist() == [2]


def test_a_denoiser_that_cannot_be_built(tmp_path: Path) -> None:
    pool = Replicas(partial(absent, tmp_path), ("cpu", "cpu"))
    with pytest.raises(InputError, match=r"no checkpoint at .*: config\.json is missing; .*\(in replica") as told, pool:
        pass
    assert str(tmp_path) in str(told.value)
    assert "every node" not in str(told.value)  # there is no other
    with pytest.raises(RunError, match="no replica runs"):
        fill(pool, asking_for(FINE))


def pids(pool: Replicas) -> list[int]:
    """The processes of the replicas, those that are being started again awaited."""
    pool.wait_until_ready()
    return [*pool.run_on_each(_pid)]


def test_replicas_have_the_priority_of_the_command(chains: Replicas) -> None:
    """Ray's own choice would let every other program go first."""
    chains.wait_until_ready()
    assert chains.run_on_each(_niceness) == [os.nice(0)] * 2


def _niceness(denoiser: Denoiser, device: str) -> int:
    return os.nice(0)


def _pid(denoiser: Denoiser, device: str) -> int:
    return os.getpid()


def test_a_replica_that_is_killed_gives_its_pieces_to_the_others_and_comes_back(chains: Replicas) -> None:
    law = chain("cpu")
    tokens, options = question(law, "confidence", 12, law.length)
    whole = fill(LocalPool(law), tokens, **options)
    first, second = pids(chains)
    os.kill(first, signal.SIGKILL)
    found = fill(chains, tokens, **options)
    assert torch.equal(found.tokens, whole.tokens) and found.denoiser_rows == whole.denoiser_rows
    after = pids(chains)
    assert len(after) == 2 and first not in after and second in after


def test_a_replica_that_was_started_again_unseen_works_on(tmp_path: Path) -> None:
    """Nothing was asked of it when it died, so that the next piece is the first that it is asked."""
    law, versions = chain("cpu"), package_versions("transformers")
    replica = Actor("replica 1 on cpu", chain, "cpu", None, versions)
    assert replica.run(_pid) == os.getpid()
    assert isinstance(replica.denoiser, type(law))
    failed = Actor("replica 1 on cpu", chain, "cpu", None, {**versions, "torch": "0.1"}).run(_pid)
    assert isinstance(failed, FailedTask) and "other versions of packages: torch" in str(failed.error)


def test_a_replica_that_dies_while_it_is_asked_is_left_out(chains: Replicas) -> None:
    """A search asks at its end whether batches were halved, and ends well whoever dies then."""
    before = pids(chains)
    os.kill(before[0], signal.SIGKILL)
    assert set(chains.working_batches(4).values()) == {4}
    assert len(pids(chains)) == 2


def test_rows_that_end_every_replica_end_the_run(faults: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas_module, "MAX_DEATHS", 2)
    with pytest.raises(RunError, match=r"2 replicas ended while they worked on the same rows.*sampler\.batch"):
        fill(faults, asking_for(FINE, DIE, FINE), batch=1)
    assert fill(faults, asking_for(FINE)).nfe.tolist() == [2]


@pytest.mark.parametrize(
    ("said", "kind", "expected"),
    [
        (
            "The actor died because of an error raised in its creation task, ray::Actor.__init__()\nfailed\n"
            "ModuleNotFoundError: No module named 'own'",
            InputError,
            "--devices: replica 1 on cpu cannot be started (ModuleNotFoundError: No module named 'own'); install the "
            "same packages on every node, mdm-tune and those of the model's code among them",
        ),
        (
            "The actor is dead because its owner has died. Owner Id: 01",
            RunError,
            "Ray has given up replica 1 on cpu (The actor is dead because its owner has died. Owner Id: 01); what was "
            "finished is kept: start a cluster, and go on with --resume",
        ),
    ],
)
def test_a_replica_without_a_place(said: str, kind: type[Exception], expected: str) -> None:
    """Its packages are at fault where Ray says so, and else Ray is, as where the node of this process has ended."""
    replica: Any = SimpleNamespace(name="replica 1 on cpu", node_ref="request")
    with pytest.raises(kind) as raised:
        replicas_module._Replica._handle_death(replica, "request", RuntimeError(said))
    assert str(raised.value) == expected


def test_replicas_run_inside_a_with_block() -> None:
    with pytest.raises(RunError, match="no replica runs: they do so inside a with block"):
        [*Replicas(faulty, TWO).results(iter([_pid]))]


OWN = """
import torch


class Own:
    vocab_size, mask_id, length, symbols = 3, 3, 6, "abc"

    def __call__(self, tokens, wanted):
        if len(tokens) > 2:  # more than the checks of loading ask at once
            {then}
        ones = (tokens == 1).sum(1).float()[wanted.nonzero()[:, 0]] / 4
        return torch.stack([ones, 0 * ones, 0 * ones], 1)


def build():
    return Own()
"""
OWN_CONFIG = """
model: {type: custom, target: "own.py:build"}
dataset: {type: lines, path: texts.txt, tune: 8, choose: 8, report: 8}
sampler: {order: random, steps: [2], batch: 4}
objective: {metric: nelbo}
"""
SEARCH = """
model: {type: transformer, path: "package:text"}
dataset: {type: text, path: "package:text", tune: 12, choose: 10, report: 12}
sampler: {order: confidence, steps: [2, 4], batch: 4}
objective: {metric: spelling}
search: {strategy: tpe, trials: 4, finalists: 1, auto_stop: false}
"""


def commanded(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [words[0], str(folder / "config.yaml"), *words[1:]])


@pytest.fixture
def two_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdm_tune.sampling.devices.available_cpus", lambda: 2)


@pytest.mark.usefixtures("two_cpus")
def test_a_whole_search_on_two_replicas_is_that_of_one_process(tmp_path: Path) -> None:
    """Budgets, trials, winners, values and rows; only times, the number of devices and the folder differ."""
    (tmp_path / "config.yaml").write_text(SEARCH)
    found = {}
    for devices in ("cpu", "cpu:2"):
        flags = ["--devices", devices, "--json", "--quiet", "--output", str(tmp_path / devices)]
        result = commanded(tmp_path, "search", *flags)
        assert result.exit_code == 0, result.output
        found[devices] = json.loads(result.stdout)
    one, two = found["cpu"], found["cpu:2"]
    assert differing(one, two) == []
    assert len(one["budgets"]) == 2 and one["denoiser_rows"] > 0
    schedules = [(tmp_path / devices / "schedule.yaml").read_text() for devices in found]
    assert schedules[0] == schedules[1]


def differing(one: Any, two: Any, at: str = "") -> list[str]:
    """Paths of values that differ, but for times and the folder."""
    if at.rpartition(".")[2] in ("seconds", "files", "output", "timing", "driver", "devices"):
        return []
    if isinstance(one, dict) and isinstance(two, dict):
        return [
            each for key in one.keys() | two.keys() for each in differing(one.get(key), two.get(key), f"{at}.{key}")
        ]
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        pairs = enumerate(zip(one, two, strict=True))
        return [each for number, (left, right) in pairs for each in differing(left, right, f"{at}.{number}")]
    return [] if one == two else [f"{at}: {one} {two}"]


@pytest.mark.usefixtures("two_cpus")
@pytest.mark.parametrize(
    ("then", "code", "said"),
    [
        (
            "raise ValueError('much too hot')",
            1,
            r"error: model\.target: .*own\.py:build failed.* in replica [12] on cpu, node [0-9.]+: ValueError: much "
            r"too hot \(line 10\); correct it, then run again",
        ),
        (
            "raise torch.OutOfMemoryError('CUDA out of memory.')",
            0,
            r"note: batches of 4 rows ran out of memory in replica [12] on cpu, 2 worked; set sampler\.batch to 2",
        ),
    ],
)
def test_own_code_in_a_call_on_a_replica(tmp_path: Path, then: str, code: int, said: str) -> None:
    """An error is one message and a failed run; memory that does not suffice is a note, and no reason to fail."""
    (tmp_path / "own.py").write_text(OWN.format(then=then))
    (tmp_path / "config.yaml").write_text(OWN_CONFIG)
    (tmp_path / "texts.txt").write_text("\n".join(f"{a}{b}{c}acb" for a in "abc" for b in "abc" for c in "abc") + "\n")
    flags = ["--schedule", "linear", "--devices", "cpu:2", "--trust-code", "--output", str(tmp_path / "run")]
    result = commanded(tmp_path, "evaluate", *flags)
    assert result.exit_code == code, result.output
    told = " ".join(result.stderr.split())
    assert re.search(said, told), told
    assert "Traceback" not in result.stderr and told.count("error: ") == code
