"""A headless browser that loads a page and says what it did, by Chrome's DevTools protocol over a pipe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATH = next(filter(None, map(shutil.which, ("chromium", "chromium-headless-shell", "google-chrome"))), None)
# https://chromedevtools.github.io/devtools-protocol/: Chrome reads messages from one and writes to the other.
READS, WRITES = 3, 4
SECONDS = 60


class Page:
    """A page as a browser shows it."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from, self._number, self._left = to_browser, from_browser, 0, b""
        self.events: list[dict[str, Any]] = []
        target = self._do("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._do(f"{domain}.enable")

    _session = ""

    def open(self, file: Path, width: int, scheme: str = "light") -> None:
        """Load a file into a window of this width, and wait until it is there."""
        self._do("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._do("Emulation.setEmulatedMedia", features=features)
        self.events.clear()
        self._do("Page.navigate", url=file.resolve().as_uri())
        while "Page.loadEventFired" not in [event["method"] for event in self.events]:
            self._receive()

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        return self._do("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def errors(self) -> list[str]:
        """What was said on the console, thrown, or logged by the browser itself, since the page was opened."""
        said = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(event["params"]) for event in self.events if event["method"] in said]

    def requests(self) -> list[str]:
        """The URLs that were asked for since then, the page's own first."""
        sent = [event["params"] for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [request["request"]["url"] for request in sent]

    def _do(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._number:
            pass
        assert "error" not in answer, f"{method}: {answer['error']}"
        return dict(answer["result"])

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            data = os.read(self._from, 2**16)
            assert data, "the browser has ended"
            self._left += data
        text, _, self._left = self._left.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self.events.append(message)
        return message


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A browser with a fresh profile in the folder `profile`."""
    assert PATH
    command = [PATH, "--headless", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--disable-gpu"]
    # A container has small shared memory, and root none of the sandbox's namespaces.
    command += ["--no-first-run", "--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    # timeout(1) ends a browser that hangs, and with it whoever waits for its next word.
    move = f'exec {READS}<&{theirs_in} {WRITES}>&{theirs_out}; exec timeout {SECONDS} "$@"'
    process = subprocess.Popen(
        ["bash", "-c", move, "browser", *command],
        pass_fds=(theirs_in, theirs_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Page(ours_out, ours_in)
    finally:
        process.terminate()
        process.wait()
        os.close(ours_out)
        os.close(ours_in)
