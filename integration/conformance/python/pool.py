"""A pool of connections in Python, with a breaker for each method: docs/PROTOCOL.md, "Clients that last".

For many threads. The caller that needs a connection makes it; others wait for it no longer than their deadlines."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field

import breaker
import wire
from breaker import Outcome

CIRCUIT_OPEN = -30
#: A connection that was not used for so long is looked at first: the other side may be gone.
IDLE_FROM = 0.01
#: Connections to which a call goes that none took.
TRIES_MAX = 3
#: Methods with a breaker of their own; all others share one.
BREAKERS_MAX = 256


@dataclass
class Options:
    """What a pool may do. Times in seconds."""

    connect_timeout: float = 5.0
    connections: int = 2
    #: Calls in flight on every connection before another one is opened.
    share: int = 256
    #: An older connection takes no new calls.
    age_max: float = 900.0
    #: Callers that wait for a connection; more are told BUSY.
    waiting: int = 4_096
    breaker: breaker.Options = field(default_factory=breaker.Options)


@dataclass
class _Pooled:
    client: wire.Client
    opened: float
    used: float


@dataclass
class PooledCall:
    """One under way. Take it to its end, or cancel it: its breaker waits for that."""

    method: int
    content_type: int
    body: bytes
    until: float | None
    credit: int
    breaker: breaker.Breaker
    permit: breaker.Permit | None
    started: int
    tries: int = 0
    client: wire.Client | None = None
    call: wire.Call | None = None


def outcome_of(error: wire.WireError) -> Outcome:
    """What the end of a call says of the other side. That nothing was reached is the connecting breaker's to count."""
    if error.is_unsent:
        return Outcome.UNKNOWN
    if error.is_lost:
        return Outcome.FAILED
    return breaker.outcome_of(error.status)


class Pool:
    """The connections to one socket. The first call opens one."""

    def __init__(self, path: str, service: int, options: Options | None = None) -> None:
        self._path = path
        self._service = service
        self._options = options or Options()
        self._changed = threading.Condition()
        self._connections: list[_Pooled] = []
        #: They take no new calls, and end with their last one.
        self._retired: list[wire.Client] = []
        self._is_connecting = False
        self._is_closed = False
        self._waiting = 0
        self._failure = ""
        self._peer = breaker.Breaker(breaker.CONNECTING)
        self._breakers: dict[int, breaker.Breaker] = {}
        self._others = breaker.Breaker(self._options.breaker)

    def start(self, method: int, content_type: int, body: bytes, timeout: float | None, credit: int) -> PooledCall:
        """Sends a request over the least loaded connection. Raises what `wire.Client.start` does, and CIRCUIT_OPEN."""
        with self._changed:
            known = self._breaker_of(method)
            permit = self._admit(known, f"method {method} failed too often")
        until = None if timeout is None else time.monotonic() + timeout
        call = PooledCall(method, content_type, body, until, credit, known, permit, time.monotonic_ns())
        try:
            self._send(call)
        except BaseException as error:
            self._over(call, error)
            raise
        return call

    def item(self, call: PooledCall) -> wire.Frame:
        """The next event of a call, or its reply. What a server that went away did not take is asked again."""
        while True:
            try:
                frame = call.client.item(call.call)
            except wire.WireError as error:
                try:
                    if not error.may_repeat or call.tries >= TRIES_MAX:
                        raise
                    self._send(call)
                    continue
                except BaseException as last:
                    self._over(call, last)
                    raise
            if frame.kind != wire.EVENT:
                self._over(call, None)
            return frame

    def cancel(self, call: PooledCall) -> None:
        """Ends a call."""
        if call.client is not None and call.call is not None:
            call.client.cancel(call.call)
        self._over(call, wire.WireError(wire.CANCELLED))

    def state(self, method: int) -> breaker.Closed | breaker.Open | breaker.HalfOpen | None:
        """Of the breaker of a method; None: it was never called."""
        with self._changed:
            known = self._breakers.get(method)
            return known.state if known else None

    def close(self) -> None:
        """Ends all connections, and with them all calls."""
        with self._changed:
            self._is_closed = True
            clients = [pooled.client for pooled in self._connections] + self._retired
            self._connections, self._retired = [], []
            self._changed.notify_all()
        for client in clients:
            client.close()

    def _breaker_of(self, method: int) -> breaker.Breaker:
        if method not in self._breakers and len(self._breakers) >= BREAKERS_MAX:
            return self._others
        return self._breakers.setdefault(method, breaker.Breaker(self._options.breaker))

    def _admit(self, guard: breaker.Breaker, why: str) -> breaker.Permit:
        try:
            return guard.admit(time.monotonic_ns())
        except breaker.Refused as refused:
            text = f"{why}; trying again in {max(refused.retry_in // 1_000_000, 1)} ms"
            raise wire.WireError(CIRCUIT_OPEN, text, is_unsent=True) from None

    def _send(self, call: PooledCall) -> None:
        while True:
            call.tries += 1
            client = self._checkout(call.until)
            left = None if call.until is None else max(call.until - time.monotonic(), 0.0)
            try:
                call.call = client.start(call.method, call.content_type, call.body, left, call.credit)
                call.client = client
                return
            except wire.WireError as error:
                if not error.may_repeat or call.tries >= TRIES_MAX:
                    raise

    def _over(self, call: PooledCall, error: BaseException | None) -> None:
        """Tells the breaker how a call ended, once, and who waits that there is room."""
        now = time.monotonic_ns()
        # A stream lasts as long as it has something to say.
        took = now - call.started if call.credit == 0 else 0
        outcome = Outcome.SUCCEEDED
        if error is not None:
            outcome = outcome_of(error) if isinstance(error, wire.WireError) else Outcome.UNKNOWN
        with self._changed:
            permit, call.permit = call.permit, None
            if permit is not None:
                call.breaker.record(permit, now, outcome, took, random.getrandbits(64))
            self._changed.notify()

    def _checkout(self, until: float | None) -> wire.Client:
        with self._changed:
            while True:
                now = time.monotonic()
                if until is not None and until <= now:
                    # What woke this one may be room for another.
                    self._changed.notify()
                    raise wire.WireError(wire.DEADLINE, "no connection came before the deadline")
                client, permit = self._look(now)
                if client is not None:
                    return client
                if permit is not None:
                    self._connect(permit, until)
                    continue
                if self._waiting >= self._options.waiting:
                    raise wire.WireError(wire.BUSY, "too many callers wait for a connection", is_unsent=True)
                self._waiting += 1
                try:
                    self._changed.wait(None if until is None else until - now)
                finally:
                    self._waiting -= 1

    def _look(self, now: float) -> tuple[wire.Client | None, breaker.Permit | None]:
        """A connection, or a permit to open one; neither: wait. The lock is held."""
        if self._is_closed:
            raise wire.WireError(wire.CLOSED, "the pool is closed", is_unsent=True)
        best = self._least(now)
        can_open = not self._is_connecting and len(self._connections) < self._options.connections
        if best is not None and not (can_open and best.client.in_flight >= self._options.share):
            best.used = now
            return best.client, None
        if not can_open:
            return None, None
        try:
            permit = self._admit(self._peer, self._failure)
        except wire.WireError:
            # The one there is will do; those that are full do not hide behind the one that does not come.
            if best is not None or self._connections:
                return (best.client if best else None), None
            raise
        return None, permit

    def _least(self, now: float) -> _Pooled | None:
        """The least loaded one with room. Those that are too old or gone leave the pool."""
        kept = []
        for pooled in self._connections:
            is_idle = now - pooled.used > IDLE_FROM
            is_old = now - pooled.opened >= self._options.age_max
            if is_old or not pooled.client.is_open or (is_idle and pooled.client.has_hung_up()):
                self._retired.append(pooled.client)
            else:
                kept.append(pooled)
        self._connections = kept
        idle = [client for client in self._retired if client.in_flight == 0]
        self._retired = [client for client in self._retired if client not in idle]
        for client in idle:
            client.close()
        free = [pooled for pooled in kept if pooled.client.in_flight < pooled.client.in_flight_max]
        return min(free, key=lambda pooled: pooled.client.in_flight, default=None)

    def _connect(self, permit: breaker.Permit, until: float | None) -> None:
        """Opens a connection without the lock, which is held before and after."""
        self._is_connecting = True
        own = self._options.connect_timeout
        left = own if until is None else min(own, until - time.monotonic())
        outcome = Outcome.UNKNOWN
        self._changed.release()
        client = failure = None
        try:
            client = wire.Client(self._path, self._service, max(left, 0.001), self._room)
            outcome = Outcome.SUCCEEDED
        except wire.WireError as error:
            # When it was this caller's time that was too short, that says nothing of the other side.
            if not (error.status == wire.DEADLINE and left < own):
                outcome = Outcome.FAILED
            failure = error
        finally:
            self._changed.acquire()
            self._is_connecting = False
            self._peer.record(permit, time.monotonic_ns(), outcome, 0, random.getrandbits(64))
            self._changed.notify_all()
        if client is not None:
            now = time.monotonic()
            self._connections.append(_Pooled(client, now, now))
        elif outcome is Outcome.FAILED:
            self._failure = failure.text
            if not self._connections:
                raise wire.WireError(failure.status, failure.text, is_unsent=True)
        else:
            raise failure

    def _room(self) -> None:
        """A connection may have room again, or has ended."""
        with self._changed:
            self._changed.notify()
