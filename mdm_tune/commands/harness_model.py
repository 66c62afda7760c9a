"""Our sampler as a model of lm-evaluation-harness, which asks it for answers and for likelihoods of texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from lm_eval.api.model import LM
from numpy.typing import NDArray

from mdm_tune.benchmarks.single_task import Messages, templated
from mdm_tune.benchmarks.task_benchmark import before_stop
from mdm_tune.config.file import conflicts_in
from mdm_tune.config.templates import Hole
from mdm_tune.core.errors import InputError
from mdm_tune.core.text import chat_prompt
from mdm_tune.datasets.examples import Example
from mdm_tune.datasets.rows import example_dataset
from mdm_tune.datasets.specials import plain_places
from mdm_tune.datasets.splits import Dataset
from mdm_tune.evaluation.evaluator import Cost
from mdm_tune.evaluation.filling import Rows
from mdm_tune.evaluation.settings import Setting
from mdm_tune.run.build import Run
from mdm_tune.sampling.unmasking import Unmasked

__all__ = ["HarnessModel"]


class HarnessModel(LM):  # type: ignore[misc]  # the harness ships no types
    """One setting of a run's sampler; the harness's own code makes the prompts and judges what comes back.

    name: from a task's name and the number of a document to its id, which its noise belongs to. So a document gets the
    very answer that ``mdm-tune evaluate`` draws for the example with this id. prefix: before each prompt. draws: random
    paths that a likelihood is averaged over. answers: by id the text that was drawn so far, as the task got it, and the
    denoiser calls that it waited for. nfe and cost: of all rows, those of likelihoods too.
    """

    def __init__(
        self, run: Run, setting: Setting, name: Callable[[str, int], str], *, prefix: str = "", draws: int = 16
    ) -> None:
        super().__init__()
        self.run, self.setting, self.name, self.prefix, self.draws = run, setting, name, prefix, draws
        self.answers: dict[str, dict[str, Any]] = {}
        listed = () if run.dataset is None else run.dataset.splits["report"].examples
        self._own = {example.id: example for example in listed}
        self.nfe: list[float] = []
        self.cost = Cost()

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """An answer of the run's length to each prompt, without what follows one of the texts that end it.

        Sampler and length are the config's: of a task's settings for generation only ``until`` is heeded.
        """
        hole = Hole(None, self.run.evaluator.length)
        dataset = self._dataset(
            [self._example(self._id(each), self.prefix + each.args[0], hole, each) for each in requests]
        )
        split = dataset.splits["report"]
        (result,) = self._fill(Rows([self.setting], split.start, split.seeds))
        texts = [
            before_stop(text, _ends(each.args[1]))
            for text, each in zip(dataset.completions(result.tokens, split), requests, strict=True)
        ]
        for name, text, calls in zip(split.ids, texts, result.nfe.tolist(), strict=True):
            self.answers[name] = {"nfe": calls, "text": text}
        return texts

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """log p(continuation | context) along the sampler's path, and whether the sampler draws that continuation.

        In random order and with ancestral reveal the first is a lower bound in expectation (NELBO), averaged over
        ``draws`` paths; in an order that follows from the predictions it is the likelihood along that one path. Both
        are those of the setting: a continuation of n tokens is revealed in as many steps, or n where these are fewer;
        a step across the end of a block is split there.

        Raises InputError where the sampler has no likelihood.
        """
        self._check_likelihood()
        random = self.run.config.sampler.order == "random"
        draws = self.draws if random else 1
        wanted = [
            self._example(f"{self._id(each)}/{each.idx}/{draw}", context, Hole(continuation), each)
            for each in requests
            for context, continuation in (_parted(self.prefix + each.args[0], each.args[1]),)
            for draw in range(draws)
        ]
        split = self._dataset(wanted).splits["report"]
        first = split.take(range(0, len(wanted), draws))
        found, sampled = self._fill(
            Rows(settings=[self.setting], start=split.start, seeds=split.seeds, reference=split.originals),
            Rows([self.setting], first.start, first.seeds),
        )
        assert found.nll is not None
        values: NDArray[np.float64] = -found.nll.double().numpy().reshape(-1, draws).mean(1)
        drawn = (sampled.tokens == first.originals).all(1)
        return list(zip(values.tolist(), drawn.tolist(), strict=True))

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Raises InputError: a text longer than the model has no likelihood that windows would not change."""
        raise InputError(
            f"task {requests[0].task_name} asks for the likelihood of whole texts (loglikelihood_rolling), which for a "
            "masked diffusion model depends on how they are cut; use mdm-tune evaluate with dataset.type lines or "
            "datasets and objective.metric nelbo"
        )

    def apply_chat_template(self, chat_history: Messages, add_generation_prompt: bool = True) -> str:
        """The messages in the model's chat template; raises InputError where it has none."""
        return templated(partial(chat_prompt, self.run.model.codec), chat_history, add_generation_prompt)

    @property
    def tokenizer_name(self) -> str:
        """What the harness names its caches of prompts by."""
        return f"mdm-tune-{self.run.model.fingerprint}"

    def _id(self, request: Any) -> str:
        return self.name(str(request.task_name), int(request.doc_id))

    def _example(self, name: str, text: str, hole: Hole, request: Any) -> Example:
        """A document of a task as an example; of the run's own documents, with special tokens read as the run does."""
        pieces = (text, hole) if text else (hole,)
        own = self._own.get(name)
        if own is not None and own.pieces[0] == text:
            return Example(name, pieces, plain=own.plain)
        return Example(
            name, pieces, plain=plain_places(self.run.model.codec, pieces, [getattr(request, "doc", None) or {}])
        )

    def _dataset(self, examples: Sequence[Example]) -> Dataset:
        """The rows of these examples with the noise that they have in the report split."""
        model = self.run.model
        mask_id = self.run.evaluator.denoiser.mask_id
        return example_dataset({"report": examples}, model.codec, mask_id, self.run.config.seed, longest=model.length)

    def _fill(self, *wanted: Rows) -> list[Unmasked]:
        found = []
        began = time.monotonic()
        for result in self.run.evaluator.fill_each(wanted):
            found.append(result)
            self.cost += Cost(result.denoiser_rows, result.denoiser_tokens)
            self.nfe += result.nfe.double().tolist()
        self.cost += Cost(seconds=time.monotonic() - began)
        return found

    def _check_likelihood(self) -> None:
        config = self.run.config
        metric = "nelbo" if config.sampler.order == "random" else "path_nll"
        problems = conflicts_in({**config.model_dump(), "objective": {"metric": metric}}, set())
        if config.sampler.guidance:
            problems.append("sampler.guidance: changes what is drawn, got no likelihood; leave it out")
        if problems:
            raise InputError(f"the task asks for likelihoods, as metric {metric} measures them: " + "\n".join(problems))


def _parted(context: str, continuation: str) -> tuple[str, str]:
    """White space at the end of a context belongs to the continuation, whose tokens begin with it."""
    kept = context.rstrip()
    return kept, context[len(kept) :] + continuation


def _ends(settings: dict[str, Any]) -> tuple[str, ...]:
    given = settings.get("until") or ()
    return tuple(text for text in ([given] if isinstance(given, str) else given) if text)
