"""Pools of wells: budgets, time, snapshots."""

import random
import unittest

from mfn import DsrPools, MfnError


def vectors(count: int, dims: int, seed: int) -> list[list[float]]:
    dice = random.Random(seed)
    return [[dice.uniform(-1, 1) for _ in range(dims)] for _ in range(count)]


class Pools(unittest.TestCase):
    def setUp(self) -> None:
        self.pools = self.enterContext(DsrPools())

    def test_a_pool_keeps_its_budget_and_the_newest(self) -> None:
        self.assertFalse(self.pools.set_pool(1, bytes_max=128 << 10).existed)
        self.pools.add_well(1, 0, 16)
        rows, gone = vectors(4_000, 16, 1), 0
        for id, row in enumerate(rows):
            gone += self.pools.insert(1, 0, id, row, id).evicted
        stats = self.pools.stats(1)
        self.assertGreater(gone, 0)
        self.assertEqual((stats.entries + gone, stats.evicted, stats.wells), (len(rows), gone, 1))
        self.assertLessEqual(stats.bytes, stats.bytes_max)
        self.assertEqual(self.pools.search(1, 0, rows[-1], 1)[0].id, len(rows) - 1)
        self.assertGreater(self.pools.explain(1, 0, len(rows) - 1, rows[-1]).similarity, 0.99)
        self.assertIsNone(self.pools.explain(1, 0, 0, rows[0]))

    def test_pools_do_not_see_each_other_and_a_copy_is_the_same(self) -> None:
        row = vectors(1, 4, 2)[0]
        for pool in (1, 2):
            self.pools.set_pool(pool, ttl=10)
            self.pools.add_well(pool, 7, 4)
        self.pools.insert(1, 7, 5, row, now=100)
        self.assertEqual(len(self.pools.search(1, 7, row)), 1)
        self.assertEqual(self.pools.search(2, 7, row), [])
        with DsrPools.restore(self.pools.snapshot()) as copy:
            self.assertEqual(copy.stats(1), self.pools.stats(1))
            self.assertEqual(copy.search(1, 7, row), self.pools.search(1, 7, row))
            self.assertEqual(copy.search(1, 7, row, now=111), [])
            self.assertFalse(copy.touch(1, 7, 5, 111))
            self.assertEqual(copy.expire(1, 111).expired, 1)
            self.assertTrue(copy.drop_well(1, 7))
            self.assertTrue(copy.drop_pool(2))
            self.assertFalse(copy.drop_pool(2))
        self.assertTrue(self.pools.touch(1, 7, 5, 105))
        self.assertTrue(self.pools.remove(1, 7, 5))
        self.assertFalse(self.pools.remove(1, 7, 5))

    def test_what_is_refused(self) -> None:
        self.pools.set_pool(1, bytes_max=1, refuses=True)
        for name, wrong in (
            ("LIMIT", lambda: self.pools.add_well(1, 0, 16)),
            ("NOT_FOUND", lambda: self.pools.add_well(9, 0, 16)),
            ("NOT_FOUND", lambda: self.pools.insert(1, 0, 1, [1.0])),
            ("INVALID_ARGUMENT", lambda: self.pools.add_well(1, 0, 0)),
            ("CORRUPT", lambda: DsrPools.restore(b"none")),
        ):
            with self.subTest(name=name), self.assertRaises(MfnError) as caught:
                wrong()
            self.assertEqual(caught.exception.name, name)
        with self.assertRaises(ValueError):
            self.pools.set_pool(1 << 32)


if __name__ == "__main__":
    unittest.main()
