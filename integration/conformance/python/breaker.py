"""Circuit breakers in Python, written from docs/PROTOCOL.md ("Breakers") and integration/vectors/breaker.txt alone.

Time and randomness are arguments: nothing in here looks at a clock or throws dice. Not for several threads at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

MILLISECOND, SECOND = 1_000_000, 1_000_000_000
#: Parts of the window that are forgotten at once.
PARTS = 10
_U64 = (1 << 64) - 1


@dataclass(frozen=True)
class Options:
    """When a breaker opens, and how it comes back. Times in nanoseconds. The defaults are those for a method."""

    window: int = 10 * SECOND
    calls_min: int = 20
    failed_share_max: float = 0.5
    slow_from: int = SECOND
    slow_share_max: float = 0.8
    probes: int = 3
    pause_first: int = 100 * MILLISECOND
    pause_max: int = 10 * SECOND


#: For connecting: one failure is enough, one success ends it.
CONNECTING = replace(
    Options(),
    calls_min=1,
    failed_share_max=0.0,
    slow_share_max=1.0,
    probes=1,
    pause_first=20 * MILLISECOND,
    pause_max=SECOND,
)


class Outcome(Enum):
    """How a call ended. UNKNOWN says nothing of the other side."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Closed:
    """All calls go through."""


@dataclass(frozen=True)
class Open:
    """None does until then."""

    until: int


@dataclass(frozen=True)
class HalfOpen:
    """Probes do: so many are under way or have succeeded."""

    admitted: int = 0
    succeeded: int = 0


@dataclass(frozen=True)
class Permit:
    """Leave for one call, whose outcome must be recorded, UNKNOWN at least."""

    epoch: int


class Refused(Exception):
    """No call now."""

    def __init__(self, retry_in: int) -> None:
        super().__init__(f"the next call may be let through in {retry_in} ns")
        self.retry_in = retry_in


class Breaker:
    """The state machine for one peer and method."""

    def __init__(self, options: Options = Options()) -> None:
        self.options = options
        self.state: Closed | Open | HalfOpen = Closed()
        self._epoch = 0
        self._pauses = 0
        self._now = 0
        #: Of each part of time in the window: calls, failed, slow.
        self._parts: dict[int, list[int]] = {}

    def admit(self, now: int) -> Permit:
        """Leave for a call; `Refused` without."""
        self._now = max(self._now, now)
        if isinstance(self.state, Open) and self._now >= self.state.until:
            self._change(HalfOpen())
        match self.state:
            case Open(until):
                raise Refused(until - self._now)
            case HalfOpen(admitted, succeeded):
                if admitted >= max(self.options.probes, 1):
                    raise Refused(self.options.pause_first)
                self.state = HalfOpen(admitted + 1, succeeded)
        return Permit(self._epoch)

    def record(self, permit: Permit, now: int, outcome: Outcome, took: int, random: int) -> None:
        """How a call ended, and how long it took. `random` is any number of 64 bits, equally likely."""
        self._now = max(self._now, now)
        if permit.epoch != self._epoch:
            return
        is_slow = took >= self.options.slow_from
        match self.state, outcome:
            case (Open(), _) | (Closed(), Outcome.UNKNOWN):
                pass
            case HalfOpen(admitted, succeeded), Outcome.UNKNOWN:
                self.state = HalfOpen(admitted - 1, succeeded)
            case HalfOpen(admitted, succeeded), Outcome.SUCCEEDED if not is_slow:
                self.state = HalfOpen(admitted, succeeded + 1)
                if succeeded + 1 >= self.options.probes:
                    self._pauses = 0
                    self._change(Closed())
            case HalfOpen(), _:
                self._open(random)
            case _:
                self._count(outcome is Outcome.FAILED, is_slow)
                if self._is_too_bad():
                    self._open(random)

    def _count(self, failed: bool, slow: bool) -> None:
        part = self._now // max(self.options.window // PARTS, 1)
        self._parts = {number: counts for number, counts in self._parts.items() if number + PARTS > part}
        counts = self._parts.setdefault(part, [0, 0, 0])
        for at, value in enumerate((True, failed, slow)):
            counts[at] += value

    def _is_too_bad(self) -> bool:
        calls, failed, slow = (sum(column) for column in zip(*self._parts.values()))
        return calls >= self.options.calls_min and (
            failed > self.options.failed_share_max * calls or slow > self.options.slow_share_max * calls
        )

    def _open(self, random: int) -> None:
        longest = min(self.options.pause_first << self._pauses, self.options.pause_max)
        self._pauses += 1
        # Equally likely from 0 to the longest.
        self._change(Open(min(self._now + (random * (longest + 1) >> 64), _U64)))

    def _change(self, state: Closed | Open | HalfOpen) -> None:
        self.state = state
        self._epoch += 1
        self._parts = {}


_INTERNAL = (-98, -99)
_RETRYABLE = (-6, -9, -10, -14, -16, -30)
_OF_THE_WIRE = range(-114, -99)
_CANCELLED, _CLOSED = -8, -11


def outcome_of(status: int) -> Outcome:
    """What an answer with a status says of who gave it."""
    if status in (_CANCELLED, _CLOSED):
        return Outcome.UNKNOWN
    if status in _INTERNAL or status in _RETRYABLE or status in _OF_THE_WIRE:
        return Outcome.FAILED
    return Outcome.SUCCEEDED
