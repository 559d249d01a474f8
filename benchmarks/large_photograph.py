"""Most main memory that each process of a whole stack takes for one large photograph: API, decoders, worker.

    python -m benchmarks.large_photograph [WIDTH HEIGHT]

Starts `plumage up` with the weights that the environment chooses, `models/mini` by default, sends a JPEG of 8064 x 6048
pixels with noise in every one of them as target, a mask of its size, and a small reference; waits for the result; and
prints the peak of resident memory (`VmHWM`) of every process, as the kernel has counted it. Linux only.
"""

import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

PORT = 8791
URL = f"http://127.0.0.1:{PORT}"
NAMES = {
    "uploads.decoder_process": "decoder",
    "-m worker": "worker",
    "redis": "redis",
    "cli serve": "api",
    "cli worker": "supervisor of the worker",
    "cli up": "plumage up",
    "cli deliver": "webhooks",
}
START_S, JOB_S = 180.0, 600.0


def photograph(width: int, height: int) -> bytes:
    """A JPEG as a phone writes it, with noise of its own in every pixel."""
    rng = np.random.default_rng(0)
    across, down = np.linspace(0, 200, width, dtype=np.float32), np.linspace(0, 55, height, dtype=np.float32)
    pixels = (across[None, :, None] + down[:, None, None]) * np.array([1.0, 0.8, 0.5], np.float32)
    pixels += rng.integers(-8, 8, (height, width, 1), dtype=np.int8)
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()


def mask(width: int, height: int) -> bytes:
    file = io.BytesIO()
    image = Image.new("L", (width, height), 0)
    image.paste(255, (width // 4, height // 4, width * 3 // 4, height * 3 // 4))
    image.save(file, "PNG")
    return file.getvalue()


def descendants(pid: int) -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            children += map(int, (task / "children").read_text().split())
    return [pid, *(each for child in children for each in descendants(child))]


def peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def peaks(pid: int) -> dict[str, float]:
    """In MB; of several processes of one kind the largest."""
    found: dict[str, float] = {}
    for each in descendants(pid):
        with suppress(OSError, StopIteration):
            command = Path(f"/proc/{each}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            name = next((name for part, name in NAMES.items() if part in command), command.strip()[:60])
            found[name] = max(found.get(name, 0.0), peak_mb(each))
    return found


def finished(http: httpx.Client, parts: dict[str, Any]) -> dict[str, Any]:
    response = http.post("/v1/transfers", files=parts)
    response.raise_for_status()
    record: dict[str, Any] = response.json()
    deadline = time.monotonic() + JOB_S
    while record["finished_at"] is None and time.monotonic() < deadline:
        time.sleep(0.5)
        record = http.get(record["urls"]["self"]).json()
    return record


def main(width: int = 8064, height: int = 6048) -> None:
    small = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(small, "PNG")
    parts = {
        "target": ("target.jpg", photograph(width, height)),
        "reference": ("reference.png", small.getvalue()),
        "target_mask": ("mask.png", mask(width, height)),
    }
    with tempfile.TemporaryDirectory() as folder:
        environment = {"PLUMAGE_MODEL": "models/mini", **os.environ}
        command = [sys.executable, "-m", "cli", "up", "--port", str(PORT), "--data-dir", folder]
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as stack:
            try:
                with httpx.Client(base_url=URL, timeout=120, trust_env=False) as http:
                    wait_until_ready(http)
                    before = peaks(stack.pid)
                    record = finished(http, parts)
                    after = peaks(stack.pid)
            finally:
                stack.send_signal(signal.SIGTERM)
    sys.stdout.write(f"{record['status']} {record['inputs']['target']} {record['error'] or ''}\n")
    for name, most in sorted(after.items()):
        sys.stdout.write(f"{name:<20} {before.get(name, 0.0):7.0f} MB when ready {most:7.0f} MB at most\n")


def wait_until_ready(http: httpx.Client) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if http.get("/healthz/ready").status_code == 200:
                return
        time.sleep(0.5)
    raise TimeoutError("the stack is not ready")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
