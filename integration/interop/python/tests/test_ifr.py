"""Layer 1 against a dictionary, and what it refuses."""

import os
import random
import unittest

from mfn import Ifr, MfnError

SEED = 20260101


class AgainstADictionary(unittest.TestCase):
    def test_it_holds_what_a_dictionary_holds(self) -> None:
        choose = random.Random(SEED)
        keys = [choose.randbytes(32) for _ in range(40)] + [choose.randbytes(choose.randrange(200)) for _ in range(40)]
        model: dict[bytes, bytes] = {}
        with Ifr(bytes_max=1 << 20) as ifr:
            for _ in range(4000):
                key = choose.choice(keys)
                value = choose.randbytes(16)
                match choose.randrange(4):
                    case 0 | 1:
                        self.assertEqual(ifr.insert(key, value), model.get(key), f"seed {SEED}")
                        model[key] = value
                    case 2:
                        self.assertEqual(ifr.remove(key), model.pop(key, None), f"seed {SEED}")
                    case _:
                        self.assertEqual(ifr.get(key), model.get(key), f"seed {SEED}")
                self.assertEqual(len(ifr), len(model))
            digests = [key for key in keys if len(key) == 32]
            self.assertEqual(ifr.get_many(digests), [model.get(digest) for digest in digests])
            for key in model:
                if len(key) == 32:
                    self.assertTrue(ifr.may_contain(key))

    def test_it_reads_as_a_mapping(self) -> None:
        with Ifr(bytes_max=1 << 20) as ifr:
            ifr[b""] = b"e" * 16
            self.assertEqual(ifr[b""], b"e" * 16)
            self.assertIn(b"", ifr)
            del ifr[b""]
            self.assertNotIn(b"", ifr)
            with self.assertRaises(KeyError):
                del ifr[b""]
            self.assertEqual(ifr.get_many([]), [])


class Refusals(unittest.TestCase):
    def test_a_full_registry_says_so_and_keeps_what_it_has(self) -> None:
        with Ifr(bytes_max=1 << 15) as ifr:
            kept = {}
            with self.assertRaises(MfnError) as caught:
                for number in range(10_000):
                    key = number.to_bytes(32, "little")
                    ifr[key] = bytes(16)
                    kept[key] = bytes(16)
            self.assertEqual(caught.exception.name, "LIMIT")
            self.assertEqual(len(ifr), len(kept))
            self.assertTrue(all(key in ifr for key in kept))

    def test_wrong_lengths_never_reach_the_library(self) -> None:
        with Ifr(bytes_max=1 << 20) as ifr:
            with self.assertRaises(ValueError):
                ifr[b"k" * 32] = b"short"
            with self.assertRaises(MfnError) as caught:
                ifr[os.urandom(65_537)] = bytes(16)
            self.assertEqual(caught.exception.name, "INVALID_ARGUMENT")
            with self.assertRaises(TypeError):
                ifr["text"] = bytes(16)
        with self.assertRaises(ValueError):
            ifr.get(b"closed")
        ifr.close()

    def test_a_budget_that_is_too_small_is_refused(self) -> None:
        with self.assertRaises(MfnError) as caught:
            Ifr(bytes_max=1)
        self.assertEqual(caught.exception.name, "LIMIT")


if __name__ == "__main__":
    unittest.main()
