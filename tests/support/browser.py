"""A headless browser that loads a page and reports what it did, by Chrome's DevTools protocol over a pipe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

PATH = next(filter(None, map(shutil.which, ("chromium", "chromium-headless-shell", "google-chrome"))), None)
# https://chromedevtools.github.io/devtools-protocol/: Chrome reads messages from one and writes to the other.
READS, WRITES = 3, 4
SECONDS = 60
# Chrome ends what it loads when an interface comes or goes, as those of other tests' hosts do.
NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"
# Keys by name, with their key code and text.
KEYS = {"Enter": (13, "\r"), "Tab": (9, "")}


class Answer(NamedTuple):
    """A server's response to a request; the names of `headers` are in lower case."""

    url: str
    status: int
    # "h2" is HTTP/2.
    protocol: str
    headers: dict[str, str]
    # As sent over the network, with the headers.
    bytes: int


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

    def open(self, place: Path | str, width: int = 1280, scheme: str = "light") -> None:
        """Load a file or URL into a window of this width, and wait until it is there."""
        self._do("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._do("Emulation.setEmulatedMedia", features=features)
        url = place if isinstance(place, str) else place.resolve().as_uri()
        self._load("Page.navigate", url=url)

    def reload(self) -> None:
        """Load the page again, as a user does."""
        self._load("Page.reload")

    def _load(self, method: str, **parameters: Any) -> None:
        last = time.monotonic() + SECONDS
        while self._is_interrupted(method, **parameters):
            assert time.monotonic() < last, f"{NETWORK_CHANGED} for {SECONDS} s"
            time.sleep(0.5)

    def _is_interrupted(self, method: str, **parameters: Any) -> bool:
        """Load once; whether a request has failed because this machine's network interfaces changed meanwhile."""
        self.events.clear()
        answer = self._do(method, **parameters)
        if answer.get("errorText") == NETWORK_CHANGED:
            return True
        assert "errorText" not in answer, answer["errorText"]
        while "Page.loadEventFired" not in [event["method"] for event in self.events]:
            self._receive()
        return self.gave_up()

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        answer = self._do("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, script: str, seconds: float = 10) -> Any:
        """The value of an expression as soon as it is truthy."""
        last = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < last, (
                f"{script}: not within {seconds} s on: {self.run('document.body.innerText')}"
            )
            time.sleep(0.05)
        return value

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self._do("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press a key of KEYS."""
        code, text = KEYS[key]
        told = {"key": key, "code": key, "windowsVirtualKeyCode": code, "text": text}
        for kind in ("keyDown", "keyUp"):
            self._do("Input.dispatchKeyEvent", type=kind, **told)

    def errors(self) -> list[str]:
        """Messages on the console, exceptions, and the browser's own log entries since the page was opened, without
        those of requests that it `gave_up`."""
        return [text for text in self._said() if NETWORK_CHANGED not in text]

    def gave_up(self) -> bool:
        """Whether a request has ended since the page was opened because this machine's network interfaces changed."""
        return any(event["params"].get("errorText") == NETWORK_CHANGED for event in self.events)

    def _said(self) -> list[str]:
        said = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(event["params"]) for event in self.events if event["method"] in said]

    def requests(self) -> list[str]:
        """The URLs requested since then, the page's own first."""
        sent = [event["params"] for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [request["request"]["url"] for request in sent]

    def answers(self) -> list[Answer]:
        """The complete responses to them, in the order in which they began."""
        ended = {}
        for event in self.events:
            if event["method"] == "Network.loadingFinished":
                ended[event["params"]["requestId"]] = int(event["params"]["encodedDataLength"])
        found = []
        for event in self.events:
            request = event["params"].get("requestId")
            if event["method"] == "Network.responseReceived" and request in ended:
                response = event["params"]["response"]
                headers = {name.lower(): value for name, value in response["headers"].items()}
                said = response["url"], response["status"], response["protocol"], headers
                found.append(Answer(*said, ended[request]))
        return found

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


def trust(profile: Path, authorities: str) -> None:
    """Let the browser of a profile trust the root in a file, as it does those of the system."""
    # https://chromium.googlesource.com/chromium/src/+/main/docs/linux/cert_management.md
    folder = profile / ".pki/nssdb"
    folder.mkdir(parents=True)
    database = ["certutil", "-d", f"sql:{folder}"]
    subprocess.run([*database, "-N", "--empty-password"], check=True)
    subprocess.run([*database, "-A", "-n", "root", "-t", "C,,", "-i", authorities], check=True)


@contextmanager
def browser(profile: Path, *options: str, seconds: int = SECONDS) -> Iterator[Page]:
    """A browser with a fresh profile in the folder `profile`. It is ended after some seconds."""
    assert PATH
    command = [PATH, "--headless", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--disable-gpu"]
    # A container's shared memory is small, and the sandbox does not work for root.
    command += ["--no-first-run", "--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    command += options
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    # timeout(1) ends a browser that hangs, and so the test that reads from it.
    move = f'exec {READS}<&{theirs_in} {WRITES}>&{theirs_out}; exec timeout {seconds} "$@"'
    process = subprocess.Popen(
        ["bash", "-c", move, "browser", *command],
        pass_fds=(theirs_in, theirs_out),
        env={**os.environ, "HOME": str(profile)},
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
