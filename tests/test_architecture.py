"""Imports run downwards, each heavy library has one room, and the start-up of the command line stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_group

import mdm_tune
from mdm_tune.cli import app

# A room is a module or a sub-package, named without "mdm_tune."; "" is the package's own __init__. A module belongs to
# the longest name here that it is or lies in. Every new module is placed here.
FLOORS = {
    "benchmarks.execution_hook": 0,
    "benchmarks.execution_kernel": 0,
    "benchmarks.execution_wire": 0,
    "benchmarks.execution_filter": 0,
    "benchmarks.execution_folders": 0,
    "choices": 0,
    "digests": 0,
    "errors": 0,
    "labels": 0,
    "messages": 0,
    "numerals": 0,
    "permissions": 0,
    "seeding": 0,
    "showing": 0,
    "signals": 0,
    "streams": 0,
    "version": 0,
    "benchmarks.execution_sides": 1,
    "blocks": 1,
    "config.conflicts": 1,
    "config.data": 1,
    "config.errors": 1,
    "config.file": 1,
    "config.flags": 1,
    "config.models": 1,
    "config.rules": 1,
    "config.sampler": 1,
    "config.tasks": 1,
    "consent": 2,
    "counts": 1,
    "datasets.examples": 1,
    "datasets.specials": 2,
    "patterns": 1,
    "plain_yaml": 1,
    "reading": 1,
    "datasets.templates": 1,
    "denoisers.asking": 1,
    "denoisers.base": 1,
    "denoisers.families": 1,
    "denoisers.reading": 1,
    "files": 1,
    "guard": 1,
    "memory": 1,
    "layout": 1,
    "sampling.adaptive_names": 1,
    "sampling.ahead": 1,
    "sampling.devices": 1,
    "sampling.keeper": 1,
    "sampling.drawing": 1,
    "sampling.sweeping": 1,
    "sampling.watch": 1,
    "schedules": 1,
    "scratch": 1,
    "search.journal": 1,
    "search.driver": 1,
    "search.ledger": 1,
    "search.racing": 1,
    "search.sealing": 1,
    "statistics": 1,
    "text": 1,
    "trust": 1,
    "benchmarks.dealing": 2,
    "benchmarks.execution": 4,
    "benchmarks.execution_child": 2,
    "benchmarks.execution_probe": 3,
    "benchmarks.execution_process": 2,
    "datasets.sources": 2,
    "intervals": 2,
    "denoisers.analytic": 2,
    "denoisers.checkpoint": 2,
    "denoisers.checks": 2,
    "denoisers.codecs": 2,
    "denoisers.custom": 2,
    "denoisers.guidance": 2,
    "denoisers.huggingface": 2,
    "denoisers.law": 2,
    "denoisers.lengths": 2,
    "denoisers.own": 2,
    "denoisers.placement": 2,
    "denoisers.positions": 2,
    "denoisers.tokenizer": 2,
    "denoisers.transformer": 2,
    "denoisers.vocabulary": 2,
    "denoisers.weights": 2,
    "denoisers.loaded": 2,
    "energy": 2,
    "profile.choosing": 7,
    "profile.curve": 2,
    "profile.family": 2,
    "profile.intervals": 2,
    "profile.measuring": 2,
    "profile.predicting": 2,
    "profile.pricing": 2,
    "sampling.plans": 2,
    "sampling.unmasking": 2,
    "sampling.cluster": 2,
    "search.storage": 2,
    "benchmarks.code_problems": 4,
    "benchmarks.harness": 3,
    "benchmarks.leaves": 3,
    "datasets.doubts": 4,
    "datasets.forms": 2,
    "datasets.readers": 3,
    "datasets.rows": 3,
    "datasets.impossible": 3,
    "datasets.splits": 3,
    "metrics.exact": 3,
    "metrics.quality": 3,
    "metrics.reference_models": 3,
    "sampling.external": 3,
    "sampling.pieces": 3,
    "sampling.actors": 4,
    "sampling.replicas": 5,
    "schedule_file": 3,
    "settings": 3,
    "benchmarks.tasks": 4,
    "evaluation": 4,
    "filling": 4,
    "metrics.answers": 4,
    "models": 4,
    "benchmarks.code_tasks": 5,
    "metrics.reported": 5,
    "results": 5,
    "search.claims": 5,
    "search.power": 5,
    "search.proposals": 5,
    "search.scoring": 5,
    "search.scores": 5,
    "benchmarks.benchmark": 6,
    "build": 6,
    "naming": 6,
    "reach": 6,
    "sampling.adaptive": 6,
    "search.confirmation": 6,
    "search.finalists": 6,
    "search.frontier": 6,
    "benchmarks.harness_model": 7,
    "profile.answers": 7,
    "profile.kept": 7,
    "profile.profiles": 7,
    "records": 7,
    "search.ending": 7,
    "search.tuning": 7,
    "example_records": 8,
    "profile.prices": 8,
    "search.budget": 8,
    "commands.events": 9,
    "cost_tables": 9,
    "evaluate_tables": 9,
    "profile_tables": 9,
    "search.limits": 9,
    "search.place": 6,
    "tables": 9,
    "commands.dry_run": 11,
    "commands.occupancy": 10,
    "commands.timing": 10,
    "commands.profile_run": 10,
    "commands.schedule_notes": 10,
    "console": 10,
    "commands.runs": 11,
    "commands.search_run": 11,
    "commands.harness_run": 12,
    "flags": 12,
    "reporting": 12,
    "usage": 12,
    "cli": 13,
    "": 14,
    "__main__": 14,
}
# Imports between rooms of one floor: (who, whom). Inside a folder they are free.
SIDEWAYS = {
    ("build", "benchmarks.benchmark"),
    ("config.data", "datasets.templates"),
    ("config.errors", "plain_yaml"),
    ("config.errors", "reading"),
    ("config.data", "patterns"),
    ("config.data", "reading"),
    ("config.file", "plain_yaml"),
    ("datasets.sources", "consent"),
    ("denoisers.checkpoint", "consent"),
    ("config.file", "reading"),
    ("config.file", "schedules"),
    ("config.models", "reading"),
    ("config.flags", "schedules"),
    ("config.rules", "reading"),
    ("config.sampler", "counts"),
    ("config.sampler", "reading"),
    ("config.models", "denoisers.families"),
    ("config.rules", "sampling.adaptive_names"),
    ("config.rules", "schedules"),
    ("config.rules", "statistics"),
    ("config.sampler", "denoisers.families"),
    ("counts", "schedules"),
    ("denoisers.asking", "guard"),
    ("plain_yaml", "reading"),
    ("denoisers.asking", "sampling.drawing"),
    ("evaluate_tables", "tables"),
    ("evaluation", "filling"),
    ("messages", "showing"),
    ("metrics.quality", "datasets.splits"),
    ("trust", "guard"),
    ("profile.predicting", "denoisers.asking"),
    ("profile_tables", "tables"),
    ("tables", "cost_tables"),
}
ONLY_IN = {
    "optuna": {"search.driver", "search.journal", "search.ledger", "search.proposals", "search.storage"},
    "lm_eval": {"benchmarks.harness", "benchmarks.harness_model", "commands.harness_run", "benchmarks.leaves"},
    "matplotlib": set(),
    "rich": {"cli", "console", "layout", "tables"},
}
TERMINAL = {"print", "sys.stdout", "sys.stderr"}
TERMINAL_ROOMS = {"console", "cli", "streams"}
SEEDS_OF_ALL = {
    "torch.manual_seed",
    "torch.random.manual_seed",
    "torch.cuda.manual_seed",
    "torch.cuda.manual_seed_all",
    "torch.seed",
    "torch.set_rng_state",
    "np.random.seed",
    "numpy.random.seed",
    "np.random.set_state",
    "numpy.random.set_state",
    "random.seed",
    "transformers.set_seed",
}
FILE_LINES = 500
FUNCTION_LINES = 80
POSITIONAL = 3  # arguments of a record; more are given by keyword

Package = dict[str, str]  # module name, without "mdm_tune.", to its source


def read_package() -> Package:
    root = Path(mdm_tune.__file__).parent
    found = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts).removesuffix("__init__").removesuffix(".")] = path.read_text("utf-8")
    return {module: source for module, source in found.items() if source}  # a folder's empty __init__ is no room


def home(module: str, names: set[str]) -> str | None:
    """The longest of ``names`` that ``module`` is or lies in."""
    return max((name for name in names if module == name or module.startswith(f"{name}.")), key=len, default=None)


def imports(source: str) -> Iterator[str]:
    """Every imported name in full: ``from a import b`` is ``a.b``. Those inside functions count too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names)


def unplaced(package: Package) -> list[str]:
    return [f"place {module} in FLOORS" for module in package if home(module, set(FLOORS)) is None]


def upward(package: Package) -> list[str]:
    found = []
    for module, source in package.items():
        room = home(module, set(FLOORS))
        for name in imports(source):
            if not (name == "mdm_tune" or name.startswith(("mdm_tune.", "."))):
                continue
            other = home(home(name.removeprefix("mdm_tune").removeprefix("."), set(package)) or "", set(FLOORS))
            if room is None or other is None or room == other or (room, other) in SIDEWAYS:
                continue
            inside = room.split(".")[0] == other.split(".")[0]
            if FLOORS[other] > FLOORS[room] or (FLOORS[other] == FLOORS[room] and not inside):
                found.append(f"{module} (floor {FLOORS[room]}) imports {name} (floor {FLOORS[other]})")
    return found


def out_of_room(package: Package) -> list[str]:
    found = []
    for module, source in package.items():
        for name in imports(source):
            rooms = ONLY_IN.get(name.split(".")[0])
            if rooms is not None and home(module, rooms) is None:
                found.append(f"{module} imports {name}, which is for {sorted(rooms)}")
    return found


def uses(package: Package, names: set[str], rooms: set[str]) -> list[str]:
    """Where one of the dotted names is used or imported outside the rooms."""
    found = []
    for module, source in package.items():
        if home(module, rooms) is None:
            used = {ast.unparse(n) for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name | ast.Attribute)}
            found += [f"{module} uses {name}" for name in sorted(names & (used | set(imports(source))))]
    return found


def too_long(package: Package) -> list[str]:
    found = []
    for module, source in package.items():
        lines = len(source.splitlines())
        if lines > FILE_LINES:
            found.append(f"{module} has {lines} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_LINES:
                    found.append(f"{module}.{node.name} has {lines} lines")
    return found


def records_of(package: Package) -> dict[str, int]:
    """The fields of each dataclass and named tuple, by its full name."""
    found = {}
    for module, source in package.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                decorators = {ast.unparse(each).partition("(")[0] for each in node.decorator_list}
                if "dataclass" in decorators or "NamedTuple" in map(ast.unparse, node.bases):
                    fields = sum(isinstance(each, ast.AnnAssign) for each in node.body)
                    found[f"mdm_tune.{module}.{node.name}"] = fields
    return found


def by_position(package: Package) -> list[str]:
    """Records that are built from more positional arguments than a reader can tell apart."""
    records, found = records_of(package), []
    for module, source in package.items():
        known = {*imports(source), *(name for name in records if name.rpartition(".")[0] == f"mdm_tune.{module}")}
        fields = {name.rpartition(".")[2]: records[name] for name in known if name in records}
        for call, name in calls_of(ast.parse(source), None):
            all_at_once = any(isinstance(each, ast.Starred) for each in call.args) and fields.get(name, 0) > POSITIONAL
            if name in fields and (all_at_once or len(call.args) > POSITIONAL):
                found.append(f"{module} builds {name} from positional arguments")
    return found


def calls_of(tree: ast.AST, around: str | None) -> Iterator[tuple[ast.Call, str]]:
    """Calls of names; ``cls`` is the class ``around``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node, around if node.func.id == "cls" and around else node.func.id
        yield from calls_of(node, node.name if isinstance(node, ast.ClassDef) else around)


def problems(package: Package) -> list[str]:
    return [
        *unplaced(package),
        *upward(package),
        *out_of_room(package),
        *uses(package, TERMINAL, TERMINAL_ROOMS),
        *uses(package, SEEDS_OF_ALL, set()),
        *too_long(package),
        *by_position(package),
    ]


def test_the_package_keeps_its_architecture() -> None:
    package = read_package()
    assert {"", "errors", "denoisers.base"} <= set(package)
    assert problems(package) == []


RECORD = "@dataclass(frozen=True)\nclass Made:\n    a: int\n    b: int\n    c: int\n    d: int\n"


@pytest.mark.parametrize(
    ("module", "source", "problem"),
    [
        ("novelty", "", "place novelty"),
        (
            "errors",
            "from mdm_tune.sampling.unmasking import top",
            "errors (floor 0) imports mdm_tune.sampling.unmasking.top (floor 2)",
        ),
        (
            "energy",
            "from mdm_tune.sampling import unmasking",
            "energy (floor 2) imports mdm_tune.sampling.unmasking (floor 2)",
        ),
        (
            "energy",
            "def f():\n    import mdm_tune.search.budget",
            "energy (floor 2) imports mdm_tune.search.budget (floor 8)",
        ),
        (
            "results",
            "from mdm_tune import load_schedule",
            "results (floor 5) imports mdm_tune.load_schedule (floor 14)",
        ),
        ("denoisers.base", "import mdm_tune.denoisers.analytic", "denoisers.base (floor 1) imports"),
        ("build", "import optuna", "build imports optuna"),
        ("search.budget", "def f():\n    from optuna import samplers", "search.budget imports optuna.samplers"),
        ("search.budget", "from matplotlib import pyplot", "search.budget imports matplotlib.pyplot"),
        ("metrics.quality", "from rich.table import Table", "metrics.quality imports rich.table.Table"),
        ("results", "print(1)", "results uses print"),
        ("results", "import sys\nsys.stderr.write('x')", "results uses sys.stderr"),
        ("cli", "import torch\ntorch.manual_seed(0)", "cli uses torch.manual_seed"),
        ("cli", "from torch import manual_seed", "cli uses torch.manual_seed"),
        ("cli", "import numpy as np\nnp.random.seed(0)", "cli uses np.random.seed"),
        ("cli", "x = 1\n" * 501, "cli has 501 lines"),
        ("cli", "def f():\n" + "    x = 1\n" * 80, "cli.f has 81 lines"),
        ("cli", f"{RECORD}made = Made(1, 2, 3, 4)", "cli builds Made from positional"),
        (
            "cli",
            f"{RECORD}    def f(cls):\n        return cls(1, 2, 3, 4)",
            "cli builds Made from positional",
        ),
        ("cli", f"{RECORD}Made(*range(4))", "cli builds Made from positional"),
        ("cli", "from mdm_tune.search.budget import Made\nMade(1, 2, 3, 4)", "cli builds Made from positional"),
    ],
)
def test_each_rule_is_seen_to_be_broken(module: str, source: str, problem: str) -> None:
    package = {"": "", "search.budget": RECORD, "sampling.unmasking": "", "denoisers.analytic": ""} | {module: source}
    found = problems(package)
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_what_the_rules_allow() -> None:
    package = {
        "": "",
        "sampling.unmasking": "from mdm_tune.sampling.plans import Plan\ntorch.Generator().manual_seed(0)",
        "sampling.plans": "from mdm_tune.denoisers.base import Denoiser",
        "metrics.quality": "x = 1\n" * 500,
        "denoisers.base": "def f():\n" + "    x = 1\n" * 79,
        "search.proposals": "import optuna",
        "cli": f"import rich\nprint(1)\n{RECORD}made = Made(1, 2, 3, d=4)",
        "__main__": "from mdm_tune.cli import main",
    }
    assert problems(package) == []


HEAVY = ("torch", "optuna", "scipy", "matplotlib")
COMMANDS = sorted(get_group(app).commands)


def loaded_by(code: str) -> list[str]:
    """Which heavy libraries a fresh interpreter has loaded after ``code``."""
    report = f"import sys; sys.exit(','.join(m for m in {HEAVY} if m in sys.modules) or 'none')"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=False)
    answer = done.stderr.strip().splitlines()[-1]
    return [] if answer == "none" else answer.split(",")


def test_a_loaded_library_is_seen() -> None:
    assert loaded_by("import scipy") == ["scipy"]


def test_importing_the_package_loads_no_heavy_library() -> None:
    assert loaded_by("import mdm_tune") == []


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_loads_no_heavy_library(command: str) -> None:
    arguments = ["mdm-tune", *command.split(), "--help"]
    code = (
        f"import runpy, sys\nsys.argv = {arguments}\n"
        "try:\n    runpy.run_module('mdm_tune', run_name='__main__')\n"
        "except SystemExit as done:\n    assert not done.code, done.code"
    )
    assert loaded_by(code) == []
