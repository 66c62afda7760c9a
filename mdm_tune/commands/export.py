"""The ``export`` command: it writes a policy for a sampler outside this package, and verifies it there if asked to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

from mdm_tune.core.errors import InputError
from mdm_tune.core.files import write_text
from mdm_tune.core.messages import listed, quantity, shown_path, system_reason
from mdm_tune.core.reading import expanded
from mdm_tune.core.trust import require_trust
from mdm_tune.exports.base import Exported, ExportFormat, Realised, Verifiable
from mdm_tune.exports.policy import Policy, read_policy
from mdm_tune.exports.registry import FORMATS, format_of
from mdm_tune.run.export_records import ExportResult, RealisedRecord
from mdm_tune.schedules.adaptive_names import parse_adaptive
from mdm_tune.schedules.curves import begins_with_schedule_name
from mdm_tune.version import __version__

__all__ = ["export"]

OWN = "mdm-tune export --to"  # in the first lines of every exported file, see Policy.provenance
FIRST = 2000  # characters of a file in which it is looked for


def export(
    name: str,
    to: str,
    *,
    length: int | None = None,
    steps: int | None = None,
    block_length: int | None = None,
    output: str | None = None,
    verify: str | None = None,
    trust_code: bool = False,
    doing: Callable[[str, str], None] = lambda text, detail: None,
) -> ExportResult:
    """Write a policy in the form of another sampler.

    Args:
        name: A run folder, a schedule file, a schedule or an adaptive policy, as on the command line.
        to: Name of the export format.
        length: Tokens to fill; None for the file's.
        steps: Of all blocks together; None for the file's only budget.
        block_length: Tokens of a block; None for the file's, or for one block.
        output: The folder to write to; None for ``export-FORMAT`` in the run folder, or here.
        verify: The folder of the peer's code, which is run on what was exported; None for no verification.
        trust_code: Whether foreign code may run.
        doing: Called with what is done next, and with a detail that a narrow terminal leaves out.

    Returns:
        The result, with the verification if there was one.

    Raises:
        InputError: If the policy cannot be read, if the target cannot express it, if code is to run that is not
            trusted, or if a file that this command did not write is in the way.
        RunError: If the files cannot be written, or if the peer's code fails.
    """
    target = format_of(to, trust_code)
    if verify is not None:
        _check_verifiable(target, verify, trust_code)
    doing("reading the schedule", name)
    policy = read_policy(name, steps, length, block_length)
    policy = replace(policy, fixed=_fixed_counts(name, steps) or policy.fixed)
    doing("converting it", target.target)
    made = target.export(policy)
    folder = _folder(name, target.name, output)
    doing(f"writing {quantity(len(made.files), 'file')}", str(folder))
    files = _write(folder, made.files)
    realised = None
    if verify is not None:
        doing("running the sampler's own code on them", verify)
        realised = cast(Verifiable, target).verify(policy, folder, Path(expanded(verify)))
    return _result(policy, target, made, files, realised)


def _fixed_counts(name: str, steps: int | None) -> tuple[str, int] | None:
    """The best fixed counts and their budget, of the search in a run folder; None if it has none at these steps."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        record = json.loads((Path(expanded(name)) / "search.json").read_text("utf-8"))
        budgets = [each for each in record["budgets"] if steps in (None, each["steps"])]
        pairs = [(each, budget["steps"]) for budget in budgets for each in budget["policies"]]
        found = [(each["policy"], at) for each, at in pairs if each["kind"] == "counts"]
        if found and found[0][0]:
            return str(found[0][0]), int(found[0][1])
    return None


def _check_verifiable(target: ExportFormat, verify: str, trust_code: bool) -> None:
    if not hasattr(target, "verify"):
        can = [known.name for known in FORMATS.values() if hasattr(known, "verify")]
        raise InputError(
            f"--verify: {target.name} has no code of a peer that could run, got {shown_path(verify)}; leave it out, or "
            f"export to one of {listed(can)}"
        )
    require_trust(trust_code, f"--verify {shown_path(verify)}")


def _folder(name: str, format_name: str, output: str | None) -> Path:
    """The folder to write to."""
    if output is not None:
        return Path(expanded(output))
    if begins_with_schedule_name(name) or parse_adaptive(name) is not None:
        return Path(f"export-{format_name}")
    source = Path(expanded(name))  # it exists, because the policy was read from it
    return (source if source.is_dir() else source.parent) / f"export-{format_name}"


def _write(folder: Path, files: Mapping[str, str]) -> dict[str, str]:
    """Write the files and return their paths by name. Files that this command did not write are not replaced."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (folder / file for file in files):
            if path.exists():
                with path.open(encoding="utf-8", errors="replace") as opened:
                    if OWN not in opened.read(FIRST):
                        raise InputError(
                            f"--output: {shown_path(path)} was not written by this command and would be replaced; "
                            "move it away, or give another folder"
                        )
    except OSError as error:
        raise InputError(f"--output: cannot write into {shown_path(folder)}: {system_reason(error)}") from None
    return {file: str(write_text(folder / file, text)) for file, text in files.items()}


def _result(
    policy: Policy, target: ExportFormat, made: Exported, files: dict[str, str], realised: Realised | None
) -> ExportResult:
    return ExportResult(
        version=__version__,
        format=target.name,
        target=target.target,
        name=policy.name,
        kind=policy.kind,
        schedule=policy.schedule or None,
        length=policy.length,
        steps=policy.steps or None,
        block_length=policy.block_length,
        counts_by_block=policy.counts,
        alphas=policy.alphas,
        value=policy.value,
        kl=policy.kl,
        exact=target.exact,
        files=files,
        where=made.where,
        lost=made.lost,
        notes=policy.notes,
        verification=None
        if realised is None
        else RealisedRecord(wanted=realised.wanted, realised=realised.realised, equal=realised.equal, ran=realised.ran),
    )
