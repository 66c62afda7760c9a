"""Firefox without a window for scripts/screenshots.py, over WebDriver BiDi (www.w3.org/TR/webdriver-bidi)."""

from __future__ import annotations

import base64
import itertools
import json
import os
import queue
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from websockets.sync.client import ClientConnection, connect

NAMES = ("firefox-esr", "firefox")
PATIENCE = 120.0  # seconds for one answer of the browser
SCHEMES = {"dark": 0, "light": 1}  # as Firefox numbers them


class Firefox:
    """A page in a Firefox that runs.

    Attributes:
        console: what pages wrote to the console, with errors of scripts.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.console: list[str] = []
        self._socket = socket
        self._numbers = itertools.count()
        self.call("session.new", capabilities={})
        self.call("session.subscribe", events=["log.entryAdded"])
        self._tab = self.call("browsingContext.getTree")["contexts"][0]["context"]

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command of the protocol.

        Raises:
            RuntimeError: the browser refused it.
            TimeoutError: it did not answer.
        """
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE))
            if message["type"] == "event":
                self.console.append(message["params"]["text"])
            elif message["type"] == "error":
                raise RuntimeError(f"Firefox refused {method}: {message['error']}: {message['message']}")
            else:
                result: dict[str, Any] = message["result"]
                return result

    def show(self, page: Path, width: int, height: int) -> None:
        """Load a page, with all that it needs, in a viewport of so many pixels."""
        self.call("browsingContext.setViewport", context=self._tab, viewport={"width": width, "height": height})
        self.call("browsingContext.navigate", context=self._tab, url=page.as_uri(), wait="complete")

    def text_of(self, expression: str) -> str | None:
        """The text that a promise of the page fulfils with; None if it fails."""
        answer = self.call("script.evaluate", expression=expression, target={"context": self._tab}, awaitPromise=True)
        return answer["result"]["value"] if answer["type"] == "success" else None

    def photograph(self, picture: Path, width: int, height: int) -> None:
        """Write a PNG of so many pixels of the page, from its upper left corner."""
        clip = {"type": "box", "x": 0, "y": 0, "width": width, "height": height}
        data = self.call("browsingContext.captureScreenshot", context=self._tab, origin="document", clip=clip)["data"]
        picture.write_bytes(base64.b64decode(data))


def command() -> str | None:
    """The command of Firefox; None if it is not installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def firefox(theme: str) -> Iterator[Firefox]:
    """A Firefox with a new profile, which ends with the block.

    Args:
        theme: "light" or "dark", what the system prefers.
    """
    found = command()
    if found is None:
        raise SystemExit("Firefox is not installed (on Debian: apt-get install firefox-esr)")
    with tempfile.TemporaryDirectory(prefix="firefox-", ignore_cleanup_errors=True) as home:
        preferences = {"layout.css.prefers-color-scheme.content-override": SCHEMES[theme], "ui.useOverlayScrollbars": 1}
        lines = (f"user_pref({json.dumps(name)}, {value});\n" for name, value in preferences.items())
        (Path(home) / "user.js").write_text("".join(lines), "utf-8")
        process = subprocess.Popen(
            [found, "--headless", "--no-remote", "--profile", home, "--remote-debugging-port=0"],
            env={**os.environ, "HOME": home},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            with connect(f"{_address(process)}/session", max_size=None, proxy=None) as socket:
                browser = Firefox(socket)
                yield browser
                browser.call("browser.close")
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()


def _address(process: subprocess.Popen[str]) -> str:
    """Where a browser that starts listens, as it says on stderr; the rest of that is read and dropped."""
    said: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read(stderr: IO[str]) -> None:
        lines = []
        with stderr:
            for line in stderr:
                lines.append(line)
                if match := re.match(r"WebDriver BiDi listening on (\S+)", line):
                    said.put(match[1])
        said.put("".join(lines))

    assert process.stderr is not None
    threading.Thread(target=read, args=(process.stderr,), daemon=True).start()
    answer = said.get(timeout=PATIENCE)
    if not answer.startswith("ws://"):
        raise RuntimeError(f"Firefox did not start: {answer.strip()}")
    return answer
