"""Our sampler as a model of lm-evaluation-harness, which requests answers and likelihoods of texts."""

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
from mdm_tune.evaluation.filling import Rows
from mdm_tune.evaluation.scores import Cost
from mdm_tune.evaluation.settings import Setting
from mdm_tune.run.build import Run
from mdm_tune.sampling.unmasking import Unmasked

__all__ = ["HarnessModel"]


class HarnessModel(LM):  # type: ignore[misc]  # the harness ships no types
    """One setting of a run's sampler. The harness makes the prompts and scores the answers.

    The noise of a document follows from its id. So its answer equals the one that ``mdm-tune evaluate`` draws for the
    example with this id.

    Attributes:
        run: The run.
        setting: The setting that fills the rows.
        name: Returns the id of a document, from the task's name and the number of the document.
        prefix: Text before each prompt.
        draws: Random paths over which a likelihood is averaged.
        answers: By id, the drawn text as the task received it, and its NFE.
        nfe: The NFE of every row, those of likelihoods included.
        cost: The cost of all rows, those of likelihoods included.
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
        """An answer of the run's length to each prompt, cut at the first of its stop texts.

        Sampler and length are the config's. Of the task's generation settings, only ``until`` has an effect.
        """
        hole = Hole(None, self.run.evaluator.length)
        dataset = self._dataset(
            [self._example(self._id(request), self.prefix + request.args[0], hole, request) for request in requests]
        )
        split = dataset.splits["report"]
        (result,) = self._fill(Rows([self.setting], split.start, split.seeds))
        texts = [
            before_stop(text, _stop_texts(request.args[1]))
            for text, request in zip(dataset.completions(result.tokens, split), requests, strict=True)
        ]
        for name, text, calls in zip(split.ids, texts, result.nfe.tolist(), strict=True):
            self.answers[name] = {"nfe": calls, "text": text}
        return texts

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """log p(continuation | context) in nats, and whether the sampler draws exactly this continuation.

        In random order the first is the mean over ``draws`` random paths, a lower bound in expectation (NELBO). In an
        order that follows from the predictions it is the log-likelihood along the one path of the sampler. A
        continuation of n tokens is revealed in the steps of the setting, or in n steps if the setting has more. A step
        across the end of a block is split there.

        Raises:
            InputError: If the sampler has no likelihood.
        """
        self._check_likelihood()
        random = self.run.config.sampler.order == "random"
        draws = self.draws if random else 1
        wanted = [
            self._example(f"{self._id(request)}/{request.idx}/{draw}", context, Hole(continuation), request)
            for request in requests
            for context, continuation in (_moved_space(self.prefix + request.args[0], request.args[1]),)
            for draw in range(draws)
        ]
        split = self._dataset(wanted).splits["report"]
        first = split.take(range(0, len(wanted), draws))
        scored, sampled = self._fill(
            Rows(settings=[self.setting], start=split.start, seeds=split.seeds, reference=split.originals),
            Rows([self.setting], first.start, first.seeds),
        )
        assert scored.nll is not None
        values: NDArray[np.float64] = -scored.nll.double().numpy().reshape(-1, draws).mean(1)
        drawn = (sampled.tokens == first.originals).all(1)
        return list(zip(values.tolist(), drawn.tolist(), strict=True))

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Raise InputError, since the likelihood of a text longer than the model depends on how it is cut."""
        raise InputError(
            f"task {requests[0].task_name} asks for the likelihood of whole texts (loglikelihood_rolling), which for a "
            "masked diffusion model depends on how they are cut; use mdm-tune evaluate with dataset.type lines or "
            "datasets and objective.metric nelbo"
        )

    def apply_chat_template(self, chat_history: Messages, add_generation_prompt: bool = True) -> str:
        """The messages in the model's chat template. Raises InputError if the model has none."""
        return templated(partial(chat_prompt, self.run.model.codec), chat_history, add_generation_prompt)

    @property
    def tokenizer_name(self) -> str:
        """The name by which the harness stores rendered prompts."""
        return f"mdm-tune-{self.run.model.fingerprint}"

    def _id(self, request: Any) -> str:
        return self.name(str(request.task_name), int(request.doc_id))

    def _example(self, name: str, text: str, hole: Hole, request: Any) -> Example:
        """A document of a task as an example. Documents of the run treat special tokens as the run does."""
        pieces = (text, hole) if text else (hole,)
        own = self._own.get(name)
        if own is not None and own.pieces[0] == text:
            return Example(name, pieces, plain=own.plain)
        return Example(
            name, pieces, plain=plain_places(self.run.model.codec, pieces, [getattr(request, "doc", None) or {}])
        )

    def _dataset(self, examples: Sequence[Example]) -> Dataset:
        """The rows of these examples, with the noise that they would have in the report split."""
        model = self.run.model
        mask_id = self.run.evaluator.denoiser.mask_id
        return example_dataset({"report": examples}, model.codec, mask_id, self.run.config.seed, longest=model.length)

    def _fill(self, *wanted: Rows) -> list[Unmasked]:
        """Fill the rows, and add their NFE and cost to the totals."""
        results = []
        began = time.monotonic()
        for result in self.run.evaluator.fill_each(wanted):
            results.append(result)
            self.cost += Cost(result.denoiser_rows, result.denoiser_tokens)
            self.nfe += result.nfe.double().tolist()
        self.cost += Cost(seconds=time.monotonic() - began)
        return results

    def _check_likelihood(self) -> None:
        """Raise InputError if the sampler has no likelihood."""
        if (plan := self.setting.adaptive) is not None:
            raise InputError(
                f"the task asks for likelihoods, and {plan.name} decides by what is drawn, got no likelihood; name a "
                "schedule such as linear with --schedule"
            )
        config = self.run.config
        metric = "nelbo" if config.sampler.order == "random" else "path_nll"
        problems = conflicts_in({**config.model_dump(), "objective": {"metric": metric}}, set())
        if config.sampler.guidance:
            problems.append("sampler.guidance: changes what is drawn, got no likelihood; leave it out")
        if problems:
            raise InputError(f"the task asks for likelihoods, as metric {metric} measures them: " + "\n".join(problems))


def _moved_space(context: str, continuation: str) -> tuple[str, str]:
    """Both texts with white space moved from the end of the context to the continuation, where tokens have it."""
    stripped = context.rstrip()
    return stripped, context[len(stripped) :] + continuation


def _stop_texts(settings: dict[str, Any]) -> tuple[str, ...]:
    """The texts that end an answer, by the generation settings of a task."""
    until = settings.get("until") or ()
    return tuple(text for text in ([until] if isinstance(until, str) else until) if text)
