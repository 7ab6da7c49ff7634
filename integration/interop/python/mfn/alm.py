"""Layer 3, the Associative Link Mesh, in this process: weighted links, paths, what is used together (mfn/alm.h).

It brings the Go runtime along, in a library of its own: `libmfn_alm.so`. Programs that call a running node instead reach
the layer with `Client(path, Service.ALM)` or `Pool`, by the same methods.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import Iterable

from .library import ALM_NAME, MfnError, as_bytes, check_version, declare
from .proto import field, fields, member, packed
from .protocol import AlmMethod, Status

#: What this module was written for.
ABI_VERSION = 0x00010000
_DURABLE_NONE, _SET_ASIDE = 1, 2

PROTOTYPES = {
    "mfn_alm_abi_version": (ctypes.c_uint32, []),
    "mfn_alm_open": (
        ctypes.c_int32,
        [ctypes.c_char_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.POINTER(ctypes.c_uint64)],
    ),
    "mfn_alm_call": (
        ctypes.c_int32,
        [
            ctypes.c_uint64,
            ctypes.c_uint16,
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint64,
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.POINTER(ctypes.c_size_t),
        ],
    ),
    "mfn_alm_close": (ctypes.c_int32, [ctypes.c_uint64]),
}


@dataclass(frozen=True)
class Link:
    """A directed link. Strengths are above 0, at most 1; `evidence`, in answers, is how often it was set or strengthened."""

    source: bytes
    target: bytes
    strength: float
    kind: int = 0
    bandwidth: float = 0.0
    expires_unix_ns: int = 0
    evidence: int = 0


@dataclass(frozen=True)
class Path:
    """The best way: its nodes, its strength (the product of the links'), and the links."""

    nodes: list[bytes]
    strength: float
    links: list[Link]


@dataclass(frozen=True)
class Associate:
    """A node that goes with another."""

    node: bytes
    score: float


@dataclass(frozen=True)
class Together:
    """A key that is used with another: in which share of its uses, and how often."""

    key: bytes
    share: float
    together: int


class Alm:
    """A memory of links in a directory, which is made if it is not there and may be open once at a time. Any thread may
    call at any time. Whatever was acknowledged is in its log, and there again when it is opened."""

    def __init__(
        self, directory: str | os.PathLike[str], *, bytes_max: int = 0, durable: bool = True, set_aside: bool = False
    ) -> None:
        self._handle: int | None = None
        self._library = declare(PROTOTYPES, ALM_NAME)
        check_version(self._library.mfn_alm_abi_version(), ABI_VERSION, "mfn/alm.h")
        flags = (0 if durable else _DURABLE_NONE) | (_SET_ASIDE if set_aside else 0)
        if not 0 <= bytes_max < 1 << 64:
            raise ValueError(f"bytes_max is {bytes_max}: 64 bits are taken")
        handle = ctypes.c_uint64()
        status = self._library.mfn_alm_open(os.fsencode(directory), flags, bytes_max, ctypes.byref(handle))
        if status != 0:
            raise MfnError(status, f"opening layer 3 in {os.fsdecode(directory)}")
        self._handle = handle.value

    def close(self) -> None:
        """Writes a snapshot and ends; waits for calls that are under way. Twice does nothing."""
        handle, self._handle = self._handle, None
        if handle is not None:
            status = self._library.mfn_alm_close(handle)
            if status != 0:
                raise MfnError(status, "closing layer 3")

    def __enter__(self) -> Alm:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self.close()

    def call(self, method: AlmMethod, body: bytes = b"", *, timeout: float | None = 10.0) -> bytes:
        """Calls any method with a message of ffi/protocol/local.proto; without end if the timeout is None."""
        if self._handle is None:
            raise ValueError("this Alm is closed")
        body = as_bytes(body, "body")
        within = 0 if timeout is None else max(1, int(timeout * 1000))
        # Changes have empty answers: only a question is ever asked twice.
        room = 4_096
        while True:
            out, needed = ctypes.create_string_buffer(room), ctypes.c_size_t()
            status = self._library.mfn_alm_call(
                self._handle, method, body or None, len(body), within, out, room, ctypes.byref(needed)
            )
            if status == Status.NO_SPACE and needed.value > room:
                room = needed.value
                continue
            answer = out.raw[: min(needed.value, room)]
            if status != 0:
                raise MfnError(status, answer.decode("utf-8", "replace"))
            return answer

    def add(self, links: Iterable[Link], *, pool: int = 0) -> None:
        """Sets links; what is there of the same source, target and kind is replaced."""
        self.call(AlmMethod.ADD, _edges(links, pool))

    def reinforce(self, links: Iterable[Link], *, pool: int = 0) -> None:
        """Adds to the strengths of links, towards 1."""
        self.call(AlmMethod.REINFORCE, _edges(links, pool))

    def remove(self, source: bytes, target: bytes = b"", *, kind: int = 0, pool: int = 0) -> None:
        """Forgets a link, or without a target the node."""
        self.call(AlmMethod.REMOVE, _edges([Link(source, target, 0.0, kind)], pool))

    def neighbours(self, node: bytes, limit: int = 10, *, kinds: Iterable[int] = (), pool: int = 0) -> list[Link]:
        """The links of a node, strongest first."""
        body = field(1, node) + field(2, limit) + field(3, pool) + _filter(kinds)
        return [_link(part) for number, part in fields(self.call(AlmMethod.NEIGHBOURS, body)) if number == 1]

    def best_path(
        self, source: bytes, target: bytes, *, hops_max: int = 0, kinds: Iterable[int] = (), pool: int = 0
    ) -> Path | None:
        """The strongest way from one node to another; None: there is none."""
        body = field(1, source) + field(2, target) + field(3, hops_max) + field(4, pool) + _filter(kinds, 5)
        try:
            answer = self.call(AlmMethod.BEST_PATH, body)
        except MfnError as error:
            if error.status == Status.NOT_FOUND:
                return None
            raise
        nodes, links, strength = [], [], 0.0
        for number, value in fields(answer):
            if number == 1:
                nodes.append(value)
            elif number == 2:
                strength = value
            elif number == 4:
                links.append(_link(value))
        return Path(nodes, strength, links)

    def associates(self, node: bytes, limit: int = 10, *, kinds: Iterable[int] = (), pool: int = 0) -> list[Associate]:
        """What goes with a node, by random walks that come back to it, best first."""
        body = field(1, node) + field(2, limit) + field(3, pool) + _filter(kinds)
        found = []
        for number, part in fields(self.call(AlmMethod.ASSOCIATES, body)):
            if number == 1:
                one = dict(fields(part))
                found.append(Associate(one.get(1, b""), one.get(2, 0.0)))
        return found

    def observe(self, keys: Iterable[bytes], *, pool: int = 0) -> None:
        """Learns that keys were used together."""
        self.call(AlmMethod.OBSERVE, b"".join(member(1, key) for key in keys) + field(2, pool))

    def predict(self, key: bytes, limit: int = 10, *, pool: int = 0) -> list[Together]:
        """What is used with a key, best first."""
        found = []
        for number, part in fields(self.call(AlmMethod.PREDICT, field(1, key) + field(2, limit) + field(3, pool))):
            if number == 1:
                one = dict(fields(part))
                found.append(Together(one.get(1, b""), one.get(2, 0.0), one.get(3, 0)))
        return found


def _edges(links: Iterable[Link], pool: int) -> bytes:
    edges = b"".join(
        member(
            1,
            field(1, link.source)
            + field(2, link.target)
            + field(3, float(link.strength))
            + field(4, link.kind)
            + field(5, float(link.bandwidth))
            + field(6, link.expires_unix_ns),
        )
        for link in links
    )
    return edges + field(2, pool)


def _filter(kinds: Iterable[int], number: int = 4) -> bytes:
    return field(number, packed(1, kinds))


def _link(part: bytes) -> Link:
    one = dict(fields(part))
    return Link(
        one.get(1, b""), one.get(2, b""), one.get(3, 0.0), one.get(4, 0), one.get(5, 0.0), one.get(6, 0), one.get(7, 0)
    )
