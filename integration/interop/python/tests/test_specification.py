"""The breaker and the pool of the client that was written from the specification alone."""

import socket
import sys
import tempfile
import threading
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT / "integration/conformance/python"))

import breaker  # noqa: E402
import pool  # noqa: E402
import wire  # noqa: E402

SERVICE = 8


def state_text(state):
    match state:
        case breaker.Open(until):
            return f"open:{until}"
        case breaker.HalfOpen(admitted, succeeded):
            return f"half:{admitted}:{succeeded}"
    return "closed"


def disagreement(text):
    """What is different from what the golden traces say; nothing is agreement."""
    name, events, guard, permits = "", 0, None, []
    for line in text.splitlines():
        match line.split():
            case ["#", *_]:
                continue
            case ["trace", name, *numbers]:
                options = [float(number) if at in (2, 4) else int(number) for at, number in enumerate(numbers)]
                guard, permits = breaker.Breaker(breaker.Options(*options)), []
                continue
            case ["status", status, expected]:
                if breaker.outcome_of(int(status)).value != expected:
                    return line
                continue
            case ["admit", now, expected, state]:
                try:
                    permits.append(guard.admit(int(now)))
                    found = "yes"
                except breaker.Refused as refused:
                    found = str(refused.retry_in)
                if found != expected:
                    return f"{name}: {line}: {found}"
            case ["record", now, permit, outcome, took, random, state]:
                guard.record(permits[int(permit)], int(now), breaker.Outcome(outcome), int(took), int(random))
            case _:
                return f"{line}: no such line"
        events += 1
        if state_text(guard.state) != state:
            return f"{name}: {line}: {guard.state}"
    return None if events else "there is nothing"


class Traces(unittest.TestCase):
    def test_golden_traces_agree_and_the_canary_does_not(self):
        def read(name):
            return (ROOT / "integration/vectors" / name).read_text(encoding="utf-8")

        self.assertIsNone(disagreement(read("breaker.txt")))
        self.assertIsNotNone(disagreement(read("breaker_canary.txt")))


class Server:
    """One socket whose connections do in turn what is said: each is a function of a request, and gives the frames of its
    answer, or None to hang up."""

    def __init__(self, *connections):
        self.directory = tempfile.TemporaryDirectory()
        self.path = f"{self.directory.name}/s.sock"
        self.requests = 0
        self.connected = 0
        self._connections = connections
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                conn, _ = self._listener.accept()
            except OSError:
                return
            answer = self._connections[min(self.connected, len(self._connections) - 1)]
            self.connected += 1
            threading.Thread(target=self._serve, args=(conn, answer), daemon=True).start()

    def _serve(self, conn, answer):
        with conn, conn.makefile("rb") as stream:
            conn.sendall(wire.encode(wire.Frame(wire.HELLO, SERVICE)))
            while head := stream.read(4):
                request = wire.decode(head + stream.read(wire.frame_length(head) - 4))
                if request.kind != wire.REQUEST:
                    continue
                self.requests += 1
                frames = answer(request)
                for frame in frames or []:
                    conn.sendall(wire.encode(frame))
                if frames is None or any(frame.request_id == 0 for frame in frames):
                    return

    def close(self):
        self._listener.close()
        self.directory.cleanup()


def answers(request):
    return [wire.Frame(wire.REPLY, SERVICE, request_id=request.request_id)]


def fails(status):
    return lambda request: [wire.Frame(wire.ERROR, SERVICE, status=status, request_id=request.request_id)]


def leaves(request):
    return [wire.Frame(wire.GOAWAY, SERVICE), wire.Frame(wire.ERROR, SERVICE, status=wire.CLOSED)]


def leaves_one(request):
    return [wire.Frame(wire.GOAWAY, SERVICE)] + fails(wire.CLOSED)(request)


def silent(request):
    return []


class Pools(unittest.TestCase):
    def serve(self, *connections, **options):
        server = Server(*connections)
        made = pool.Pool(server.path, SERVICE, pool.Options(**options))
        self.addCleanup(server.close)
        self.addCleanup(made.close)
        return server, made

    def ask(self, made, method=1, timeout=20.0):
        try:
            made.item(made.start(method, wire.NONE, b"", timeout, 0))
            return wire.OK
        except wire.WireError as error:
            return error.status

    def test_what_was_not_taken_is_asked_again_and_nothing_else_is(self):
        for refuses in (leaves, leaves_one):
            server, made = self.serve(refuses, refuses, answers)
            self.assertEqual((self.ask(made), server.requests), (wire.OK, 3))
            server, made = self.serve(refuses)
            self.assertEqual((self.ask(made), server.requests), (wire.CLOSED, 3))
            self.assertEqual(made.state(1), breaker.Closed())
        server, made = self.serve(lambda request: None)
        self.assertEqual((self.ask(made), server.requests), (wire.CLOSED, 1))

    def test_a_breaker_opens_after_enough_and_sends_nothing_then(self):
        hour = 3_600 * breaker.SECOND
        options = breaker.Options(pause_first=hour, pause_max=hour)
        server, made = self.serve(fails(wire.UNREACHABLE), breaker=options)
        found = [self.ask(made) for _ in range(25)]
        self.assertEqual(found, [wire.UNREACHABLE] * 20 + [pool.CIRCUIT_OPEN] * 5)
        self.assertEqual((server.requests, self.ask(made, method=2)), (20, wire.UNREACHABLE))
        self.assertIsInstance(made.state(1), breaker.Open)

    def test_calls_get_the_least_loaded_of_few_connections(self):
        server, made = self.serve(silent, share=2)
        calls = [made.start(1, wire.NONE, b"", None, 0) for _ in range(8)]
        loads = [sum(call.client is client for call in calls) for client in {call.client for call in calls}]
        self.assertEqual((server.connected, loads), (2, [4, 4]))
        for call in calls:
            made.cancel(call)
        self.assertEqual(made.state(1), breaker.Closed())

    def test_old_connections_are_replaced(self):
        server, made = self.serve(answers, age_max=1_000.0)
        self.assertEqual((self.ask(made), self.ask(made), server.connected), (wire.OK, wire.OK, 1))
        made._connections[0].opened -= 1_000.0
        self.assertEqual((self.ask(made), server.connected), (wire.OK, 2))

    def test_a_socket_that_is_not_served_is_said_at_once(self):
        made = pool.Pool("/nonexistent/s.sock", SERVICE)
        self.assertEqual(self.ask(made), wire.UNREACHABLE)
        self.assertIn(self.ask(made), (wire.UNREACHABLE, pool.CIRCUIT_OPEN))
        self.assertEqual(made.state(1), breaker.Closed())

    def test_waiting_is_bounded_in_time_and_in_callers(self):
        server, made = self.serve(silent, connections=1, waiting=0)
        for _ in range(wire.IN_FLIGHT_MAX):
            made.start(1, wire.NONE, b"", None, 0)
        self.assertEqual(self.ask(made), wire.BUSY)
        self.assertEqual(made.state(1), breaker.Closed())
