"""The wheel and the sdist hold the whole package, and the wheel works where no checkout is.

They need build, hatchling and twine, which the dev extra brings, and no network: nothing is installed but the wheel.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from mdm_tune.version import __version__

ROOT = Path(__file__).parent.parent.parent
NOT_PUBLISHED = {".ci", ".pre-commit-config.yaml"}  # of the checkout alone
BUNDLED = (
    *("data/text/model.safetensors", "data/text/words.txt", "data/mdm-tune.schema.json", "py.typed"),
    *("data/arithmetic/model.safetensors", "data/arithmetic/report.jsonl"),
)
missing = [name for name in ("build", "hatchling", "twine", "pip") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)} (extra dev)")


def ran(*command: str | Path, cwd: Path) -> str:
    """What a command writes to stdout, in an environment that does not know the checkout."""
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    done = subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of the checkout, and the wheel that is built from this sdist."""
    folder = tmp_path_factory.mktemp("dist")
    ran(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        f"mdm_tune-{__version__}-py3-none-any.whl",
        f"mdm_tune-{__version__}.tar.gz",
    ]
    return folder


@pytest.fixture(scope="module")
def files(built: Path) -> dict[str, bytes]:
    """What the wheel holds, by name."""
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist()}


@pytest.fixture(scope="module")
def metadata(files: dict[str, bytes]) -> Message:
    return Parser().parsestr(files[f"mdm_tune-{__version__}.dist-info/METADATA"].decode("utf-8"))


def test_twine_accepts_both(built: Path) -> None:
    shown = ran(sys.executable, "-m", "twine", "check", "--strict", *sorted(built.iterdir()), cwd=built)
    assert shown.count("PASSED") == 2


def test_the_wheel_holds_every_file_of_the_package(files: dict[str, bytes]) -> None:
    expected = {path for path in (ROOT / "mdm_tune").rglob("*") if path.is_file() and path.suffix != ".pyc"}
    packed = {name: content for name, content in files.items() if ".dist-info/" not in name}
    assert packed == {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in expected}
    assert all(f"mdm_tune/{name}" in packed for name in BUNDLED)


def test_the_wheel_holds_the_licences(files: dict[str, bytes], metadata: Message) -> None:
    """That of the package, and the card that says the bundled texts are in the public domain."""
    licence = files[f"mdm_tune-{__version__}.dist-info/licenses/LICENSE"]
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert metadata["License-Expression"] == "Apache-2.0"
    assert b"public\n  domain" in files["mdm_tune/data/text/README.md"]


def test_the_metadata_name_no_address_but_that_of_the_paper(metadata: Message) -> None:
    assert metadata.get_all("Project-URL") == ["Paper, https://arxiv.org/abs/2509.13866"]
    assert metadata["Home-page"] is None and "Typing :: Typed" in metadata.get_all("Classifier", [])


def test_the_sdist_holds_every_file_of_the_project(built: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a checkout of git")
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        packed = {name.partition("/")[2] for name in sdist.getnames()}
    tracked = {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}
    assert {name for name in tracked - packed if name.split("/")[0] not in NOT_PUBLISHED} == set()
    assert not any(name.startswith((".git/", ".venv", "runs/")) for name in packed)


def test_the_wheel_works_in_an_empty_folder(built: Path, tmp_path: Path) -> None:
    """In an environment of its own, which sees the libraries of this one but not the checkout."""
    environment, empty = tmp_path / "venv", tmp_path / "empty"
    empty.mkdir()
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    command = environment / "bin" / "mdm-tune"
    own = Path(ran(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=empty).strip())
    libraries = [path for path in sys.path if Path(path).name in {"site-packages", "dist-packages"}]
    (own / "shared.pth").write_text("\n".join(libraries) + "\n", encoding="utf-8")
    options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    ran(sys.executable, "-m", "pip", "--python", python, "install", *options, next(built.glob("*.whl")), cwd=empty)
    assert Path(ran(python, "-c", "import mdm_tune; print(mdm_tune.__file__)", cwd=empty)).is_relative_to(environment)

    assert ran(command, "--version", cwd=empty) == f"mdm-tune {__version__}\n"
    ran(command, "init", "package:text", "package:text", "--output", "text.yaml", cwd=empty)
    drawn = ran(command, "sample", "text.yaml", "--set", "sampler.steps=[4]", "--quiet", cwd=empty).splitlines()
    assert drawn and all(len(line) == 64 for line in drawn)
    sizes = ("dataset.tune=8", "dataset.choose=8", "dataset.report=8", "sampler.steps=[4]")
    small = [f"--set={size}" for size in sizes]
    plan = json.loads(ran(command, "search", "text.yaml", "--dry-run", "--json", "--quiet", *small, cwd=empty))
    assert plan["total"]["denoiser_rows"] > 0
    assert not (empty / "runs" / "text" / "schedule.yaml").exists()
