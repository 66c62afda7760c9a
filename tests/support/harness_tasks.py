"""A task of the form of gsm8k in the harness's own format, with documents, and a model of characters to answer it."""

from __future__ import annotations

import string
from pathlib import Path

from mdm_tune.denoisers.transformer import Transformer, TransformerConfig, save_transformer
from tests.support.local_tasks import write
from tests.support.tiny_models import randomised

SYMBOLS = string.digits + string.ascii_letters + string.punctuation + " \n"
TASK = {
    "task": "sums",
    "output_type": "generate_until",
    "fewshot_split": "train",
    "doc_to_text": "Q: {{question}}\nA:",
    "doc_to_target": "{{answer}}",
    "num_fewshot": 2,
    "generation_kwargs": {"until": ["Q:", "z"], "do_sample": False},
    "filter_list": [
        {
            "name": "strict-match",
            "filter": [
                {"function": "regex", "regex_pattern": r"#### (\d+)"},
                {"function": "take_first"},
            ],
        },
        {
            "name": "digit",
            "filter": [
                {"function": "regex", "regex_pattern": r"(\d)"},
                {"function": "take_first"},
            ],
        },
    ],
    "metric_list": [
        {
            "metric": "exact_match",
            "aggregation": "mean",
            "higher_is_better": True,
            "regexes_to_ignore": [r"(?s).*#### "],
        }
    ],
    "metadata": {"version": 1.0},
}


def sums(first: int, stop: int) -> list[dict[str, str]]:
    """Questions with worked answers whose last line holds the number."""
    return [
        {"question": f"{n}+{n % 3}?", "answer": f"{n}+{n % 3}={n + n % 3}\n#### {(n + n % 3) % 10}"}
        for n in range(first, stop)
    ]


def write_task(folder: Path, train: int = 200, test: int = 60, **changed: object) -> Path:
    """The folder with the task's YAML file and its documents, for ``include_path``; changed: settings of the task."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {**TASK, **changed}
    documents = {"train": sums(0, train), "test": sums(train, train + test)}
    write(folder, str(settings.pop("task")), documents, **settings)
    return folder


def write_model(folder: Path, length: int = 128) -> Path:
    """A checkpoint of the package's own transformer with weights from a seed, one token a character."""
    model = Transformer(TransformerConfig(symbols=SYMBOLS, length=length, width=16, depth=1, heads=2))
    save_transformer(randomised(model, spread=0.5), folder)
    return folder
