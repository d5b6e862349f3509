"""The browser page in headless Chromium: from a dropped scan to its mask, beside `predict`.

    make web browser-env
    python benchmarks/web.py SCAN

SCAN is a whole head at 1 mm. Each round opens the page anew: on one thread, on two (the isolated
page, where it may use threads), and `stroke-nets predict` in a process of its own on one thread.
"Memory" is the peak of the page's process and of its worker, which is a thread of it. Medians.
Writes results/web.json.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright
from record import comparison, write

from stroke_nets.web_server import page_folder, page_server

LIMIT_S, LIMIT_MIB, LIMIT_MB = 30.0, 1536.0, 25.0
PATIENCE = 900_000  # ms
OPTIONS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader"]
OPTIONS += ["--enable-unsafe-swiftshader"]


@contextmanager
def served(isolated: bool) -> Iterator[str]:
    """The page's address on this machine."""
    server = page_server(0, isolated)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def drop(browser: Browser, url: str, scan: Path) -> dict[str, Any]:
    """Seconds from the drop to the drawn mask, the page's own steps, and MiB at its peak."""
    page = browser.new_context(service_workers="block").new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    page.wait_for_selector("body[data-state=ready]")
    began = time.perf_counter()
    page.set_input_files("#file", scan)
    page.wait_for_selector("body[data-state=found]")
    found: dict[str, Any] = {"clock_s": time.perf_counter() - began, "peak_mib": renderer_mib()}
    with page.expect_download() as saved:
        page.click("#save-report")
    report = json.loads(saved.value.path().read_text())
    found |= {key: report[key] for key in ("runtime", "seconds")}
    page.context.close()
    return found


def renderer_mib() -> float:
    """Peak resident memory of Chromium's largest page process."""
    peaks = [0]
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if b"--type=renderer" in (status.parent / "cmdline").read_bytes():
                line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
                peaks.append(int(line.split()[1]))
        except FileNotFoundError:  # it has ended
            continue
    return max(peaks) / 1024


def predict(scan: Path) -> dict[str, float]:
    """Seconds and processor seconds of ``stroke-nets predict``, whose cached network is there."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "stroke_nets", "predict", str(scan), out, "--quiet"]
        before, began = os.times(), time.perf_counter()
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run([*command, "--device", "cpu"], check=True, env=environment)
        after = os.times()
        work = after.children_user + after.children_system
        work -= before.children_user + before.children_system
        return {"clock_s": time.perf_counter() - began, "cpu_s": work}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rounds: dict[str, list[dict[str, Any]]] = {"one": [], "two": [], "predict": []}
    with sync_playwright() as player, served(False) as plain, served(True) as isolated:
        for number in range(-1, options.repeats):  # the first is not counted: files are read
            for name, url in {"one": plain, "two": isolated}.items():
                browser = player.chromium.launch(
                    executable_path=shutil.which("chromium"), args=OPTIONS
                )
                told = browser.version
                measured = drop(browser, url, options.scan)
                browser.close()
                if number >= 0:
                    rounds[name].append(measured)
            measured = predict(options.scan)
            if number >= 0:
                rounds["predict"].append(measured)
            print(number, {name: all_[-1:] for name, all_ in rounds.items()}, flush=True)
    clock = {
        name: statistics.median(one["clock_s"] for one in all_) for name, all_ in rounds.items()
    }
    peak = max(one["peak_mib"] for name in ("one", "two") for one in rounds[name])
    weight = sum(file.stat().st_size for file in page_folder().rglob("*") if file.is_file()) / 2**20
    write(
        "web",
        {
            "one thread, limit": comparison(clock["one"], LIMIT_S, 1),
            "one thread, predict on one thread": comparison(clock["one"], clock["predict"], None),
            "two threads, predict on one thread": comparison(clock["two"], clock["predict"], None),
            "memory of the page, limit": comparison(peak, LIMIT_MIB, 1, unit="MiB"),
            "page with runtime and weights, limit": comparison(weight, LIMIT_MB, 1, unit="MiB"),
        },
        chromium=told,
        repeats=options.repeats,
        steps={rounds[name][-1]["runtime"]: rounds[name][-1]["seconds"] for name in ("one", "two")},
    )


if __name__ == "__main__":
    main()
