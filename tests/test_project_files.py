"""Files beside the package say what is so: the citation, the image, the release workflow."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from mdm_tune.version import __version__

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
WORKFLOW = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")

# What the schema of Citation File Format 1.2.0 needs of a file, a reference and an author, and all it allows of those
# that are used here.
CITATION_NEEDS = {"authors", "cff-version", "message", "title"}
CITATION_ALLOWS = CITATION_NEEDS | {"abstract", "keywords", "license", "references", "type", "version", "date-released"}
REFERENCE_NEEDS = {"authors", "title", "type"}
REFERENCE_ALLOWS = REFERENCE_NEEDS | {"identifiers", "url", "year"}


def instructions(text: str) -> list[tuple[str, str]]:
    """Pairs (instruction, arguments) of a Dockerfile, with lines that go on joined and comments left out."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = [line.split(maxsplit=1) for line in joined.splitlines()]
    return [(name.upper(), rest) for name, rest in pairs]


def reaches_the_image(path: str) -> bool:
    """Whether .dockerignore lets a path of the top folder through: its last line that matches decides."""
    kept = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#") and fnmatch.fnmatch(path, line.removeprefix("!")):
            kept = line.startswith("!")
    return kept


def test_the_citation_is_valid_and_names_this_version_and_the_paper() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert set(cited) >= CITATION_NEEDS and set(cited) <= CITATION_ALLOWS
    assert (cited["cff-version"], cited["type"]) == ("1.2.0", "software")
    assert (cited["version"], cited["license"]) == (__version__, PROJECT["license"])
    assert [author["name"] for author in cited["authors"]] == [author["name"] for author in PROJECT["authors"]]
    assert cited["keywords"] == PROJECT["keywords"]
    (paper,) = cited["references"]
    assert set(paper) >= REFERENCE_NEEDS and set(paper) <= REFERENCE_ALLOWS
    assert paper["url"] == PROJECT["urls"]["Paper"]
    assert all(set(author) == {"given-names", "family-names"} for author in paper["authors"])
    assert [each["value"] for each in paper["identifiers"]] == ["arXiv:2509.13866"]


def test_what_the_image_copies_exists_and_is_not_ignored() -> None:
    copied = [source for name, rest in instructions(DOCKERFILE) if name == "COPY" for source in rest.split()[:-1]]
    assert {"pyproject.toml", "mdm_tune", "README.md", "LICENSE"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists() and reaches_the_image(source), source
    assert not any(map(reaches_the_image, (".venv", ".git", "runs", "models", "tests")))


def test_the_base_of_the_image_is_an_argument_and_its_command_is_ours() -> None:
    found = instructions(DOCKERFILE)
    assert [name for name, _ in found][:2] == ["ARG", "FROM"]
    assert found[0][1].startswith("BASE=python:") and found[1][1] == "${BASE}"
    assert ("ENTRYPOINT", '["mdm-tune"]') in found and "mdm-tune" in PROJECT["scripts"]
    (user,) = [rest for name, rest in found if name == "USER"]
    assert user.partition(":")[0] not in {"root", "0"}
    extras = next(rest for name, rest in found if rest.startswith("EXTRAS="))
    assert set(extras.partition("=")[2].split(",")) <= set(PROJECT["optional-dependencies"])


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_hadolint_has_no_complaint_about_the_image() -> None:
    done = subprocess.run(["hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_release_workflow_says_that_it_never_ran_and_publishes_what_it_checked() -> None:
    assert WORKFLOW.startswith("# NEVER RUN.")
    jobs = yaml.safe_load(WORKFLOW)["jobs"]
    assert jobs["publish"]["needs"] == "build"
    assert jobs["publish"]["permissions"] == {"id-token": "write"} and "password" not in WORKFLOW.partition("jobs:")[2]
    steps = " ".join(step.get("run", "") for step in jobs["build"]["steps"])
    assert steps.index("python -m build") < steps.index("twine check --strict") < steps.index("mdm-tune")
    given = [step["with"]["path"] for job in jobs.values() for step in job["steps"] if step.get("with", {}).get("path")]
    assert given == ["dist/", "dist/"]
