"""Layer 4: what it learns of a routine, what its numbers add up to, and what it refuses."""

import math
import unittest

from mfn import Cpe, MfnError

ROUTINE = [10, 20, 30, 40, 10, 20, 30, 50]


def learnt() -> Cpe:
    cpe = Cpe()
    for at in range(600):
        cpe.observe(1, ROUTINE[at % len(ROUTINE)], at * 30, pool=7)
    return cpe


class Streams(unittest.TestCase):
    def test_a_routine_is_predicted_and_explained(self) -> None:
        with learnt() as cpe:
            next_ = cpe.predict(1, 599 * 30, 3, pool=7)
            assert next_ is not None
            symbol, probability = next_.items[0]
            self.assertEqual(symbol, 10)
            self.assertGreater(probability, 0.95)
            self.assertFalse(next_.silent)
            self.assertAlmostEqual(sum(p for _, p in next_.items) + next_.other + next_.unseen, 1, places=4)
            self.assertAlmostEqual(next_.wait_mean or 0, 30, delta=5)
            why = cpe.explain(1, 10, pool=7)
            assert why is not None
            self.assertTrue(why.proposed)
            self.assertEqual(len(why.votes), 9)
            self.assertAlmostEqual(sum(weight for _, weight in why.votes.values()), 1, places=4)
            scores = cpe.scores(1, pool=7)
            assert scores is not None
            self.assertEqual(scores.events, 600)
            self.assertGreater(scores.hits_at_1, 550)
            self.assertIsNone(cpe.predict(2, 0, pool=7))
            self.assertIsNone(cpe.scores(1, pool=8))

    def test_a_snapshot_goes_on_as_it_was(self) -> None:
        with learnt() as cpe, Cpe.restore(cpe.snapshot()) as again:
            for at in range(600, 640):
                for engine in (cpe, again):
                    engine.observe(1, ROUTINE[at % len(ROUTINE)], at * 30, pool=7)
                self.assertEqual(cpe.predict(1, at * 30, pool=7), again.predict(1, at * 30, pool=7))
            self.assertEqual(cpe.snapshot(), again.snapshot())
            self.assertTrue(again.forget(1, pool=7))
            self.assertFalse(again.forget(1, pool=7))


class Series(unittest.TestCase):
    def test_levels_and_their_change(self) -> None:
        with Cpe() as cpe:
            cpe.set_pool(0, change_min=1.0)
            changes = []
            for at in range(200):
                value = (20.0 if at < 100 else 40.0) + at % 3 / 10
                sampled = cpe.sample(5, value, at)
                changes += [sampled.change] if sampled.change else []
            self.assertEqual(len(changes), 1)
            before, after, _ = changes[0]
            self.assertAlmostEqual(before, 20, delta=1)
            self.assertAlmostEqual(after, 40, delta=1)
            horizons = cpe.forecast(5)
            assert horizons is not None
            self.assertEqual([one.samples_ahead for one in horizons], [1, 4, 16, 64])
            self.assertTrue(all(one.median <= one.p90 <= one.p99 for one in horizons))
            self.assertAlmostEqual(horizons[0].median, 40, delta=1)
            self.assertIsNone(cpe.forecast(6))


class Pools(unittest.TestCase):
    def test_a_pool_has_its_own_budget_and_goes_as_a_whole(self) -> None:
        with Cpe() as cpe:
            self.assertIsNone(cpe.pool_stats(3))
            cpe.set_pool(3, bytes_max=2 << 20, stream_bytes_max=1 << 18)
            for stream in range(40):
                for event in range(300):
                    cpe.observe(stream, event * 0x9E3779B97F4A7C15 % (1 << 64), event, pool=3)
            stats = cpe.pool_stats(3)
            self.assertEqual((stats.streams + stats.evicted, stats.series), (40, 0))
            self.assertGreater(stats.evicted, 0)
            self.assertLessEqual(stats.bytes, stats.bytes_max)
            self.assertTrue(cpe.drop_pool(3))
            self.assertFalse(cpe.drop_pool(3))
            self.assertIsNone(cpe.predict(39, 0, pool=3))


class Refusals(unittest.TestCase):
    def test_what_is_refused(self) -> None:
        with learnt() as cpe:
            for value in (math.nan, math.inf):
                with self.assertRaises(MfnError) as caught:
                    cpe.sample(3, value, 1)
                self.assertEqual(caught.exception.name, "INVALID_ARGUMENT")
            with self.assertRaises(MfnError) as caught:
                cpe.sample(1, 1.0, 1, pool=7)  # It is a stream.
            self.assertEqual(caught.exception.name, "INVALID_ARGUMENT")
            for wrong in (-1, 1 << 64):
                with self.assertRaises(ValueError):
                    cpe.observe(1, wrong, 0)
            snapshot = cpe.snapshot()
        for damaged in (b"", snapshot[:-1], b"\xff" * 64):
            with self.assertRaises(MfnError) as caught:
                Cpe.restore(damaged)
            self.assertEqual(caught.exception.name, "BAD_BODY")
        with self.assertRaises(ValueError):
            cpe.expire(0)


if __name__ == "__main__":
    unittest.main()
