"""Running `plumage` as a person does, and knowing which processes it left behind."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE_S = 120.0
MARK = "PLUMAGE_TEST_MARK"


@dataclass
class Shell:
    """An environment whose processes can be distinguished from all others."""

    checkpoint: Path
    folder: Path
    """Working directory, and where stderr goes."""
    temporary: Path
    """TMPDIR: a short path, because sockets lie in it."""
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PLUMAGE_")}
        threads = {"PLUMAGE_MODEL": str(self.checkpoint), "PLUMAGE_THREADS": "1", "OMP_NUM_THREADS": "1"}
        return {**clean, **threads, "TMPDIR": str(self.temporary), MARK: self.mark}

    def start(self, *arguments: str, more: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        with (self.folder / "stderr.txt").open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "cli", *arguments],
                cwd=self.folder,
                env={**self.environment, **(more or {})},
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.started.append(process)
        return process

    def run(self, *arguments: str) -> str:
        """A command beside those that run, to its end. Fails when it does."""
        command = [sys.executable, "-m", "cli", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def kill_all(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    @property
    def stderr(self) -> str:
        """What the command that was started last has written so far."""
        return (self.folder / "stderr.txt").read_text()

    def wait_for_line(self, words: str, process: subprocess.Popen[str]) -> None:
        """Returns when `process` has written `words` to stderr. Fails when it ends before."""
        deadline = time.monotonic() + PATIENCE_S
        while words not in self.stderr:
            assert process.poll() is None, self.stderr
            assert time.monotonic() < deadline, self.stderr
            time.sleep(0.1)

    def processes(self) -> dict[int, str]:
        """Living processes of this environment: process id and command line. Reads /proc, so Linux only."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (folder / "cmdline").read_text().replace("\0", " ").strip()
                marked = f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes()
                # Redis writes its title over its environment, and names its socket there.
                places = (str(self.folder), str(self.temporary))
                if marked or ("redis-server" in command and any(place in command for place in places)):
                    found[int(folder.name)] = command
        return found

    def wait_until_gone(self, within_s: float) -> None:
        """Fails when a process of this environment still lives after `within_s` seconds."""
        deadline = time.monotonic() + within_s
        while left := self.processes():
            assert time.monotonic() < deadline, left
            time.sleep(0.05)
