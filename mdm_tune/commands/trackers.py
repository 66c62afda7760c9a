"""Experiment trackers through their own libraries: Weights & Biases, TensorBoard, trackio. Only ``tracking`` uses them.

Each library logs where its own settings say. No other module imports them, and only the configured one is loaded.
"""

from __future__ import annotations

import importlib
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mdm_tune.core.errors import InputError
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.run.folder import RunFolder

__all__ = ["Beginning", "Row", "Tracker", "check_installed", "open_tracker"]

Row = Mapping[str, float | str]

PROJECT = "mdm-tune"
MODULES = {"wandb": ("wandb", "init"), "tensorboard": ("torch.utils.tensorboard", "SummaryWriter")}
MODULES |= {"trackio": ("trackio", "init")}
UPLOAD = 60  # seconds that wandb may take at the end; what is not sent by then stays on disk


@dataclass(frozen=True)
class Beginning:
    """What a tracker's run begins with.

    Attributes:
        folder: The run folder.
        name: Name of the tracker's run: that of the run folder.
        id: Its id, the same in a resumed search.
        resumed: Whether an earlier command began it.
        config: Config, versions and fingerprints, without passwords.
    """

    folder: RunFolder
    name: str
    id: str
    resumed: bool
    config: Mapping[str, Any]


class Tracker(Protocol):
    """The run of a tracker. Every method may raise anything.

    Attributes:
        place: Where the run is, for a message.
    """

    place: str

    def log(self, row: Row, step: int) -> None:
        """Log the numbers and words of a trial. ``step`` is the trial's number in its budget and block length."""

    def conclude(self, summary: Row, trials: Sequence[Row]) -> None:
        """Log the result of the search, and a table of all trials."""

    def finish(self, *, failed: bool) -> None:
        """End the run, as failed if the search did not end."""


def check_installed(name: str) -> None:
    """Load a tracker's library. Raises InputError if it is not installed."""
    module, function = MODULES[name]
    try:
        found = hasattr(importlib.import_module(module), function)  # a folder called wandb is a module without it
    except ImportError:
        found = False
    if not found:
        raise InputError(
            f"search.track: {name} needs the package {name}, which is not installed; run: "
            f"pip install 'mdm-tune[{name}]', or leave search.track out"
        )


def open_tracker(name: str, beginning: Beginning) -> Tracker:
    """Begin or continue the run of a tracker.

    Args:
        name: ``wandb``, ``tensorboard`` or ``trackio``.
        beginning: What the run begins with.
    """
    kinds: dict[str, Callable[[Beginning], Tracker]] = {
        "wandb": _Wandb,
        "tensorboard": _TensorBoard,
        "trackio": _Trackio,
    }
    return kinds[name](beginning)


class _Wandb:
    """Weights & Biases. Without a login and without WANDB_MODE the run is kept on disk, and nobody is asked."""

    def __init__(self, beginning: Beginning) -> None:
        import wandb

        settings: dict[str, Any] = {"console": "off", "silent": True, "x_disable_stats": True, "x_disable_meta": True}
        settings |= {"disable_git": True, "disable_code": True, "x_save_requirements": False}
        mode = os.environ.get("WANDB_MODE") or (None if wandb.login(prompt=False) else "offline")
        if mode != "offline" and "WANDB_FINISH_TIMEOUT" not in os.environ:
            settings["finish_timeout"] = UPLOAD
        known = wandb.Settings.model_fields
        self._wandb: Any = wandb
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=beginning.name,
            id=beginning.id,
            resume="allow",
            dir=os.environ.get("WANDB_DIR", str(beginning.folder.path)),
            config=dict(beginning.config),
            mode=mode,  # type: ignore[arg-type, unused-ignore]
            settings=wandb.Settings(**{key: value for key, value in settings.items() if key in known}),
        )
        folder = Path(self._run.dir).parent
        self.place = f"{folder}; to send it: wandb sync {folder}" if self._run.offline else f"{self._run.url}"
        self._axes: set[str] = set()

    def log(self, row: Row, step: int) -> None:
        (group,) = {key.partition("/")[0] for key in row}
        if group not in self._axes:
            self._axes.add(group)
            self._run.define_metric(f"{group}/*", step_metric=f"{group}/trial")
        self._run.log(dict(row))

    def conclude(self, summary: Row, trials: Sequence[Row]) -> None:
        self._run.summary.update(dict(summary))
        if trials:
            columns = list(trials[0])
            table = self._wandb.Table(columns=columns, data=[[row.get(name) for name in columns] for row in trials])
            self._run.log({"trials": table})

    def finish(self, *, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


class _TensorBoard:
    """TensorBoard: event files in the run folder. A resumed search adds a file, which is shown as the same run."""

    def __init__(self, beginning: Beginning) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = beginning.folder.path / "tensorboard" / beginning.id
        self._writer: Any = SummaryWriter(str(folder))
        self.place = f"{folder}; to see it: tensorboard --logdir {beginning.folder.path.parent}"
        config = json.loads(json.dumps(beginning.config))
        self._text("config", "```yaml\n" + yaml_text({"run": beginning.name, **config}) + "\n```")
        self._writer.flush()

    def log(self, row: Row, step: int) -> None:
        for key, value in row.items():
            if not isinstance(value, str):
                self._writer.add_scalar(key, value, step)
        self._writer.flush()  # what a killed search has logged stays

    def conclude(self, summary: Row, trials: Sequence[Row]) -> None:
        for key, value in summary.items():
            if not isinstance(value, str):
                self._writer.add_scalar(key, value, 0)
        self._text("result", _markdown([{"": key, "value": value} for key, value in summary.items()]))
        if trials:
            self._text("trials", _markdown(trials))
        self._writer.flush()

    def finish(self, *, failed: bool) -> None:
        self._writer.close()

    def _text(self, tag: str, text: str) -> None:
        self._writer.add_text(tag, text, 0)


class _Trackio:
    """trackio: a local database, unless its own settings name a Space or a server. It prints, which is discarded."""

    def __init__(self, beginning: Beginning) -> None:
        import trackio

        self._trackio: Any = trackio
        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        with redirect_stdout(io.StringIO()):
            self._run: Any = trackio.init(
                project=project,
                name=beginning.name,
                config=json.loads(json.dumps(beginning.config)),
                resume="allow" if beginning.resumed else "never",
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
        self.place = f"the project {project}; to see it: trackio show --project {project}"

    def log(self, row: Row, step: int) -> None:
        self._run.log(dict(row))

    def conclude(self, summary: Row, trials: Sequence[Row]) -> None:
        table = {"trials": self._trackio.Table(columns=list(trials[0]), data=[[*row.values()] for row in trials])}
        self._run.log({**summary, **(table if trials else {})})

    def finish(self, *, failed: bool) -> None:
        with redirect_stdout(io.StringIO()):
            self._trackio.finish()


def _markdown(rows: Sequence[Row]) -> str:
    """Rows with the same keys as a table in Markdown."""
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [[f"{value:.6g}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
