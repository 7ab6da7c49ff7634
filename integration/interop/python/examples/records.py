"""Puts a record into a running ifrd and asks what to do about two keys.

    python3 records.py SOCKET

SOCKET is what ifrd was given with --socket."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mfn import FlowRecord, IfrClient, Layer, MfnError, Outcome  # noqa: E402

POOL = 1
KIND = 3


def run(socket: str) -> None:
    with IfrClient(socket) as ifr:
        ifr.pool_add(POOL, bytes_max=8 << 20)
        here, absent = b"\x5a" * 32, b"\x01" * 32
        ifr.flow_put(POOL, FlowRecord(here, size=4096, kind=KIND, priority=5), ttl=60.0)
        ifr.flow_learn(KIND, Layer.ASSOCIATION, True)
        for key in (here, absent):
            decision = ifr.flow_route(POOL, key, KIND)
            match decision.outcome:
                case Outcome.FOUND_EXACT:
                    print(f"record: {decision.record.size} bytes")
                case Outcome.FOUND_PARTIAL:
                    print(f"an old record: {decision.confidence:.2f}")
                case Outcome.ROUTE_TO_LAYERS:
                    print(f"no record: ask {decision.next_layer.name.lower()}, {decision.confidence:.2f}")
        stats = ifr.pool_stats(POOL)
        print(f"{stats.records} record in {stats.bytes_max} bytes at most")
        ifr.pool_drop(POOL)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: records.py SOCKET\n  SOCKET is what ifrd was given with --socket")
    try:
        run(sys.argv[1])
    except MfnError as error:
        sys.exit(f"records: {error}")
