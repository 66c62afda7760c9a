"""The user's own code: that of a checkpoint, a denoiser, and generate functions."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from tests.support.real_runs import ANSWERS, LIKELIHOOD, SIZES, TASK, answered, config, refused
from tests.support.tiny_models import BERT_MASK, RESIDUES


def test_code_of_a_checkpoint_and_a_denoiser_of_the_users_own(place: Path, tmp_path: Path) -> None:
    words = {"dataset": {**ANSWERS, "path": "words.jsonl", **SIZES}, "objective": {"metric": "exact_match"}}
    lines = [json.dumps({"q": f"w{3 + i % 7} w{3 + i % 5}", "a": f"w{3 + i % 11}", "id": i}) for i in range(70)]
    (place / "words.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    coded = {"model": {"type": "huggingface", "path": "coded"}, "sampler": TASK["sampler"], **words}
    assert "--trust-code" in refused("sample", config(place, tmp_path, coded))
    found, _ = answered(
        "sample", config(place, tmp_path, coded), "--trust-code", "--schedule", "linear", "--number", "2"
    )
    assert all(len(sample["tokens"]) == 6 for sample in found["samples"])
    (place / "mine.py").write_text(
        "import torch\n"
        "from mdm_tune.core.text import Symbols\n"
        "class Mine:\n"
        "    vocab_size, mask_id, length = 20, 20, 16\n"
        f"    codec = Symbols({RESIDUES!r})\n"
        "    def __call__(self, tokens, wanted):\n"
        "        seen = torch.where((tokens >= 0) & (tokens < 20), tokens + 1, 0).sum(1)\n"
        "        rows = wanted.nonzero()[:, 0]\n"
        "        return torch.sin(seen[rows, None] * torch.arange(1.0, 21.0))\n"
        "def build(): return Mine()\n",
        encoding="utf-8",
    )
    own = {**LIKELIHOOD, "model": {"type": "custom", "target": "mine.py:build"}}
    assert "--trust-code" in refused("profile", config(place, tmp_path, own))
    found, _ = answered("profile", config(place, tmp_path, own), "--trust-code", "--output", str(tmp_path / "mine"))
    assert found["budgets"][0]["beta"]["nelbo"] > 0


GENERATE = """
import numpy as np
import torch

def generate(prompts, counts, seeds, denoiser, mask_id, bias=0):
    tokens, nfe = prompts.clone(), torch.zeros(len(prompts), dtype=torch.int64)
    for row in range(len(tokens)):
        chance = np.random.default_rng(int(seeds[row]))
        for count in counts[row].flatten().tolist():
            hidden = (tokens[row] == mask_id).nonzero()[:, 0]
            if count == 0:
                continue
            nfe[row] += 1
            wanted = torch.zeros_like(tokens[row : row + 1], dtype=torch.bool)
            wanted[0, hidden[:count]] = True
            logits = denoiser(tokens[row : row + 1], wanted)
            noise = torch.from_numpy(chance.gumbel(size=tuple(logits.shape)))
            tokens[row, hidden[:count]] = (logits + noise).argmax(1)
    return tokens, nfe
"""


def test_a_search_runs_on_generate_code_of_the_users_own_and_goes_on_with_it(place: Path, tmp_path: Path) -> None:
    (place / "mine_generate.py").write_text(GENERATE, encoding="utf-8")
    task = {**TASK, "objective": {"metric": "exact_match"}, "metrics": {}}
    task["sampler"] = {"type": "external", "target": "mine_generate.py:generate", "steps": [2], "batch": 5}
    file = config(place, tmp_path, task)
    assert "--trust-code" in refused("search", file)
    found, said = answered("search", file, "--trust-code")
    (budget,) = found["budgets"]
    assert budget["nfe"] == 2 and found["denoiser_rows"] > 0
    assert "drawn by mine_generate.py:generate" in said and not (tmp_path / "run" / "profile.json").exists()
    again, _ = answered("search", file, "--trust-code", "--resume")
    assert again["budgets"] == found["budgets"]
    drawn, _ = answered("sample", file, "--trust-code", "--number", "3")
    assert drawn["nfe"] == 2 and all(BERT_MASK not in sample["tokens"] for sample in drawn["samples"])
    assert "adaptive" in refused("evaluate", file, "--trust-code", "--schedule", "threshold:0.5")
    builtin = config(place, tmp_path, {**task, "sampler": {"steps": [2]}})
    _, said = answered("evaluate", builtin, "--schedule", str(tmp_path / "run"), "--output", str(tmp_path / "other"))
    assert "was tuned for target mine_generate.py:generate (here None)" in said
    file = config(place, tmp_path, task)
    (place / "mine_generate.py").write_text(GENERATE.replace("bias=0", "bias=1"), encoding="utf-8")
    sys.modules.pop(
        next(
            name
            for name in sys.modules
            if name.startswith("mdm_tune_target_") and hasattr(sys.modules[name], "generate")
        )
    )
    assert "fingerprints.code" in refused("search", file, "--trust-code", "--resume")
    likelihood = {**LIKELIHOOD, "sampler": {**task["sampler"], "order": "random"}}
    assert "sampler.type: metric nelbo needs the probabilities" in refused(
        "search", config(place, tmp_path, likelihood)
    )


def test_the_loop_of_the_page_on_models_draws_what_the_built_in_sampler_draws(place: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "models.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"<!-- generate -->\n```python\n(.*?)```\n<!-- /generate -->", page, flags=re.DOTALL)
    (place / "my_generate.py").write_text(code, encoding="utf-8")
    lines = [json.dumps({"q": " ".join(f"w{3 + (i * j) % 19}" for j in range(1, 3 + i % 3))}) for i in range(40)]
    (place / "ask.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = {"type": "jsonl", "path": "ask.jsonl", "prompt": "{q}", "generation_length": 8, **SIZES}
    (place / "size.py").write_text("def size(answer, record): return len(answer)\n", encoding="utf-8")
    judged = {
        "objective": {"metric": "custom"},
        "metrics": {"custom": {"target": "size.py:size", "direction": "maximize"}},
    }
    task = {"model": {"type": "huggingface", "path": "coded"}, "dataset": data, **judged}
    common = {"steps": [6], "block_length": 4, "batch": 5}
    drawn = {}
    for name, sampler in (
        ("own", {"type": "external", "target": "my_generate.py:generate"}),
        ("built in", {"order": "confidence", "temperature": 0.0}),
    ):
        file = config(place, tmp_path, {**task, "sampler": {**common, **sampler}})
        found, _ = answered("sample", file, "--trust-code", "--schedule", "beta:0.9,0.3", "--number", "11")
        drawn[name] = [[token for token in sample["tokens"] if token >= 0] for sample in found["samples"]]
        assert found["nfe"] == 6
    assert drawn["own"] == drawn["built in"] and len({len(row) for row in drawn["own"]}) == 3
