"""A headless Chromium, driven by the WebDriver protocol: no package is needed for it."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip


class Browser:
    """One window."""

    def __init__(self, session: str) -> None:
        self._session = session

    def open(self, page: Path) -> None:
        """Load a file."""
        _call(f"{self._session}/url", {"url": page.absolute().as_uri()})

    def run(self, script: str) -> Any:
        """What a script returns."""
        return _call(f"{self._session}/execute/sync", {"script": script, "args": []})

    def size(self, width: int, height: int, scale: float = 1.0) -> None:
        """A screen of so many CSS pixels; under 600 it is a phone's."""
        self._command(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600},
        )

    def prefer(self, scheme: str) -> None:
        """``light`` or ``dark``."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._command("Emulation.setEmulatedMedia", {"features": [feature]})

    def picture(self, file: Path, whole: bool = False) -> None:
        """A screenshot; of the whole page if told."""
        told = self._command(
            "Page.captureScreenshot", {"format": "png", "captureBeyondViewport": whole}
        )
        file.write_bytes(base64.b64decode(told["data"]))

    def log(self) -> list[str]:
        """Errors and warnings so far."""
        return [entry["message"] for entry in _call(f"{self._session}/se/log", {"type": "browser"})]

    def _command(self, name: str, parameters: dict[str, Any]) -> Any:
        return _call(f"{self._session}/goog/cdp/execute", {"cmd": name, "params": parameters})


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own, ended with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        [str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            base = f"http://127.0.0.1:{port}/session"
            _wait(f"http://127.0.0.1:{port}/status")
            options = {
                "binary": CHROMIUM,
                "args": [*_FLAGS, f"--user-data-dir={profile}"],
            }
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            session = _call(base, {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
            try:
                yield Browser(f"{base}/{session}")
            finally:
                _call(f"{base}/{session}", None, "DELETE")
        finally:
            process.terminate()


def _wait(url: str) -> None:
    for _ in range(300):
        try:
            _call(url, None, "GET")
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(url)


def _call(url: str, body: Any, verb: str = "POST") -> Any:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, method=verb)
    request.add_header("Content-Type", "application/json")
    # Not through a proxy: this is our own machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=120) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(json.load(error)["value"]["message"]) from error
