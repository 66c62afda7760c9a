"""Code of others needs --trust-code wherever a library would load it, and no library can ask for it on the terminal."""

from __future__ import annotations

import ast
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import dynamic_module_utils

import mdm_tune
from mdm_tune.config.data import MetricsConfig
from mdm_tune.core.consent import without_consent_prompts
from mdm_tune.core.errors import InputError
from mdm_tune.metrics.reference_models import load_reference
from mdm_tune.metrics.reported import text_metrics
from tests.metrics.test_answers import asked, data
from tests.support.tiny_models import bert, foreign, load

ROOTS = (Path(mdm_tune.__file__).parent, Path(__file__).parents[2] / "scripts")
# What must stand in each call of a loader: by the last part of the function's name.
WANTED = {
    "from_pretrained": "trust_remote_code",
    "load_dataset": "trust_remote_code",
    "load": "weights_only",  # of torch
}
NEVER = {"pickle.load", "joblib.load", "torch.hub.load", "pd.read_pickle", "eval", "exec", "yaml.unsafe_load"}


def loaders(source: str) -> Iterator[tuple[str, ast.Call]]:
    """Each call with the function's name; of a ``partial`` that of what it wraps."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            wrapped = ast.unparse(node.func) in ("partial", "functools.partial") and node.args
            yield ast.unparse(node.args[0] if wrapped else node.func), node


def bare(source: str) -> list[str]:
    """Loaders that are passed on or given another name, so that no call of them can be looked at."""
    tree = ast.parse(source)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    called |= {id(node.args[0]) for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args}
    names = {"from_pretrained", "load_dataset", "load_dataset_builder"}
    return [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in names and id(node) not in called
    ]


def without_consent(source: str) -> list[str]:
    """Calls of loaders that say nothing of consent, and of functions that are never used."""
    found = []
    for name, call in loaders(source):
        if name in NEVER:
            found.append(name)
        wanted = WANTED.get(name.rpartition(".")[2])
        if wanted is None or (wanted == "weights_only" and name != "torch.load"):
            continue
        told = {keyword.arg for keyword in call.keywords}  # **options tell a reader nothing
        if wanted not in told:
            found.append(name)
    return found


def test_each_loader_is_told_whether_code_may_run() -> None:
    for root in ROOTS:
        for path in root.rglob("*.py"):
            if path.name.startswith("execution_"):  # runs what --run-generated-code allowed
                continue
            source = path.read_text("utf-8")
            assert without_consent(source) == bare(source) == [], path


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("AutoModel.from_pretrained(x)", ["AutoModel.from_pretrained"]),
        ("AutoModel.from_pretrained(x, trust_remote_code=t)", []),
        ("AutoModel.from_pretrained(x, **options)", ["AutoModel.from_pretrained"]),
        ("partial(AutoModel.from_pretrained, x)", ["AutoModel.from_pretrained"]),
        ("partial(AutoModel.from_pretrained, x, trust_remote_code=t)", []),
        ("torch.load(x)", ["torch.load"]),
        ("torch.load(x, weights_only=True)", []),
        ("json.load(x)", []),
        ("pickle.load(x)", ["pickle.load"]),
        ("datasets.load_dataset(x)", ["datasets.load_dataset"]),
    ],
)
def test_the_search_finds_them(source: str, found: list[str]) -> None:
    assert without_consent(source) == found
    assert bare("load = AutoModel.from_pretrained") == ["AutoModel.from_pretrained"]


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkpoint of a kind that transformers does not know, whose code leaves a mark where it is imported."""
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "cache"))
    foreign(tmp_path / "model", kind="of-nobody")
    code = tmp_path / "model" / "modeling_tiny.py"
    code.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n" + code.read_text())
    answers = io.StringIO("y\ny\ny\ny\n")
    monkeypatch.setattr(sys, "stdin", answers)
    yield tmp_path / "ran"
    assert answers.read() == "y\ny\ny\ny\n" and sys.stdin is answers


@pytest.mark.parametrize("metric", ["generative_nll", "mauve"])
def test_a_reference_model_with_code_of_its_own(
    metric: str, ran: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = MetricsConfig(**{metric: {"model": str(tmp_path / "model"), "device": "cpu"}})
    with pytest.raises(InputError, match=rf"metrics\.{metric}\.model: .* runs code .*give --trust-code"):
        text_metrics(config, "exact_match", data(asked(["a"])), trust_code=False)
    assert not ran.exists()
    assert capfd.readouterr().out == ""


def test_consent_lets_it_run(ran: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError):  # it is none of the causal kind
        load_reference(str(tmp_path / "model"), field="f", device="cpu", trust_code=True)
    assert ran.exists()


def test_a_model_and_a_tokenizer_with_code_of_their_own(ran: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.path: .* give --trust-code"):
        load(tmp_path / "model")
    bert(tmp_path / "bert")
    own = {"tokenizer_class": "Nobodys", "auto_map": {"AutoTokenizer": ["modeling_tiny.Tokenizer", None]}}
    (tmp_path / "model" / "tokenizer_config.json").write_text(json.dumps(own))
    (tmp_path / "model" / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"model\.tokenizer: .* give --trust-code"):
        load(tmp_path / "bert", tokenizer=str(tmp_path / "model"))
    assert not ran.exists()


def test_a_loader_that_is_told_nothing_cannot_ask(ran: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig

    with without_consent_prompts(False, "model.path"), pytest.raises((ValueError, EOFError)):
        AutoConfig.from_pretrained(str(tmp_path / "model"))
    with without_consent_prompts(False, "model.path"), pytest.raises(EOFError):
        input("really? ")
    assert not ran.exists()


def test_metrics_of_the_hub_are_programs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate: Any = pytest.importorskip("evaluate")
    pytest.importorskip("lm_eval")
    with (
        without_consent_prompts(False, "dataset.task: x"),
        pytest.raises(InputError, match=r"dataset\.task: x loads the metric bleu .* give --trust-code"),
    ):
        evaluate.load("bleu")
    before = evaluate.load
    with without_consent_prompts(True, "dataset.task: x"):
        assert evaluate.load is before
    assert evaluate.load is before
