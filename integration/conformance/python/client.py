"""The client of the conformance tests in Python: commands on standard input, one answer each on standard output, as
../README.md has them."""

from __future__ import annotations

import sys
from pathlib import Path

import records
import wire
from pool import Pool, PooledCall

SERVICE = 2


def unhex(text: str) -> bytes:
    return b"" if text == "-" else bytes.fromhex(text)


def text(body: bytes) -> str:
    return body.hex() or "-"


def vectors(path: str) -> str:
    """Reads all golden vectors and writes the good ones again."""
    good = bad = 0
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        name, status, data, *fields = line.split()
        try:
            frame = wire.decode(unhex(data))
        except wire.WireError as wrong:
            if wrong.status != int(status):
                return f"failed {name}: {wrong.status}"
            bad += 1
            continue
        found = [frame.kind, frame.service, frame.content_type, frame.method, frame.flags, frame.status]
        found += [frame.request_id, frame.deadline_ns, frame.credit, len(frame.body)]
        if int(status) != 0 or found != [int(number) for number in fields] or wire.encode(frame) != unhex(data):
            return f"failed {name}"
        good += 1
    return f"vectors {good} {bad}"


class State:
    def __init__(self) -> None:
        self.client: wire.Client | Pool | None = None
        self.flows: records.Flows | None = None
        self.calls: dict[str, wire.Call | PooledCall | wire.WireError] = {}

    def obey(self, words: list[str]) -> str:
        match words:
            case ["vectors", path]:
                return vectors(path)
            case ["connect", path, ms]:
                try:
                    self.client = wire.Client(path, SERVICE, int(ms) / 1000)
                except wire.WireError as wrong:
                    return f"failed {wrong}"
                return "ok"
            case ["pool", path]:
                self.client = Pool(path, SERVICE)
                return "ok"
            case ["start", tag, method, content_type, body, ms, credit]:
                timeout = int(ms) / 1000 or None
                try:
                    call = self.client.start(int(method), int(content_type), unhex(body), timeout, int(credit))
                except wire.WireError as wrong:
                    call = wrong
                self.calls[tag] = call
                return "ok"
            case ["item", tag]:
                return self.item(tag)
            case ["wait", tag]:
                while not (item := self.item(tag)).startswith("end"):
                    pass
                return item
            case ["cancel", tag]:
                self.client.cancel(self.calls[tag])
                return "ok"
            case ["flows", path]:
                self.flows = records.Flows(path)
                return "ok"
            case ["records", "vectors", path]:
                return records.vectors(path)
            case ["records", verb, *rest]:
                return self.flows.obey(verb, rest)
            case ["close"]:
                self.client.close()
                return "ok"
        return f"failed no command {words}"

    def item(self, tag: str) -> str:
        call = self.calls[tag]
        try:
            if isinstance(call, wire.WireError):
                raise call
            frame = self.client.item(call)
        except wire.WireError as wrong:
            return f"end {wrong.status} {wire.TEXT} {text(wrong.text.encode())}"
        what = "event" if frame.kind == wire.EVENT else "end 0"
        return f"{what} {frame.content_type} {text(frame.body)}"


if __name__ == "__main__":
    state = State()
    for line in sys.stdin:
        print(state.obey(line.split()), flush=True)
