"""Pools of records of a real ifrd."""

import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from mfn import FlowRecord, IfrClient, Layer, MfnError, Outcome

from .node import HYPERMESH, START_SECONDS_MAX

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "records.py"


class Records(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        place = Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="mfn-python-")))
        cls.socket = place / "run" / "mfn_ifr.sock"
        command = [HYPERMESH.with_name("ifrd"), "--socket", cls.socket, "--dir", place / "ifr", "--durability", "none"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        cls.addClassCleanup(process.wait)
        cls.addClassCleanup(process.terminate)
        until = time.monotonic() + START_SECONDS_MAX
        while not cls.socket.exists():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("ifrd did not start")
            time.sleep(0.01)

    def refused(self, name: str, call: object, *arguments: object, **named: object) -> None:
        with self.assertRaises(MfnError) as caught:
            call(*arguments, **named)
        self.assertEqual(caught.exception.name, name)

    def test_records_live_expire_and_lead_on(self) -> None:
        key, other = b"\x07" * 32, b"\x08" * 32
        with IfrClient(self.socket) as ifr:
            self.refused("NOT_FOUND", ifr.flow_get, 5, key)
            self.refused("LIMIT", ifr.pool_add, 5, bytes_max=4096)
            ifr.pool_add(5, bytes_max=1 << 20)
            self.refused("ALREADY_EXISTS", ifr.pool_add, 5, bytes_max=1 << 20)
            record = FlowRecord(key, size=9, created_ns=1, updated_ns=2, kind=3, priority=7)
            self.assertIsNone(ifr.flow_put(5, record))
            self.assertEqual(ifr.flow_get(5, key), record)
            self.assertEqual(ifr.flow_route(5, key, 3).outcome, Outcome.FOUND_EXACT)
            self.assertEqual(ifr.flow_route(5, other, 3).outcome, Outcome.ROUTE_TO_LAYERS)
            self.assertEqual(ifr.flow_put(5, record, ttl=1e-9), record)
            self.assertIsNone(ifr.flow_get(5, key))
            ifr.flow_learn(3, Layer.PREDICTION, True)
            self.assertEqual(ifr.flow_route(5, other, 3).next_layer, Layer.PREDICTION)
            self.refused("LIMIT", ifr.flow_expire, 5, 0)
            self.assertLessEqual(ifr.flow_expire(5, 16), 1)
            self.assertEqual(ifr.pool_stats(5).records, 0)
            ifr.pool_drop(5)
            self.refused("NOT_FOUND", ifr.pool_stats, 5)

    def test_pools_of_values_and_what_all_hold(self) -> None:
        key, value = b"\x07" * 32, b"sixteen bytes..."
        with IfrClient(self.socket) as ifr:
            self.refused("NOT_FOUND", ifr.value_get, 6, key)
            ifr.pool_add(6, bytes_max=1 << 20, values=True)
            self.assertIsNone(ifr.value_put(6, key, value))
            self.assertIsNone(ifr.value_put(6, key, value[::-1], is_bytes=True))
            self.assertEqual(ifr.value_get(6, key), value)
            self.assertIsNone(ifr.value_get(0, key))
            self.refused("NOT_FOUND", ifr.flow_get, 6, key)
            (pool,) = [each for each in ifr.pools() if each.pool_id == 6]
            self.assertEqual((pool.values, pool.refuses, pool.stats.records), (True, True, 2))
            self.assertEqual(ifr.value_remove(6, key, is_bytes=True), value[::-1])
            ifr.pool_drop(6)
            self.assertNotIn(6, [each.pool_id for each in ifr.pools()])
            for wrong in (b"short", b""):
                with self.assertRaises(ValueError):
                    ifr.value_put(0, key, wrong)

    def test_what_does_not_fit_is_not_sent(self) -> None:
        with IfrClient(self.socket) as ifr:
            for wrong in (FlowRecord(b"short"), FlowRecord(b"\x01" * 32, size=-1), FlowRecord(b"\x01" * 32, kind=1 << 16)):
                with self.assertRaises(ValueError):
                    ifr.flow_put(5, wrong)

    def test_the_example(self) -> None:
        done = subprocess.run([sys.executable, EXAMPLE, self.socket], check=True, capture_output=True, text=True)
        self.assertIn("record: 4096 bytes", done.stdout)
        self.assertIn("no record: ask ", done.stdout)
        self.assertIn("1 record in 8388608 bytes at most", done.stdout)


if __name__ == "__main__":
    unittest.main()
