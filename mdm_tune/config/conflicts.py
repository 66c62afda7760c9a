"""Pairs of settings that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mdm_tune.config.plugins import METRICS
from mdm_tune.core.messages import quantity
from mdm_tune.core.problems import shown

__all__ = ["CHECKED_PATHS", "conflicts"]

CHECKED_PATHS = (
    "model.type",
    "dataset.type",
    "sampler.order",
    "sampler.reveal",
    "sampler.type",
    "sampler.temperature",
    "sampler.top_p",
    "sampler.confidence_temperature",
    "sampler.tempered_scores",
    "sampler.guidance",
    "sampler.end_drawn",
    "sampler.end_confident",
    "sampler.stop_at_end",
    "sampler.block_length",
    "sampler.block_steps",
    "sampler.steps",
    "search.shared",
    "dataset.template",
    "dataset.generation_length",
    "objective.metric",
    "objective.answers",
    "dataset.tune",
    "profile.examples",
    "metrics.agreement",
    "metrics.regex",
    "metrics.generative_nll",
    "metrics.custom",
    "search.policies",
    "search.trials",
    "search.frontier",
)
EXAMPLES = ("jsonl", "csv", "lines", "datasets")  # data sets with fields of text
BENCHMARKS = ("lm-eval", "humaneval", "mbpp")  # data sets with a metric of their own
ANSWER_METRICS = ("exact_match", "regex", "generative_nll", "custom")
END_CONFIDENT = "sampler.end_confident"
WITHOUT_SAMPLES = ("nelbo", "path_nll", "order_kl", "kl", "tv")
CONTEXT_ORDERS = "top-probability, margin, entropy"


def conflicts(values: Mapping[str, Any], exact_laws: Sequence[str]) -> Iterator[str]:
    """The messages of all pairs of settings that contradict each other.

    Args:
        values: the settings at ``CHECKED_PATHS``; None for a setting that is itself invalid. Without a dataset section,
            ``dataset.type`` is "none".
        exact_laws: the model types whose law is known exactly.

    Yields:
        One line for each pair: rule, value and remedy.
    """
    order, reveal, metric = values["sampler.order"], values["sampler.reveal"], values["objective.metric"]
    if reveal == "bernoulli" and order not in ("random", None):
        yield (
            f"sampler.order: reveal bernoulli needs order random, because ancestral reveal picks its positions "
            f"by itself, got {shown(order)}; set sampler.order to random, or sampler.reveal to fixed"
        )
    if metric == "path_nll":
        yield from path_nll_conflicts(values)
    elif metric in ("nelbo", "order_kl"):
        yield from random_order_conflicts(values)
    elif metric == "spelling":
        yield from spelling_conflicts(values)
    elif metric in ANSWER_METRICS:
        yield from answer_conflicts(values)
    elif metric == "task":
        yield from task_conflicts(values)
    elif isinstance(metric, str) and metric not in METRICS:  # a plugin
        yield from answer_conflicts(values)
    if metric in ("nelbo", "path_nll"):
        yield from likelihood_conflicts(values)
    yield from own_answer_conflicts(values)
    yield from shared_conflicts(values)
    yield from source_conflicts(values, exact_laws)
    yield from block_conflicts(values)
    yield from drawing_conflicts(values)
    yield from external_conflicts(values)
    yield from policy_conflicts(values)
    examples, tune = values["profile.examples"], values["dataset.tune"]
    if isinstance(tune, Mapping):  # the examples of another task
        tune = tune.get("examples")
    if isinstance(examples, int) and isinstance(tune, int) and examples > tune:
        yield (
            f"profile.examples: must be at most dataset.tune, whose examples the profile is measured on ({tune}), got "
            f"{examples}; lower it or raise dataset.tune"
        )


def policy_conflicts(values: Mapping[str, Any]) -> Iterator[str]:
    """The messages about adaptive policies that are searched."""
    policies, trials = values["search.policies"], values["search.trials"]
    if values["search.frontier"] is True and values["sampler.reveal"] == "bernoulli":
        yield (
            "search.frontier: the frontier compares with one token per step, which ancestral (bernoulli) reveal does "
            "not have; set sampler.reveal to fixed, or leave search.frontier out"
        )
    if not isinstance(policies, list | tuple):
        return
    if isinstance(trials, int) and trials < len(policies):
        yield (
            f"search.trials: each of the {len(policies)} policies needs a trial, got {trials}; raise it, or leave "
            "policies out of search.policies"
        )
    adaptive = [policy for policy in policies if policy != "counts"]
    if not adaptive:
        return
    order, named = values["sampler.order"], ", ".join(map(str, adaptive))
    if values["sampler.type"] == "external":  # the other settings are then those of other code
        yield (
            f"search.policies: {named} is carried out by this package's sampler, got sampler.type 'external'; leave "
            "all but counts out, or set sampler.type to builtin"
        )
        return
    if order == "random":
        yield (
            f"search.policies: {named} reveals what the predictions are sure of, which has no meaning in random order; "
            "set sampler.order to confidence, or leave all but counts out"
        )
    if order == "entropy" and (by_probability := [policy for policy in adaptive if policy != "entropy-bound"]):
        yield (
            f"search.policies: {', '.join(by_probability)} compares probabilities with a threshold, got sampler.order "
            "'entropy'; set it to confidence, top-probability or margin, or leave all but counts and entropy-bound out"
        )
    if values["sampler.reveal"] == "bernoulli":
        yield (
            f"search.policies: {named} decides how many positions each step reveals, and so does ancestral (bernoulli) "
            "reveal; set sampler.reveal to fixed"
        )
    if (temperature := values["sampler.confidence_temperature"]) not in (0, None):
        yield (
            f"search.policies: {named} reveals by confidence alone: sampler.confidence_temperature must be 0, got "
            f"{shown(temperature)}; leave it out"
        )
    if (metric := values["objective.metric"]) in WITHOUT_SAMPLES:
        yield (
            f"search.policies: {named} decides by what is drawn, and metric {metric} draws nothing; choose a metric of "
            "samples, or leave all but counts out"
        )


def shared_conflicts(values: Mapping[str, Any]) -> Iterator[str]:
    steps, size = values["sampler.steps"], values["sampler.block_length"]
    if not values["search.shared"]:
        return
    policies = values["search.policies"]
    if isinstance(policies, list | tuple) and list(policies) != ["counts"]:
        yield (
            f"search.shared: one schedule for all budgets needs search.policies [counts], got {shown(list(policies))}; "
            "leave the others out, or set search.shared to false"
        )
    if isinstance(steps, list | tuple) and len(steps) < 2:
        yield (
            "search.shared: one schedule for all budgets needs several of them, got sampler.steps "
            f"{shown(list(steps))}; add budgets, or set search.shared to false"
        )
    if isinstance(size, list | tuple) and len(size) > 1:
        yield (
            f"search.shared: one schedule for all budgets needs one block length, got {shown(list(size))}; give one "
            "sampler.block_length, or set search.shared to false"
        )


def block_conflicts(values: Mapping[str, Any]) -> Iterator[str]:
    size, metric = values["sampler.block_length"], values["objective.metric"]
    sizes = list(size) if isinstance(size, list | tuple) else [size]
    size = sizes[0] if len(sizes) == 1 else sizes
    if size is None:
        if values["sampler.block_steps"] == "tuned":
            yield (
                "sampler.block_steps: tuned shares the steps out among blocks, got no block_length; set "
                "sampler.block_length, or leave block_steps out"
            )
        return
    length = values["dataset.generation_length"]  # of every row, unless a template gives the sizes of its holes
    if isinstance(length, int) and not values["dataset.template"]:
        divisors = [divisor for divisor in range(1, length + 1) if length % divisor == 0]
        if not set(sizes) <= set(divisors):
            yield (
                f"sampler.block_length: must divide dataset.generation_length, {quantity(length, 'token')}, "
                f"got {shown(size)}; choose one of {', '.join(map(str, divisors))}, or another generation_length"
            )
    if values["sampler.reveal"] == "bernoulli":
        yield (
            f"sampler.block_length: blocks need reveal fixed, because ancestral reveal picks its positions by itself, "
            f"got {shown(size)} with reveal 'bernoulli'; set sampler.reveal to fixed, or leave block_length out"
        )
    if metric in ("kl", "tv"):
        yield (
            f"sampler.block_length: metric {metric} is computed for one block only, got {shown(size)}; set "
            "objective.metric to order_kl, nelbo or path_nll, or leave block_length out"
        )


def drawing_conflicts(values: Mapping[str, Any]) -> Iterator[str]:
    """Settings of drawing tokens that exclude each other."""
    order = values["sampler.order"]
    ranking = {"confidence_temperature": 0.0, "tempered_scores": False, "end_confident": True}
    for name, off in ranking.items():
        value = values[f"sampler.{name}"]
        if order == "random" and value is not None and value != off:
            yield (
                f"sampler.{name}: needs an order that ranks positions, got {shown(value)} with order 'random'; set "
                "sampler.order to confidence, or leave it out"
            )
    if values["sampler.stop_at_end"] and values["sampler.end_drawn"] is False:
        yield (
            "sampler.stop_at_end: needs tokens that end the text, got true with end_drawn false, which never draws "
            "them; leave one of them out"
        )


def external_conflicts(values: Mapping[str, Any]) -> Iterator[str]:
    """Settings that external code ignores, because it draws tokens itself."""
    if values["sampler.type"] != "external":
        return
    if values["sampler.reveal"] == "bernoulli":
        yield (
            "sampler.reveal: external code receives counts, which ancestral reveal does not have, got 'bernoulli'; set "
            "sampler.reveal to fixed"
        )
    plain = {"order": "random", "temperature": 1.0, "top_p": 1.0, "confidence_temperature": 0.0}
    plain |= {"tempered_scores": False, "guidance": 0.0, "end_drawn": True, "end_confident": True, "stop_at_end": False}
    for name, off in plain.items():
        value = values[f"sampler.{name}"]
        if value is not None and value != off:
            yield (
                f"sampler.{name}: external code draws tokens by itself and does not receive this setting, got "
                f"{shown(value)}; leave it out, and pass it to your code in sampler.options"
            )


def likelihood_conflicts(values: Mapping[str, Any]) -> Iterator[str]:
    """Settings without a meaning for likelihood metrics, which reveal the data's own tokens."""
    metric = values["objective.metric"]
    off = {"top_p": 1.0, "confidence_temperature": 0.0, "end_drawn": True, "end_confident": True, "stop_at_end": False}
    for name, plain in off.items():
        value = values[f"sampler.{name}"]
        if value is not None and value != plain:
            yield (
                f"sampler.{name}: metric {metric} measures the likelihood of the data under the model's predictions, "
                f"got {shown(value)}, which changes how tokens are drawn; leave it out, or choose a metric of answers"
            )
    if values["sampler.type"] == "external":
        yield (
            f"sampler.type: metric {metric} needs the probabilities of tokens, which external code does not return; "
            "choose a metric of answers, or set sampler.type to builtin"
        )


def answer_conflicts(values: Mapping[str, Any]) -> Iterator[str]:
    metric, dataset = values["objective.metric"], values["dataset.type"]
    if dataset in ("text", "law", "none"):
        got = "no dataset" if dataset == "none" else shown(dataset)
        yield (
            f"objective.metric: {metric} judges answers of examples with fields, got {got}; set dataset.type to one "
            f"of {', '.join((*EXAMPLES, *BENCHMARKS))}"
        )
    if metric in ("regex", "generative_nll", "custom") and not values[f"metrics.{metric}"]:
        needed = {"regex": "{pattern: '#### (.*)'}", "generative_nll": "{model: gpt2-large}"}
        example = needed.get(metric, '{target: "metric.py:score", direction: maximize}')
        yield f"metrics.{metric}: is required by objective.metric and is missing; add `{metric}: {example}`"


def own_answer_conflicts(values: Mapping[str, Any]) -> Iterator[str]:
    """Settings without a meaning for metrics that judge by the model's own answers at one token per step."""
    metric, own = values["objective.metric"], values["objective.answers"] == "model"
    if own and metric not in (None, "path_nll", "agreement"):
        other = "profile.answers to model" if metric == "nelbo" else "objective.metric to path_nll or agreement"
        yield f"objective.answers: model goes with metric path_nll, got metric {shown(metric)}; set {other}"
    agreement = metric == "agreement" or values["metrics.agreement"] is not None
    if agreement:
        name = "agreement" if metric == "agreement" else "metrics.agreement"
        yield from agreement_conflicts(values, name)
    elif metric != "path_nll" or not own:
        return
    order, dataset = values["sampler.order"], values["dataset.type"]
    if values["sampler.temperature"] == 0 and order not in ("random", None) and dataset in ("text", "law"):
        name = "agreement" if agreement else "path_nll on the model's own answers"
        yield (
            f"sampler.temperature: {name} needs answers that differ, and at temperature 0 order {shown(order)} fills "
            f"every example of type {dataset} with the same tokens, got 0; set a temperature above 0, or a dataset "
            "with prompts"
        )


def agreement_conflicts(values: Mapping[str, Any], name: str) -> Iterator[str]:
    order, temperature = values["sampler.order"], values["sampler.temperature"]
    if values["dataset.type"] == "none":
        yield (
            f"objective.metric: {name} is measured on examples, got no dataset; add a dataset section, of type law if "
            "the model is an exact law"
        )
    if values["sampler.type"] == "external":
        yield (
            f"sampler.type: {name} compares with the model's own answers at one token per step from the same noise, "
            "and external code draws noise of its own; choose a metric of answers, or set sampler.type to builtin"
        )
    if values["sampler.reveal"] == "bernoulli":
        yield (
            f"sampler.reveal: {name} compares with answers at one token per step, which ancestral reveal does not "
            "have, got 'bernoulli'; set sampler.reveal to fixed"
        )
    if temperature is not None and temperature != 0:
        redrawn = {"order 'confidence'": order == "confidence", "end_confident false": not values[END_CONFIDENT]}
        for setting in (text for text, is_on in redrawn.items() if is_on and values[END_CONFIDENT] is not None):
            yield (
                f"sampler.temperature: {name} compares answers from the same noise, and {setting} draws each token "
                f"anew at every step, got temperature {shown(temperature)}; set temperature 0, or sampler.order to "
                f"{CONTEXT_ORDERS} or random"
            )
    if values["sampler.confidence_temperature"]:
        yield (
            f"sampler.confidence_temperature: {name} compares answers from the same noise, and with a confidence "
            f"temperature the positions are drawn anew at every step, got "
            f"{shown(values['sampler.confidence_temperature'])}; set it to 0"
        )


def task_conflicts(values: Mapping[str, Any]) -> Iterator[str]:
    dataset = values["dataset.type"]
    if dataset is not None and dataset not in BENCHMARKS:
        got = "no dataset" if dataset == "none" else shown(dataset)
        yield (
            f"objective.metric: task is the metric of a benchmark, got {got}; set dataset.type to one of "
            f"{', '.join(BENCHMARKS)}, or choose another metric"
        )


def spelling_conflicts(values: Mapping[str, Any]) -> Iterator[str]:
    if values["sampler.temperature"] == 0 and values["sampler.order"] not in ("random", None):
        yield (
            f"sampler.temperature: metric spelling needs samples that differ, and at temperature 0 order "
            f"{shown(values['sampler.order'])} fills every example with the same text, got 0; set a temperature above 0"
        )


def path_nll_conflicts(values: Mapping[str, Any]) -> Iterator[str]:
    order, temperature = values["sampler.order"], values["sampler.temperature"]
    if values["sampler.reveal"] == "bernoulli":
        yield (
            "sampler.reveal: metric path_nll needs reveal fixed, got 'bernoulli'; set sampler.reveal to fixed, "
            "or objective.metric to nelbo"
        )
    if order == "random":
        yield (
            f"sampler.order: metric path_nll needs an order that follows from the predictions ({CONTEXT_ORDERS}), "
            f"got 'random'; set one of these, or objective.metric to nelbo"
        )
    if temperature is None:
        return
    if order == "confidence" and temperature != 0:
        yield (
            f"sampler.order: metric path_nll is not defined for an order that depends on the drawn token, got "
            f"'confidence' at temperature {shown(temperature)}; use {CONTEXT_ORDERS}, or set sampler.temperature to 0"
        )
    elif temperature not in (0, 1):
        yield (
            f"sampler.temperature: must be 1 for metric path_nll, which computes probabilities at temperature 1, or 0 "
            f"to measure the order alone, got {shown(temperature)}; set 1 or 0"
        )


def random_order_conflicts(values: Mapping[str, Any]) -> Iterator[str]:
    order, temperature, metric = values["sampler.order"], values["sampler.temperature"], values["objective.metric"]
    if order not in ("random", None):
        other = "path_nll" if metric == "nelbo" else "kl"
        yield (
            f"sampler.order: metric {metric} needs order random, got {shown(order)}; set sampler.order to random, "
            f"or objective.metric to {other}"
        )
    if temperature not in (1, None):
        yield (
            f"sampler.temperature: metric {metric} computes probabilities at temperature 1, got {shown(temperature)}; "
            f"set sampler.temperature to 1.0"
        )


def source_conflicts(values: Mapping[str, Any], exact_laws: Sequence[str]) -> Iterator[str]:
    """What the metric requires of model and dataset, and the dataset of the model."""
    metric, model, dataset = values["objective.metric"], values["model.type"], values["dataset.type"]
    known_law = model is None or model in exact_laws
    laws = ", ".join(exact_laws)
    if metric in ("kl", "tv", "order_kl") and not known_law:
        yield (
            f"objective.metric: {metric} needs a model whose law is known exactly ({laws}), got {shown(model)}; "
            f"set objective.metric to spelling, nelbo or path_nll"
        )
    if metric == "spelling" and dataset not in ("text", None):
        got = "no dataset" if dataset == "none" else shown(dataset)
        yield f"objective.metric: spelling needs a dataset of type text, got {got}; add one with type: text"
    if metric in ("nelbo", "path_nll") and dataset == "none":
        yield (
            f"objective.metric: {metric} is measured on examples, got no dataset; add a dataset section of type "
            f"text or jsonl, or law if the model is an exact law"
        )
    if dataset == "text" and model not in (None, "transformer", *exact_laws):
        yield (
            f"dataset.type: text cuts windows of characters for models of single characters, got model {shown(model)}; "
            "set dataset.type to lines, or to jsonl with text: FIELD"
        )
    if dataset not in (None, "none", "text", "law") and model in exact_laws:
        yield (
            f"dataset.type: {dataset} holds text, and an exact law has data of its own, got model {shown(model)}; set "
            "dataset.type to law"
        )
    if dataset == "law" and not known_law:
        yield (
            f"dataset.type: law draws its examples from an exact model ({laws}), got model {shown(model)}; "
            f"set dataset.type to text"
        )
