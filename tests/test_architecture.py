"""Imports run downwards, every module has its test where one looks for it, and the command line starts light.

Covers: __init__, __main__.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from typer.main import get_group

import mdm_tune
from mdm_tune.cli import app

# The folders of the package. A module imports only from its own folder and from those before it; those at the end are
# modules at the root. A new folder is placed here, a new module only put into its folder.
FOLDERS = (
    "version",
    "core",
    "schedules",
    "pages",
    "config",
    "exports",
    "denoisers",
    "sampling",
    "datasets",
    "metrics",
    "testing",
    "benchmarks",
    "evaluation",
    "search",
    "run",
    "start",
    "commands",
    "api",
    "terminal",
    "cli_start",
    "cli",
    "__init__",
    "__main__",
)
AT_ROOT = {"version", "cli_start", "cli", "__init__", "__main__"}
ONLY_IN = {
    "lm_eval": {"benchmarks.harness", "benchmarks.single_task", "commands.harness", "commands.harness_model"},
    "matplotlib": set(),
    "optuna": {"search.driver", "search.journal", "search.ledger", "search.proposals", "search.storage"},
    "resvg_py": {"pages.png"},
    "ray": {"sampling.actors", "sampling.cluster", "sampling.cluster_health", "sampling.replicas"},
    "rich": {
        "cli",
        "terminal.console",
        "terminal.layout",
        "terminal.status",
        "terminal.tables",
        "terminal.unmasking_view",
    },
    "tensorboard": set(),
    "trackio": {"commands.trackers"},
    "wandb": {"commands.trackers"},
    "torch": {
        *("exports.peer_diffusers", "exports.peer_engines"),
        *("exports.peer_dllm", "exports.peer_dream", "exports.peer_llada", "exports.peer_tools"),
        *(
            "exports.peer_mdlm",
            "exports.peer_sedd",
            "exports.peer_duo",
            "exports.peer_md4",
            "exports.peer_flow_matching",
            "exports.peer_omnivoice",
        ),
        *("denoisers", "sampling", "datasets", "metrics", "testing", "benchmarks"),
        *("evaluation", "search", "run", "commands", "api"),
    },
}
TERMINAL = {"print", "sys.stdout", "sys.stderr"}
MAY_PRINT = {"terminal.console", "cli", "core.streams"}
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
        source = path.read_text("utf-8")
        if source:  # the __init__ of a folder is empty
            found[".".join(path.relative_to(root).with_suffix("").parts)] = source
    return found


def within(module: str, names: Collection[str]) -> bool:
    """Whether a module is one of the names or lies in one of them."""
    return any(module == name or module.startswith(f"{name}.") for name in names)


def imports(source: str) -> Iterator[str]:
    """Every imported name in full: ``from a import b`` is ``a.b``. Those inside functions count too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names)


def own_imports(package: Package) -> Iterator[tuple[str, str]]:
    """Pairs of modules of the package: who imports, and what is imported."""
    for module, source in package.items():
        for name in imports(source):
            if name.startswith("."):
                yield module, name  # placed nowhere, so that it is refused
            elif name == "mdm_tune" or name.startswith("mdm_tune."):
                rest = name.removeprefix("mdm_tune").removeprefix(".")
                known = [other for other in package if rest == other or rest.startswith(f"{other}.")]
                yield module, max(known, key=len, default="__init__")


def unplaced(package: Package) -> list[str]:
    found = []
    for module in package:
        folder, separator, _ = module.partition(".")
        if folder not in FOLDERS or (folder in AT_ROOT) == bool(separator):
            found.append(f"{module} lies in no folder of FOLDERS")
    return found


def upward(package: Package) -> list[str]:
    floors = {name: place for place, name in enumerate(FOLDERS)}
    found = []
    for module, other in own_imports(package):
        here, there = (floors.get(name.partition(".")[0]) for name in (module, other))
        if here is not None and (there is None or there > here):
            found.append(f"{module} imports {other}, which is above it")
    return found


def circles(package: Package) -> list[str]:
    """Modules that import each other, at once or by way of others."""
    graph: dict[str, set[str]] = {module: set() for module in package}
    for module, other in own_imports(package):
        if other in graph and other != module:
            graph[module].add(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [f"a circle of imports: {' -> '.join(error.args[1])}"]
    return []


def out_of_place(package: Package) -> list[str]:
    found = []
    for module, source in package.items():
        for name in imports(source):
            rooms = ONLY_IN.get(name.split(".")[0])
            if rooms is not None and not within(module, rooms):
                found.append(f"{module} imports {name}, which is for {sorted(rooms)}")
    return found


def uses(package: Package, names: set[str], rooms: set[str]) -> list[str]:
    """Where one of the dotted names is used or imported outside the rooms."""
    found = []
    for module, source in package.items():
        if not within(module, rooms):
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
        *circles(package),
        *out_of_place(package),
        *uses(package, TERMINAL, MAY_PRINT),
        *uses(package, SEEDS_OF_ALL, set()),
        *too_long(package),
        *by_position(package),
    ]


def untested(package: Package, tests: Mapping[str, str]) -> list[str]:
    """Modules without a test where one looks for it, and files of tests that name what is no module of their folder.

    The tests of ``folder.name`` are in tests/folder, in test_name.py or test_name_MORE.py, or in a file whose docstring
    has a line ``Covers: name, name.``; those of a module at the root are in tests itself. A module that defines no
    function needs none. tests: the docstring of each file, by a name such as ``folder.test_name``.
    """
    found = []
    covered = set()
    for test, docstring in tests.items():
        folder, separator, name = test.rpartition(".")
        beside = {module.rpartition(".")[2]: module for module in package if module.rpartition(".")[0] == folder}
        if of := [module for module in beside if f"{name}_".startswith(f"test_{module}_")]:
            covered.add(beside[max(of, key=len)])
        for line in re.findall(r"^Covers: (.*)\.$", docstring, flags=re.MULTILINE):
            named = {f"{folder}{separator}{each}" for each in line.split(", ")}
            found += [f"{test} covers {module}, which is no module" for module in sorted(named - set(package))]
            covered |= named
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for module, source in package.items():
        if module not in covered and any(isinstance(node, functions) for node in ast.walk(ast.parse(source))):
            folder, separator, name = module.rpartition(".")
            found.append(f"{module} has no test: write {folder}{separator}test_{name}, or say beside it what covers it")
    return found


def read_tests() -> dict[str, str]:
    root = Path(__file__).parent
    return {
        ".".join(path.relative_to(root).with_suffix("").parts): ast.get_docstring(ast.parse(path.read_text("utf-8")))
        or ""
        for path in root.rglob("test_*.py")
    }


def test_every_module_has_its_test_where_one_looks_for_it() -> None:
    assert untested(read_package(), read_tests()) == []


def test_a_module_without_a_test_is_seen() -> None:
    source = "def f():\n    pass"
    package = {
        "core.plain": source,
        "core.plain_yaml": source,
        "core.types": "A = int",
        "cli": source,
        "run.cli": source,
    }
    tests = {"core.test_plain_yaml": "", "core.test_text": "Text.\n\nCovers: plain.", "test_cli": "", "run.test_x": ""}
    missing = "has no test: write"
    assert untested(package, tests) == [f"run.cli {missing} run.test_cli, or say beside it what covers it"]
    assert untested(package, tests | {"run.test_cli_more": ""}) == []
    assert untested(package, tests | {"run.test_x": "X.\n\nCovers: cli."}) == []
    of_another = tests | {"core.test_text": "", "run.test_cli": ""}  # the tests of plain_yaml are none of plain
    assert untested(package, of_another) == [f"core.plain {missing} core.test_plain, or say beside it what covers it"]
    assert untested(package, of_another | {"core.test_plain": "", "run.test_y": "Covers: plain."}) == [
        "run.test_y covers run.plain, which is no module"
    ]


def test_the_package_keeps_its_architecture() -> None:
    package = read_package()
    assert {"__init__", "core.errors", "denoisers.base"} <= set(package)
    assert {module.partition(".")[0] for module in package} == set(FOLDERS)
    assert problems(package) == []


RECORD = "@dataclass(frozen=True)\nclass Made:\n    a: int\n    b: int\n    c: int\n    d: int\n"


@pytest.mark.parametrize(
    ("module", "source", "problem"),
    [
        ("novelty", "", "novelty lies in no folder"),
        ("novelty.module", "", "novelty.module lies in no folder"),
        ("core", "x = 1", "core lies in no folder"),
        ("cli.module", "", "cli.module lies in no folder"),
        ("core.errors", "from mdm_tune.sampling.unmasking import top", "core.errors imports sampling.unmasking, which"),
        ("core.errors", "from mdm_tune.sampling import unmasking", "core.errors imports sampling.unmasking, which"),
        ("run.x", "def f():\n    import mdm_tune.commands.x", "run.x imports commands.x, which is above"),
        ("run.x", "from mdm_tune import load_schedule", "run.x imports __init__, which is above"),
        ("run.x", "from . import y", "run.x imports .None.y, which is above"),
        ("core.a", "from mdm_tune.core.b import x", "a circle of imports: "),
        ("run.build", "import optuna", "run.build imports optuna"),
        ("search.budget", "def f():\n    from optuna import samplers", "search.budget imports optuna.samplers"),
        ("search.budget", "from matplotlib import pyplot", "search.budget imports matplotlib.pyplot"),
        ("metrics.quality", "from rich.table import Table", "metrics.quality imports rich.table.Table"),
        ("schedules.curves", "import torch", "schedules.curves imports torch"),
        ("search.budget", "import ray", "search.budget imports ray"),
        ("run.folder", "print(1)", "run.folder uses print"),
        ("run.folder", "import sys\nsys.stderr.write('x')", "run.folder uses sys.stderr"),
        ("commands.x", "import torch\ntorch.manual_seed(0)", "commands.x uses torch.manual_seed"),
        ("commands.x", "from torch import manual_seed", "commands.x uses torch.manual_seed"),
        ("cli", "import numpy as np\nnp.random.seed(0)", "cli uses np.random.seed"),
        ("cli", "x = 1\n" * 501, "cli has 501 lines"),
        ("cli", "def f():\n" + "    x = 1\n" * 80, "cli.f has 81 lines"),
        ("cli", f"{RECORD}made = Made(1, 2, 3, 4)", "cli builds Made from positional"),
        ("cli", f"{RECORD}    def f(cls):\n        return cls(1, 2, 3, 4)", "cli builds Made from positional"),
        ("cli", f"{RECORD}Made(*range(4))", "cli builds Made from positional"),
        ("cli", "from mdm_tune.search.budget import Made\nMade(1, 2, 3, 4)", "cli builds Made from positional"),
    ],
)
def test_each_rule_is_seen_to_be_broken(module: str, source: str, problem: str) -> None:
    package = {
        "__init__": "",
        "commands.x": "",
        "core.a": "",
        "core.b": "def f():\n    from mdm_tune.core import a",
        "search.budget": RECORD,
        "sampling.unmasking": "",
    }
    found = problems(package | {module: source})
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_what_the_rules_allow() -> None:
    package = {
        "__init__": "",
        "sampling.unmasking": "from mdm_tune.sampling.plans import Plan\ntorch.Generator().manual_seed(0)",
        "sampling.plans": "from mdm_tune.denoisers.base import Denoiser",
        "metrics.quality": "x = 1\n" * 500,
        "denoisers.base": "def f():\n" + "    x = 1\n" * 79,
        "search.proposals": "import optuna",
        "cli": f"import rich\nprint(1)\n{RECORD}made = Made(1, 2, 3, d=4)",
        "__main__": "from mdm_tune.cli import main",
    }
    assert problems(package) == []


HEAVY = ("torch", "optuna", "scipy", "matplotlib", "ray")
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


@pytest.mark.parametrize("command", ["evaluate", "sample"])
def test_what_only_a_search_needs_is_not_loaded(command: str, tmp_path: Path) -> None:
    settings = ["dataset.report=12", "sampler.steps=[4]"]
    config = Path(__file__).parents[1] / "configs" / "text.yaml"
    arguments = ["mdm-tune", command, str(config), "--quiet", "--output", str(tmp_path / "run")]
    arguments += [word for each in settings for word in ("--set", each)]
    code = (
        f"import runpy, sys\nsys.argv = {arguments}\n"
        "try:\n    runpy.run_module('mdm_tune', run_name='__main__')\n"
        "except SystemExit as done:\n    assert not done.code, done.code"
    )
    assert {"optuna", "ray", "matplotlib"}.isdisjoint(loaded_by(code))
