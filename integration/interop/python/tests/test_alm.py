"""Layer 3 in this process."""

import contextlib
import io
import random
import re
import signal
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

from mfn import Alm, Link, MfnError, proto
from mfn.protocol import AlmMethod

SEED = 20260103


class Layer3(unittest.TestCase):
    def setUp(self) -> None:
        self.directory = self.enterContext(tempfile.TemporaryDirectory())

    def test_links_paths_and_what_goes_together(self) -> None:
        with Alm(self.directory) as alm:
            links = [Link(b"a", b"b", 0.9, kind=1), Link(b"b", b"c", 0.8, bandwidth=5.0), Link(b"a", b"c", 0.5)]
            alm.add(links)
            path = alm.best_path(b"a", b"c")
            self.assertEqual(path.nodes, [b"a", b"b", b"c"])
            self.assertAlmostEqual(path.strength, 0.72, places=3)
            self.assertEqual([link.bandwidth for link in path.links], [0.0, 5.0])
            self.assertEqual(alm.best_path(b"a", b"c", hops_max=1).nodes, [b"a", b"c"])
            self.assertEqual(alm.best_path(b"a", b"c", kinds=[0]).nodes, [b"a", b"c"])
            self.assertIsNone(alm.best_path(b"c", b"a"))
            self.assertEqual([link.target for link in alm.neighbours(b"a")], [b"b", b"c"])
            self.assertEqual({one.node for one in alm.associates(b"a")} - {b"a"}, {b"b", b"c"})
            for _ in range(3):
                alm.observe([b"parse.c", b"parse.h"])
            self.assertEqual(alm.predict(b"parse.c")[0].key, b"parse.h")
            alm.remove(b"a", b"b", kind=1)
            self.assertEqual(alm.best_path(b"a", b"c").nodes, [b"a", b"c"])
        with Alm(self.directory) as alm:
            self.assertEqual(alm.best_path(b"a", b"c").nodes, [b"a", b"c"])
            self.assertEqual(alm.predict(b"parse.c")[0].key, b"parse.h")

    def test_answers_are_as_long_as_they_are(self) -> None:
        with Alm(self.directory, durable=False) as alm:
            links = [Link(b"hub", b"%04d" % number + b"x" * 100, 0.5) for number in range(200)]
            alm.add(links)
            self.assertEqual(len(alm.neighbours(b"hub", 200)), 200)

    def test_many_threads_ask_while_signals_come(self) -> None:
        came = []
        before = signal.signal(signal.SIGUSR1, lambda *_: came.append(1))
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        with Alm(self.directory, durable=False) as alm:
            wrong = []

            def ask(name: bytes) -> None:
                for number in range(100):
                    alm.add([Link(name, b"%d" % number, 0.5)])
                    if len(alm.neighbours(name, 1)) != 1:
                        wrong.append(name)

            threads = [threading.Thread(target=ask, args=(b"t%d" % at,)) for at in range(4)]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                signal.raise_signal(signal.SIGUSR1)
            for thread in threads:
                thread.join()
            self.assertEqual(wrong, [])
            self.assertGreater(len(came), 0)
            self.assertEqual(subprocess.run(["true"], check=False).returncode, 0)

    def test_what_is_refused(self) -> None:
        with Alm(self.directory) as alm:
            for name, wrong in (
                ("INVALID_ARGUMENT", lambda: alm.add([Link(b"a", b"b", float("nan"))])),
                ("INVALID_ARGUMENT", lambda: alm.add([Link(b"a", b"b", -1.0)])),
                ("BAD_BODY", lambda: alm.call(AlmMethod.ADD, b"\x0a\x7f")),
                ("UNSUPPORTED", lambda: alm.call(99)),  # type: ignore[arg-type]
                ("NOT_FOUND", lambda: alm.neighbours(b"a", pool=9)),
            ):
                with self.subTest(name=name), self.assertRaises(MfnError) as caught:
                    wrong()
                self.assertEqual(caught.exception.name, name)
                self.assertGreater(len(str(caught.exception)), 20)
            self.assertEqual(alm.neighbours(b"a"), [])
            with self.assertRaises(MfnError):
                Alm(self.directory)
        with self.assertRaises(ValueError):
            alm.neighbours(b"a")
        alm.close()


class Proto(unittest.TestCase):
    def test_what_is_written_is_read(self) -> None:
        data = proto.field(1, b"key") + proto.field(2, 300) + proto.field(3, 0.5) + proto.member(4, b"") + proto.field(5, 0)
        self.assertEqual(list(proto.fields(data)), [(1, b"key"), (2, 300), (3, 0.5), (4, b"")])
        self.assertEqual(proto.varint((1 << 64) - 1), b"\xff" * 9 + b"\x01")

    def test_noise_is_an_error_or_a_message(self) -> None:
        dice = random.Random(SEED)
        for _ in range(2_000):
            with contextlib.suppress(proto.ProtoError):
                list(proto.fields(dice.randbytes(dice.randrange(40))))


class Readme(unittest.TestCase):
    def test_its_example_says_what_it_says(self) -> None:
        text = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
        code = re.search(r"```python\n(.*?)```", text, re.S).group(1)
        said = re.findall(r"print\(.*\)\s+# (.*)", code)
        with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(io.StringIO()) as out:
            exec(code.replace('"links"', repr(f"{directory}/links")), {})
        self.assertEqual(out.getvalue().splitlines(), said)


if __name__ == "__main__":
    unittest.main()
