"""A real headless browser, driven through its debugging pipe: keys, console, screenshots."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in _NAMES if (path := shutil.which(name))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no browser: apt install chromium")
_KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35}


class Tab:
    """One open page.

    Attributes:
        complaints: What the console said at the level of a warning or an error, and exceptions.
        loaded: Addresses that the page asked for.
    """

    def __init__(self, read_fd, write_fd):
        self.complaints, self.loaded = [], []
        self._read, self._write = read_fd, write_fd
        self._rest, self._last, self._session = b"", 0, None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        """Ask the browser to do something; return its answer."""
        self._last += 1
        asked = {"id": self._last, "method": method, "params": params}
        if self._session:
            asked["sessionId"] = self._session
        os.write(self._write, json.dumps(asked).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == self._last:
                assert "error" not in message, (method, message)
                return message["result"]

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def run(self, expression):
        """What an expression of the page is worth."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def until(self, expression, limit_s=60.0):
        end = time.monotonic() + limit_s
        while not self.run(expression):
            assert time.monotonic() < end, (expression, self.text("body"), self.complaints)
            time.sleep(0.02)

    def text(self, selector):
        return self.run(f"document.querySelector({json.dumps(selector)}).textContent")

    def shown(self, selector):
        return self.run(f"document.querySelector({json.dumps(selector)}).offsetParent !== null")

    def focus(self):
        return self.run("document.activeElement.id")

    def key(self, name, text=None):
        """Press a key as a person does."""
        code = _KEYS.get(name, 0)
        text = {"Enter": "\r", " ": " "}.get(name, text)
        both = {"key": name, "windowsVirtualKeyCode": code, "nativeVirtualKeyCode": code}
        self.call(
            "Input.dispatchKeyEvent", type="keyDown", **both, **({"text": text} if text else {})
        )
        self.call("Input.dispatchKeyEvent", type="keyUp", **both)

    def tab_to(self, element_id, limit=30):
        """Press Tab until an element has the focus."""
        for _ in range(limit):
            if self.focus() == element_id:
                return
            self.key("Tab")
        raise AssertionError(f"Tab does not reach {element_id}; it is at {self.focus()}")

    def type(self, text):
        self.call("Input.insertText", text=text)

    def choose_file(self, selector, path):
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def drop_file(self, selector, path):
        """Drag a file over an element and let go."""
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        x, y = self.run(f"{box}.x") + 9, self.run(f"{box}.y") + 9
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def look(self, dark=False, width=1000, height=900):
        """Set the size of the window, and whether the reader likes it dark."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def screenshot(self):
        """The window as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def _next(self, limit_s=60.0):
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], limit_s)
            assert ready, "the browser does not answer"
            part = os.read(self._read, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        line, self._rest = self._rest.split(b"\0", 1)
        message = json.loads(line)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method, params):
        if method == "Runtime.exceptionThrown":
            self.complaints.append(
                params["exceptionDetails"].get("exception", {}).get("description")
            )
        elif method == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning"}:
            self.complaints.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.loaded.append(params["request"]["url"])


@contextlib.contextmanager
def browser():
    """A tab of a new browser with an empty profile."""
    to_browser, from_browser = os.pipe(), os.pipe()

    with tempfile.TemporaryDirectory(prefix="sole-browser-", ignore_cleanup_errors=True) as profile:
        command = [
            str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--remote-debugging-pipe", f"--user-data-dir={profile}",
        ]  # fmt: skip
        # The browser reads descriptor 3 and writes descriptor 4, whatever ours are called.
        moved = f'exec "$@" 3<&{to_browser[0]} 4>&{from_browser[1]}'
        process = subprocess.Popen(
            ["bash", "-c", moved, "bash", *command], pass_fds=(to_browser[0], from_browser[1]),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser[0])
        os.close(from_browser[1])
        try:
            yield Tab(from_browser[0], to_browser[1])
        finally:
            os.close(to_browser[1])
            os.close(from_browser[0])
            process.terminate()
            process.wait(20)
