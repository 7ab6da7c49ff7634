"""The sockets of a real node."""

import threading
import unittest

from mfn import Client, ContentType, MfnError, Pool, Service

from .node import Node


class Sockets(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.node = cls.enterClassContext(Node())

    def test_every_component_answers_its_status(self) -> None:
        for service in (Service.TRANSPORT, Service.STATE, Service.SCHEDULER, Service.CONSENSUS, Service.METRICS):
            with self.subTest(service=service.name):
                with Client(self.node.socket(service.name.lower()), service) as client:
                    self.assertEqual(client.call("status").content_type, ContentType.PROTOBUF)

    def test_metrics_are_text(self) -> None:
        with Client(self.node.socket("metrics"), Service.METRICS) as client:
            reply = client.call("scrape")
            self.assertEqual(reply.content_type, ContentType.TEXT)
            self.assertIn(b"# TYPE", reply.body)

    def test_threads_share_a_connection(self) -> None:
        with Client(self.node.socket("transport"), Service.TRANSPORT) as client:
            wrong = []

            def ask() -> None:
                for _ in range(50):
                    if client.call("status").content_type != ContentType.PROTOBUF:
                        wrong.append(1)

            threads = [threading.Thread(target=ask) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(wrong, [])

    def test_errors_have_the_servers_words(self) -> None:
        with Client(self.node.socket("state"), Service.STATE) as client:
            with self.assertRaises(MfnError) as caught:
                client.call("stat", b"\xff\xff\xff")
            self.assertEqual(caught.exception.name, "BAD_BODY")
            self.assertIn("does not decode", str(caught.exception))
            with self.assertRaises(ValueError):
                client.call("no_such_method")

    def test_a_pool_calls_and_streams_and_says_at_once_what_is_not_served(self) -> None:
        with Pool(self.node.socket("state"), Service.STATE) as pool:
            for _ in range(20):
                self.assertEqual(pool.call("status").content_type, ContentType.PROTOBUF)
            with self.assertRaises(MfnError) as caught:
                pool.call("stat", b"\xff\xff\xff")
            self.assertEqual(caught.exception.name, "BAD_BODY")
            with self.assertRaises(MfnError) as caught, pool.stream("list", b"\xff\xff\xff") as stream:
                list(stream)
            self.assertEqual(caught.exception.name, "BAD_BODY")
        with Pool(self.node.directory / "none.sock", Service.STATE) as pool:
            names = []
            for _ in range(3):
                with self.assertRaises(MfnError) as caught:
                    pool.call("status")
                names.append(caught.exception.name)
            self.assertEqual(names[0], "UNREACHABLE")
            self.assertLessEqual(set(names), {"UNREACHABLE", "CIRCUIT_OPEN"})

    def test_a_stream_ends_with_its_reply_and_may_be_left(self) -> None:
        for kind in (Client, Pool):
            with self.subTest(kind=kind.__name__), kind(self.node.socket("state"), Service.STATE) as caller:
                with caller.stream("fsck", credit=1) as stream:
                    for event in stream:
                        self.assertEqual(event.content_type, ContentType.PROTOBUF)
                    self.assertIsNotNone(stream.reply)
                    self.assertEqual(list(stream), [])
                caller.stream("fsck").close()
                self.assertEqual(caller.call("status").content_type, ContentType.PROTOBUF)

    def test_another_service_is_refused(self) -> None:
        with self.assertRaises(MfnError):
            Client(self.node.socket("state"), Service.TRANSPORT)

    def test_nothing_there_is_unreachable(self) -> None:
        with self.assertRaises(MfnError) as caught:
            Client(self.node.directory / "none.sock", Service.STATE)
        self.assertEqual(caught.exception.name, "UNREACHABLE")


if __name__ == "__main__":
    unittest.main()
