"""Rows shared by two processes: what one process computes, its errors, and an end for every replica."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mdm_tune.commands.events import memory_notes
from mdm_tune.datasets.splits import bundled, text_dataset
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.errors import InputError, RunError
from mdm_tune.profile.measuring import measure
from mdm_tune.sampling import replicas as module
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.plans import QuotaPlan
from mdm_tune.sampling.replicas import Replicas
from mdm_tune.sampling.unmasking import CountPlan, Plan, RevealPlan, unmask
from tests.helpers import even_counts, plan, same_plan, seeds
from tests.pools import DIE, ERROR, FINE, NAN, ODD, SLEEP, TWO, absent, asking_for, chain, faulty, text, tight


def fill(denoiser: Denoiser | Replicas, tokens: Tensor, plan: Plan | None = None, **options: Any) -> Any:
    given = {"plan": plan or same_plan((1, 2), len(tokens)), "seeds": seeds(len(tokens), 7), **options}
    if isinstance(denoiser, Replicas):
        return denoiser.unmask(tokens, **given)
    return unmask(denoiser, tokens, **given)


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
    """Two replicas on two CPUs, of a user who allows both to a process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "available_cpus", lambda: 2)
        patch.setenv("OMP_NUM_THREADS", "2")
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
    assert shared.denoiser_tokens == shared.denoiser_rows * law.length
    assert shared.denoiser_rows >= alone.denoiser_rows


def test_no_rows(chains: Replicas) -> None:
    tokens, options = question(chain("cpu"), "random", 0, 12)
    found = fill(chains, tokens, **options)
    assert found.tokens.shape == (0, 12) and found.nfe.shape == (0,) and found.denoiser_rows == 0


@pytest.mark.parametrize(("rows", "together"), [(1, 1), (2, 2), (8, 2)])
def test_a_row_that_replicas_share_is_computed_by_each(chains: Replicas, rows: int, together: int) -> None:
    """The first step asks for the all-masked row alone, and there is no other step."""
    tokens, whole = torch.full((rows, 12), 3), same_plan((12,), rows)
    found = fill(chains, tokens, whole)
    assert (found.denoiser_rows, fill(chain("cpu"), tokens, whole).denoiser_rows) == (together, 1)
    assert found.denoiser_tokens == 12 * together


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
    alone = measure(law, start, originals, seeds(9), **args)
    shared = measure(law, start, originals, seeds(9), **args, ask=chains.predictions)
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
    alone = measure(model, split.start, split.originals, split.seeds, **args)
    shared = measure(model, split.start, split.originals, split.seeds, **args, ask=texts.predictions)
    np.testing.assert_allclose(shared.values, alone.values, rtol=1e-5)
    np.testing.assert_allclose(shared.entropies, alone.entropies, rtol=1e-5)
    # Nothing visible: one row for all five alone, one per replica together; else as many rows as examples.
    assert (alone.denoiser_rows, shared.denoiser_rows) == (1 + 3 * 5, 2 + 3 * 5)


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
    assert any(note.startswith("replica 2 of 2 on cpu:\nTraceback") for note in told.value.__notes__)
    assert len(fill(chains, tokens[:6], same_plan((12,), 6)).tokens) == 6


@pytest.mark.parametrize("bad", [0, 2, 3, 6])
def test_a_bad_answer_names_the_row_of_the_whole_call(faults: Replicas, bad: int) -> None:
    tokens = asking_for(*[FINE] * bad, NAN, *[FINE] * (6 - bad))
    with pytest.raises(RunError, match=f"the denoiser returned NaN for row {bad} at step 1;"):
        fill(faults, tokens)
    wanted = tokens == 6
    names = torch.arange(7) + 40
    with pytest.raises(RunError, match=f"the denoiser returned NaN for row {40 + bad} with some visible;"):
        faults.predictions(tokens, wanted, tokens % 6, names=names, batch=2, where="with some visible")


def test_the_error_of_the_first_rows_is_raised(faults: Replicas) -> None:
    for first, second in ((NAN, ERROR), (ERROR, NAN)):
        with pytest.raises(RunError if first == NAN else ValueError):
            fill(faults, asking_for(FINE, first, second, FINE))


def test_other_errors_stay_what_they_are_and_replicas_divide_the_cpus(faults: Replicas) -> None:
    with pytest.raises(ValueError, match="1 threads") as told:
        fill(faults, asking_for(FINE, FINE, FINE, ERROR))
    (note,) = told.value.__notes__
    assert note.startswith("replica 2 of 2 on cpu:\nTraceback") and "in __call__" in note


def test_an_error_that_cannot_be_sent_is_told_in_words(faults: Replicas) -> None:
    with pytest.raises(RuntimeError, match="OddError: very odd"):
        fill(faults, asking_for(ODD))
    assert fill(faults, asking_for(FINE)).nfe.tolist() == [2]


def test_halved_batches_of_a_replica_are_said() -> None:
    """The first replica's rows are one at the first step, and two afterwards; the second one's are four at once."""
    with Replicas(tight, TWO) as pool:
        alone = fill(pool, asking_for(0, 0, 1, 1, 2, 3, 4, 5), same_plan((3,), 8), batch=4)
        assert alone.nfe.tolist() == [1] * 8
        assert pool.working_batches(4) == [4, 2] and pool.working_batches(1) == [1, 1]
        sampler = SimpleNamespace(batch=4)
        run: Any = SimpleNamespace(evaluator=SimpleNamespace(sampler=sampler), replicas=pool)
        told = "batches of 4 rows ran out of memory in replica 2 of 2 on cpu, 2 worked; set sampler.batch to 2"
        assert [note.said for note in memory_notes(run)] == [told]
        sampler.batch = 2
        assert list(memory_notes(run)) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_for_the_parent(faults: Replicas, number: signal.Signals) -> None:
    for replica in faults.running:
        assert replica.process.pid is not None
        os.kill(replica.process.pid, number)
    time.sleep(0.1)
    assert fill(faults, asking_for(FINE, FINE)).nfe.tolist() == [2, 2]


def test_a_denoiser_that_cannot_be_built(tmp_path: Path) -> None:
    pool = Replicas(partial(absent, tmp_path), ("cpu",))
    with pytest.raises(InputError, match=r"no checkpoint at .*: config\.json is missing") as told, pool:
        pass
    assert str(tmp_path) in str(told.value)
    with pytest.raises(RunError, match="no replica runs"):
        fill(pool, asking_for(FINE))


def test_a_replica_that_dies_at_work_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, though the other one is busy for a minute; then none is left."""
    monkeypatch.setattr(module, "available_cpus", lambda: 6)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with Replicas(faulty, TWO) as pool:
        with pytest.raises(ValueError, match="1 threads"):  # the three of its share are more than the user allows
            fill(pool, asking_for(ERROR))
        running, began = list(pool.running), time.monotonic()
        expected = r"replica 2 of 2 on cpu was ended by signal 9 \(Killed\); .* ran out of memory.* --resume"
        with pytest.raises(RunError, match=expected):
            fill(pool, asking_for(SLEEP, DIE))
        assert time.monotonic() - began < 20
        assert not any(replica.process.is_alive() for replica in running)
        with pytest.raises(RunError, match="no replica runs"):
            fill(pool, asking_for(FINE))


def test_a_replica_that_died_between_calls_is_named() -> None:
    with Replicas(faulty, ("cpu",)) as pool:
        process = pool.running[0].process
        process.kill()
        process.join()
        with pytest.raises(RunError, match="replica 1 of 1 on cpu was ended by signal 9"):
            fill(pool, asking_for(FINE))


@contextmanager
def started(function: str) -> Iterator[subprocess.Popen[str]]:
    """A process, in a group of its own, that calls a function of ``tests.pools``; its replicas share its output."""
    with subprocess.Popen(
        [sys.executable, "-c", f"from tests import pools; pools.{function}()"],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("ctrl_c", [False, True], ids=["parent killed", "ctrl-c"])
def test_no_replica_outlives_its_parent(ctrl_c: bool) -> None:
    """Both replicas sleep when their parent goes; their common output ends once all of them have."""
    with started("keep_busy") as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in TWO] == ["busy\n"] * 2
        if ctrl_c:
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.kill()
        _, said = process.communicate(timeout=30)
    assert process.returncode == (-signal.SIGINT if ctrl_c else -signal.SIGKILL)
    assert said.count("Traceback") == said.count("KeyboardInterrupt\n") == ctrl_c


def test_replicas_that_nobody_stops_end_with_the_program() -> None:
    with started("forget_to_stop") as process:
        assert process.communicate(timeout=30) == ("", "") and process.returncode == 0


def test_replicas_run_inside_a_with_block() -> None:
    pool = Replicas(faulty, TWO)
    for call in (
        fill,
        lambda pool, tokens: pool.predictions(tokens, tokens == 6, tokens, names=None, batch=1, where=""),
    ):
        with pytest.raises(RunError, match="no replica runs: they do so inside a with block"):
            call(pool, asking_for(FINE))
