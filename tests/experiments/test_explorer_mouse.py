"""The report under a real mouse: a browser is driven through its DevTools, for what made-up events do not show."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from builders.experiments import run, tiny

from tafukt.experiments.report.report import write_report

FLAGS = "--headless --no-sandbox --disable-gpu --remote-debugging-port=0 --remote-allow-origins=*"
OVER = "[...document.querySelectorAll('#charts .u-over')].at(NUMBER)"
FRAME = f"(() => {{ const o = {OVER}; o.scrollIntoView({{block: 'center'}}); const r = o.getBoundingClientRect();"
FRAME += " return [r.left, r.top, r.width, r.height]; })()"
TIMES = r"\w{3}, \d+ \w+ \d{4}, \d\d:\d\d"


async def _used(address: str) -> dict[str, str]:
    """Drag over a quarter of the first chart, then click the first job that the pointer finds in the last one."""
    from tornado.websocket import websocket_connect

    socket = await websocket_connect(address)
    number = 0

    async def call(method: str, **params: Any) -> Any:
        nonlocal number
        number += 1
        await socket.write_message(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(await socket.read_message() or "{}")
            if answer.get("id") == number:
                return answer["result"]

    async def value(expression: str) -> Any:
        found = await call("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")

    async def mouse(kind: str, x: float, y: float, **more: Any) -> None:
        await call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    left: dict[str, Any] = {"button": "left", "clickCount": 1}
    for _ in range(100):
        if await value("document.querySelectorAll('#charts canvas').length"):
            break
        await asyncio.sleep(0.1)
    said = {"before": await value("document.getElementById('stretch').textContent")}
    x, y, width, height = await value(FRAME.replace("NUMBER", "0"))
    await asyncio.sleep(0.3)
    await mouse("mouseMoved", x + width / 4, y + height / 2)
    await mouse("mousePressed", x + width / 4, y + height / 2, **left)
    for part in (0.3, 0.4, 0.5):
        await mouse("mouseMoved", x + width * part, y + height / 2, button="left", buttons=1)
    await mouse("mouseReleased", x + width / 2, y + height / 2, **left)
    await asyncio.sleep(0.3)
    said["after"] = await value("document.getElementById('stretch').textContent")
    await value("document.querySelector('[data-move=all]')?.click()")
    x, y, width, height = await value(FRAME.replace("NUMBER", "-1"))
    await asyncio.sleep(0.3)
    for across, down in [(i / 60, k / 24) for i in range(1, 60) for k in range(1, 24)]:
        at = (x + width * across, y + height * down)
        await mouse("mouseMoved", *at)
        if await value(OVER.replace("NUMBER", "-1") + ".style.cursor") == "pointer":
            said["tip"] = await value("document.querySelector('#charts .tip:not([hidden])').textContent")
            await mouse("mousePressed", *at, **left)
            await mouse("mouseReleased", *at, **left)
            await asyncio.sleep(0.3)
            break
    return said | {"story": await value("document.getElementById('story').textContent")}


def _address(profile: Path) -> str:
    """Where the page of the browser with this profile is spoken to."""
    from urllib.request import urlopen

    for _ in range(200):
        if (profile / "DevToolsActivePort").exists():
            port = (profile / "DevToolsActivePort").read_text().split()[0]
            with urlopen(f"http://127.0.0.1:{port}/json") as found:
                pages = [page for page in json.load(found) if page["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
        time.sleep(0.1)
    pytest.fail("the browser did not open its DevTools")


def test_dragging_chooses_a_period_and_a_click_on_a_job_tells_its_story(tmp_path: Path) -> None:
    pytest.importorskip("tornado")
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium here")
    (tmp_path / "e.toml").write_text(tiny())
    assert run(tmp_path / "e.toml", tmp_path / "out").ok
    page = write_report(tmp_path / "out")
    profile = tmp_path / "profile"
    command = [browser, *FLAGS.split(), "--window-size=1280,1000", f"--user-data-dir={profile}", f"file://{page}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            said = asyncio.run(asyncio.wait_for(_used(_address(profile)), 60))
        finally:
            process.terminate()
    moments = re.findall(TIMES, said["before"]) + re.findall(TIMES, said["after"])
    begin, end, after, until = (datetime.strptime(text, "%a, %d %b %Y, %H:%M") for text in moments)
    assert (after - begin) / (end - begin) == pytest.approx(0.25, abs=0.03)
    assert (until - begin) / (end - begin) == pytest.approx(0.5, abs=0.03)
    assert said["tip"].partition(":")[0] in said["story"]
    assert "submitted at" in said["story"]
