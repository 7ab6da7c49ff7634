"""Layer 2 against comparing everything, and what it refuses."""

import math
import random
import unittest
from array import array

from mfn import Dsr, MfnError, Precision

SEED = 20260102
DIMS = 16


def cosine(one: list[float], other: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other))
    return dot / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))


class AgainstComparingEverything(unittest.TestCase):
    def test_it_finds_what_is_nearest(self) -> None:
        choose = random.Random(SEED)
        vector = lambda: [choose.gauss(0, 1) for _ in range(DIMS)]
        model: dict[int, list[float]] = {}
        with Dsr(DIMS, precision=Precision.FLOATS, exact=True) as dsr:
            for _ in range(300):
                id = choose.randrange(100)
                if choose.random() < 0.3:
                    self.assertEqual(dsr.remove(id), model.pop(id, None) is not None, f"seed {SEED}")
                else:
                    new = vector()
                    self.assertEqual(dsr.insert(id, new), id in model, f"seed {SEED}")
                    model[id] = new
            self.assertEqual(len(dsr), len(model))
            for _ in range(20):
                query = vector()
                best = sorted(model, key=lambda id: -cosine(query, model[id]))[:5]
                found = dsr.search(array("f", query), 5)
                self.assertEqual([match.id for match in found], best, f"seed {SEED}")
                self.assertAlmostEqual(found[0].similarity, cosine(query, model[best[0]]), places=3)
                self.assertEqual(dsr.search(query, 5, 1.0), [])
            why = dsr.explain(best[0], query)
            self.assertTrue(why is not None and why.compared)
            self.assertIsNone(dsr.explain(1000, query))
            again = Dsr.restore(dsr.snapshot(), DIMS)
            self.assertEqual(again.search(query, 5), dsr.search(query, 5))
            self.assertEqual(again.stats(), dsr.stats())
            again.close()

    def test_a_stranger_is_novel(self) -> None:
        choose = random.Random(SEED)
        normal = lambda: [1.0] + [choose.gauss(0, 0.1) for _ in range(DIMS - 1)]
        with Dsr(DIMS) as dsr:
            for id in range(200):
                dsr.insert(id, normal())
            with dsr.detector([normal() for _ in range(99)], rate=0.02) as detector:
                called = sum(detector.judge(normal()).novel for _ in range(200))
                self.assertLess(called, 20, f"seed {SEED}")
                self.assertTrue(detector.judge([-1.0] + [0.0] * (DIMS - 1)).novel)
            with self.assertRaises(MfnError) as caught:
                dsr.detector([normal()], rate=0.01)
            self.assertEqual(caught.exception.name, "NOT_READY")


class Refusals(unittest.TestCase):
    def test_bad_vectors_change_nothing(self) -> None:
        with Dsr(3) as dsr:
            for bad in ([1.0], [], [math.nan, 0, 0], [math.inf, 0, 0], [0.0, 0.0, 0.0]):
                with self.assertRaises(MfnError) as caught:
                    dsr.insert(1, bad)
                self.assertEqual(caught.exception.name, "INVALID_ARGUMENT")
            self.assertEqual(len(dsr), 0)
            for wrong in (-1, 1 << 64):
                with self.assertRaises(ValueError):
                    dsr.insert(wrong, [1, 0, 0])
            with self.assertRaises(ValueError):
                dsr.search([1, 0, 0], 1 << 40)
        with self.assertRaises(ValueError):
            dsr.search([1, 0, 0])

    def test_damaged_snapshots_are_refused(self) -> None:
        with Dsr(3) as dsr:
            dsr.insert(1, [1, 2, 3])
            snapshot = bytearray(dsr.snapshot())
        snapshot[len(snapshot) // 2] ^= 1
        for bytes_ in (bytes(snapshot), b"", b"nothing"):
            with self.assertRaises(MfnError) as caught:
                Dsr.restore(bytes_, 3)
            self.assertEqual(caught.exception.name, "CORRUPT")
        with self.assertRaises(MfnError):
            Dsr(0)


if __name__ == "__main__":
    unittest.main()
