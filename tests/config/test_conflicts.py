"""Settings of a config that contradict each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mdm_tune.config.file import Config
from mdm_tune.core.errors import InputError
from tests.support.configs import LAW, MARKOV, TEXT, TRANSFORMER, load, problems, whole

CONFLICTS = [
    # metric, sampler, dataset, model, the one line expected or None where the combination is legal
    ("kl", {"order": "confidence", "reveal": "bernoulli"}, None, MARKOV, "sampler.order: reveal bernoulli needs order"),
    ("kl", {"reveal": "bernoulli"}, None, MARKOV, None),
    ("kl", {"order": "confidence", "temperature": 0.5}, None, MARKOV, None),
    ("kl", {}, None, TRANSFORMER, "objective.metric: kl needs a model whose law is known exactly"),
    ("tv", {}, None, TRANSFORMER, "objective.metric: tv needs a model whose law is known exactly"),
    ("order_kl", {}, None, TRANSFORMER, "objective.metric: order_kl needs a model whose law is known exactly"),
    ("tv", {}, None, MARKOV, None),
    ("order_kl", {}, None, MARKOV, None),
    ("order_kl", {"order": "margin"}, None, MARKOV, "sampler.order: metric order_kl needs order random, got 'margin'"),
    ("order_kl", {"temperature": 2}, None, MARKOV, "sampler.temperature: metric order_kl computes"),
    ("nelbo", {}, LAW, MARKOV, None),
    ("nelbo", {"reveal": "bernoulli"}, TEXT, TRANSFORMER, None),
    ("nelbo", {}, None, MARKOV, "objective.metric: nelbo is measured on examples, got no dataset; add a dataset"),
    ("nelbo", {"order": "entropy"}, LAW, MARKOV, "got 'entropy'; set sampler.order to random, or objective.metric to"),
    ("nelbo", {"temperature": 0}, LAW, MARKOV, "sampler.temperature: metric nelbo computes probabilities"),
    ("path_nll", {"order": "margin"}, LAW, MARKOV, None),
    ("path_nll", {"order": "entropy", "temperature": 0}, TEXT, TRANSFORMER, None),
    ("path_nll", {"order": "confidence", "temperature": 0}, LAW, MARKOV, None),
    ("path_nll", {"order": "confidence"}, LAW, MARKOV, "'confidence' at temperature 1.0; use top-probability, margin"),
    ("path_nll", {}, LAW, MARKOV, "sampler.order: metric path_nll needs an order that follows from the predictions"),
    (
        "path_nll",
        {"order": "margin", "temperature": 0.5},
        LAW,
        MARKOV,
        "sampler.temperature: must be 1 for metric path_nll",
    ),
    ("path_nll", {"order": "top-probability"}, None, MARKOV, "objective.metric: path_nll is measured on examples"),
    ("order_kl", {"block_length": 2}, None, MARKOV, None),
    ("nelbo", {"block_length": 2}, TEXT, TRANSFORMER, None),
    ("nelbo", {"block_length": [2, 4], "block_steps": "tuned"}, TEXT, TRANSFORMER, None),
    (
        "nelbo",
        {"block_steps": "tuned"},
        TEXT,
        TRANSFORMER,
        "sampler.block_steps: tuned shares the steps out among blocks, got no block_length; set sampler.block_length",
    ),
    ("kl", {"block_length": [2, 4]}, None, MARKOV, "sampler.block_length: metric kl is computed for one block only, "),
    ("path_nll", {"block_length": 2, "order": "margin"}, LAW, MARKOV, None),
    ("spelling", {"block_length": 2}, TEXT, TRANSFORMER, None),
    ("kl", {"block_length": 2}, None, MARKOV, "sampler.block_length: metric kl is computed for one block only, got 2"),
    ("tv", {"block_length": 2}, None, MARKOV, "sampler.block_length: metric tv is computed for one block only, got 2"),
    (
        "order_kl",
        {"block_length": 2, "reveal": "bernoulli"},
        None,
        MARKOV,
        "sampler.block_length: blocks need reveal fixed, because ancestral reveal picks its positions by itself, got 2",
    ),
    ("spelling", {"order": "confidence"}, TEXT, TRANSFORMER, None),
    ("spelling", {"order": "random", "temperature": 0}, TEXT, TRANSFORMER, None),
    (
        "spelling",
        {"order": "margin", "temperature": 0},
        TEXT,
        TRANSFORMER,
        "order 'margin' fills every example with the",
    ),
    ("spelling", {}, None, TRANSFORMER, "objective.metric: spelling needs a dataset of type text, got no dataset"),
    ("spelling", {}, LAW, MARKOV, "objective.metric: spelling needs a dataset of type text, got 'law'"),
    ("agreement", {}, LAW, MARKOV, None),
    ("agreement", {"order": "margin", "temperature": 0.7}, TEXT, TRANSFORMER, None),
    ("agreement", {"order": "random", "temperature": 0}, LAW, MARKOV, None),
    ("agreement", {}, None, MARKOV, "objective.metric: agreement is measured on examples, got no dataset"),
    ("agreement", {"reveal": "bernoulli"}, LAW, MARKOV, "sampler.reveal: agreement compares with answers at one token"),
    (
        "agreement",
        {"order": "confidence"},
        LAW,
        MARKOV,
        "order 'confidence' draws each token anew at every step, got temperature 1.0; set temperature 0, or",
    ),
    (
        "agreement",
        {"order": "margin", "end_confident": False},
        LAW,
        MARKOV,
        "end_confident false draws each token anew at every step",
    ),
    (
        "agreement",
        {"order": "margin", "confidence_temperature": 0.1},
        LAW,
        MARKOV,
        "sampler.confidence_temperature: agreement compares answers from the same noise",
    ),
    (
        "agreement",
        {"order": "confidence", "temperature": 0},
        LAW,
        MARKOV,
        "sampler.temperature: agreement needs answers that differ, and at temperature 0 order 'confidence' fills",
    ),
    (
        "agreement",
        {"type": "external", "target": "run.py:generate"},
        LAW,
        MARKOV,
        "sampler.type: agreement compares with the model's own answers at one token per step",
    ),
    ("nelbo", {}, LAW, TRANSFORMER, "dataset.type: law draws its examples from an exact model"),
]


@pytest.mark.parametrize(("metric", "sampler", "dataset", "model", "expected"), CONFLICTS)
def test_settings_that_contradict_each_other(
    tmp_path: Path, metric: str, sampler: dict[str, Any], dataset: Any, model: Any, expected: str | None
) -> None:
    content = whole(objective={"metric": metric}, sampler={"steps": [2], **sampler}, dataset=dataset, model=model)
    if expected is None:
        assert load(tmp_path, content).objective.metric == metric
    else:
        (line,) = problems(tmp_path, content)
        assert expected in line


@pytest.mark.parametrize(
    ("metric", "sampler", "expected"),
    [
        ("path_nll", {"order": "margin"}, None),
        ("agreement", {"order": "margin"}, None),
        ("nelbo", {}, "objective.answers: model goes with metric path_nll, got metric 'nelbo'; set profile.answers to"),
        ("path_nll", {"order": "margin", "temperature": 0}, "sampler.temperature: path_nll on the model's own answers"),
    ],
)
def test_the_models_own_answers_go_with_path_nll(
    tmp_path: Path, metric: str, sampler: dict[str, Any], expected: str | None
) -> None:
    content = whole(objective={"metric": metric, "answers": "model"}, sampler={"steps": [2], **sampler}, dataset=LAW)
    if expected is None:
        assert load(tmp_path, content).objective.answers == "model"
    else:
        (line,) = problems(tmp_path, content)
        assert expected in line


def test_agreement_beside_another_metric_has_the_same_rules(tmp_path: Path) -> None:
    content = whole(
        objective={"metric": "spelling"},
        metrics={"agreement": {"whole": True}},
        sampler={"steps": [2], "order": "confidence"},
        dataset=TEXT,
        model=TRANSFORMER,
    )
    (line,) = problems(tmp_path, content)
    assert line.startswith("sampler.temperature: metrics.agreement compares answers from the same noise")
    content["sampler"]["order"] = "margin"
    assert load(tmp_path, content).metrics.agreement.whole


def test_a_profile_takes_no_more_examples_than_there_are(tmp_path: Path) -> None:
    data = {"objective": {"metric": "nelbo"}, "dataset": TEXT}
    assert load(tmp_path, whole(profile={"examples": 8}, **data)).profile.examples == 8
    (line,) = problems(tmp_path, whole(profile={"examples": 9}, **data))
    assert line.endswith("(8), got 9; lower it or raise dataset.tune")
    (line,) = problems(tmp_path, whole(profile={"examples": "many"}, **data))  # not judged against dataset.tune
    assert line.startswith("profile.examples: must be a whole number")


def test_path_nll_needs_counts(tmp_path: Path) -> None:
    """Bernoulli reveal forbids every order that path_nll needs, so two rules are broken at once."""
    sampler = {"steps": [2], "reveal": "bernoulli", "order": "margin"}
    lines = problems(tmp_path, whole(objective={"metric": "path_nll"}, sampler=sampler, dataset=LAW))
    assert [line.split(": ")[0] for line in lines] == ["sampler.order", "sampler.reveal"]


@pytest.mark.parametrize(
    ("metric", "wrong", "expected"),
    [
        ("kl", {"order": "confidence", "reveal": "bernouli"}, "sampler.reveal: must be one of fixed, bernoulli, got"),
        ("kl", {"order": "confidense", "reveal": "bernoulli"}, "got 'confidense'; did you mean 'confidence'?"),
        ("nelbo", {"order": "randm"}, "got 'randm'; did you mean 'random'?"),
        ("path_nll", {"order": "margin", "temperature": "hot"}, "sampler.temperature: must be a number, got 'hot'"),
        ("nelbo", {"temperature": "hot"}, "sampler.temperature: must be a number, got 'hot'"),
    ],
)
def test_a_wrong_setting_is_not_judged_against_others(
    tmp_path: Path, metric: str, wrong: dict[str, Any], expected: str
) -> None:
    content = whole(sampler={"steps": [2], **wrong}, objective={"metric": metric}, dataset=LAW)
    (line,) = problems(tmp_path, content)
    assert expected in line


def test_a_config_made_in_python_is_judged_too(tmp_path: Path) -> None:
    content = whole(objective={"metric": "nelbo"})
    with pytest.raises(InputError, match=r"^objective.metric: nelbo is measured on examples"):
        Config.model_validate({**content, "output": "x"})


@pytest.mark.parametrize(
    ("policies", "sampler", "metric", "expected"),
    [
        ("[counts]", {"order": "random"}, "spelling", None),
        ("[counts, threshold, klass]", {"order": "confidence"}, "spelling", None),
        ("[entropy-bound]", {"order": "entropy"}, "spelling", None),
        ("[counts, threshold]", {"order": "random"}, "spelling", "threshold reveals what the predictions are sure of"),
        (
            "[counts, quota, entropy-bound]",
            {"order": "entropy"},
            "spelling",
            "quota compares probabilities with a thre",
        ),
        ("[cap]", {"reveal": "bernoulli", "order": "random"}, "spelling", "so does ancestral (bernoulli) reveal"),
        ("[klass]", {"order": "confidence", "confidence_temperature": 0.5}, "spelling", "must be 0, got 0.5"),
        ("[threshold]", {"order": "margin"}, "path_nll", "metric path_nll draws nothing"),
        ("[counts, counts]", {"order": "confidence"}, "spelling", "must not repeat an entry"),
        ("[counts, treshold]", {"order": "confidence"}, "spelling", "treshold"),
        ("[]", {"order": "confidence"}, "spelling", "search.policies"),
    ],
)
def test_policies_that_have_no_meaning_are_refused(
    tmp_path: Path, policies: str, sampler: dict[str, Any], metric: str, expected: str | None
) -> None:
    document = whole(model=TRANSFORMER, dataset=TEXT, sampler={"steps": [4], **sampler}, objective={"metric": metric})
    flags = [f"search.policies={policies}"]
    if expected is None:
        load(tmp_path, document, *flags)
        return
    assert expected in "\n".join(problems(tmp_path, document, *flags))


def test_each_policy_needs_a_trial(tmp_path: Path) -> None:
    sampler = {"order": "confidence", "steps": [4]}
    document = whole(model=TRANSFORMER, dataset=TEXT, sampler=sampler, objective={"metric": "spelling"})
    flags = ["search.policies=[counts,threshold,klass]", "search.trials=2"]
    assert "each of the 3 policies needs a trial, got 2" in "\n".join(problems(tmp_path, document, *flags))


def test_other_code_with_an_adaptive_policy_has_one_reason(tmp_path: Path) -> None:
    """Its order is random by default, which says nothing of code that draws as it likes."""
    sampler = {"steps": [4], "type": "external", "target": "run.py:generate"}
    document = whole(model=TRANSFORMER, dataset=TEXT, sampler=sampler, objective={"metric": "spelling"})
    (line,) = problems(tmp_path, document, "search.policies=[threshold]")
    assert "threshold is carried out by this package's sampler, got sampler.type 'external'" in line
