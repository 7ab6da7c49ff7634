"""A running node for tests."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
HYPERMESH = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "hypermesh"
START_SECONDS_MAX = 60


class Node:
    """Starts `hypermesh up` in a directory of its own and ends it."""

    def __enter__(self) -> "Node":
        self._place = tempfile.TemporaryDirectory(prefix="mfn-python-")
        self.directory = Path(self._place.name) / "node"
        self.run("init")
        self._process = subprocess.Popen(
            [HYPERMESH, "up", "--dir", self.directory, "--listen", "[::1]:0"],
            stdout=subprocess.DEVNULL,
            stderr=(Path(self._place.name) / "log").open("wb"),
        )
        until = time.monotonic() + START_SECONDS_MAX
        while not self.socket("metrics").exists():
            if self._process.poll() is not None or time.monotonic() > until:
                log = (Path(self._place.name) / "log").read_text(errors="replace")
                self.__exit__()
                raise RuntimeError(f"the node did not start:\n{log}")
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._place.cleanup()

    def run(self, *arguments: str) -> str:
        command = [HYPERMESH, *arguments, "--dir", self.directory]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def socket(self, service: str) -> Path:
        return self.directory / "run" / f"hypermesh_{service}.sock"
