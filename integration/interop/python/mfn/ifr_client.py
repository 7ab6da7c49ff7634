"""Pools of records and of values of ifrd, asked over its socket: what is known of a digest, for how long that holds, and where to ask when
nothing is known. The bodies are those of docs/PROTOCOL.md, "Bodies of ifr".

    from mfn import FlowRecord, IfrClient
    with IfrClient("/tmp/ifr/mfn_ifr.sock") as ifr:
        ifr.pool_add(1, bytes_max=8 << 20)
        ifr.flow_put(1, FlowRecord(key=b"\\x5a" * 32, size=4096), ttl=60.0)
        print(ifr.flow_route(1, b"\\x5a" * 32, kind=3))
"""

from __future__ import annotations

import os
import struct
from dataclasses import astuple, dataclass
from enum import IntEnum
from typing import Any, Protocol

from .client import Pool
from .library import as_bytes
from .protocol import ContentType, IfrKey, Service

DIGEST_BYTES = 32
VALUE_BYTES = 16
#: Bytes of the longest byte key.
KEY_BYTES_MAX = 64 * 1024
#: The highest priority of a record.
PRIORITY_MAX = 7
#: Nanoseconds of the longest time to live.
_TTL_NS_MAX = 2**64 - 1

_POOL = struct.Struct("<IIQ")
_STATS = struct.Struct("<5Q")
_RECORD = struct.Struct("<32s5QHHB3s")
_PUT = struct.Struct("<I4xQ")
_KEY = struct.Struct("<IB3x32s")
_EXPIRE = struct.Struct("<II")
_EXPIRED = struct.Struct("<IIQ")
_ROUTE = struct.Struct("<IH2x32s")
_DECISION = struct.Struct("<IIII")
_LEARN = struct.Struct("<HBB4x")
_REFUSES = 1
_VALUES = 2
_COUNTS = struct.Struct("<II")
_HEAD = struct.Struct("<IB3x")
_FLOAT, _BITS = struct.Struct("<f"), struct.Struct("<I")


class BodyError(Exception):
    """An answer is not laid out as its method's: the other side is no ifrd, or one of another version."""

    def __init__(self) -> None:
        super().__init__("the answer is not laid out as this method's; see docs/PROTOCOL.md")


class Layer(IntEnum):
    """Who may be asked next; NONE after an exact find."""

    NONE = 0
    SIMILARITY = 2
    ASSOCIATION = 3
    PREDICTION = 4


class Outcome(IntEnum):
    """What a decision is."""

    #: The live record of the key in that pool.
    FOUND_EXACT = 0
    #: A record of the key, but expired, or in another pool.
    FOUND_PARTIAL = 1
    #: Nothing is here.
    ROUTE_TO_LAYERS = 2


@dataclass(frozen=True)
class FlowRecord:
    """What is known of a digest. Times are nanoseconds since 1970."""

    key: bytes
    #: Bytes of what the key stands for.
    size: int = 0
    #: 0 in a put: as the record that it replaces, else now.
    created_ns: int = 0
    #: 0 in a put: now.
    updated_ns: int = 0
    #: 0: never.
    expires_ns: int = 0
    #: The caller's: where it lies, whom it belongs to.
    reference: int = 0
    component: int = 0
    kind: int = 0
    #: 0 to 7; the higher, the longer it stays.
    priority: int = 0

    def encode(self) -> bytes:
        """As it travels. A number that has no room there is a ValueError."""
        as_bytes(self.key, "key", DIGEST_BYTES)
        return _pack(_RECORD, *astuple(self), b"")

    @classmethod
    def decode(cls, body: bytes) -> FlowRecord:
        if len(body) != _RECORD.size:
            raise BodyError
        *fields, zeros = _RECORD.unpack(body)
        record = cls(*fields)
        if record.priority > PRIORITY_MAX or zeros != bytes(3):
            raise BodyError
        return record


@dataclass(frozen=True)
class FlowPoolStats:
    """What a pool holds, and has lost since the daemon started."""

    #: Or keys with values.
    records: int
    #: Memory held now, and at most.
    bytes: int
    bytes_max: int
    #: Records that were evicted while they lived.
    evictions: int
    #: Records that were taken out when their time was over.
    expirations: int

    @classmethod
    def decode(cls, body: bytes) -> FlowPoolStats:
        """Skips what a later version appends."""
        if len(body) < _STATS.size:
            raise BodyError
        return cls(*_STATS.unpack_from(body))


@dataclass(frozen=True)
class FlowPool:
    """A pool and what it holds."""

    pool_id: int
    refuses: bool
    #: Holds keys with values in place of records.
    values: bool
    bytes_max: int
    stats: FlowPoolStats


@dataclass(frozen=True)
class RoutingDecision:
    """What to do about a key: use the record, or ask a layer."""

    outcome: Outcome
    next_layer: Layer
    #: 0 to 1. Exact: 1. Partial: 1 for a live record; for an expired one the share that its life has of the time since it
    #: began. Route: how often the next layer had an answer for this kind of key.
    confidence: float
    record: FlowRecord | None

    @classmethod
    def decode(cls, body: bytes) -> RoutingDecision:
        if len(body) != _DECISION.size + _RECORD.size:
            raise BodyError
        outcome, layer, bits, zeros = _DECISION.unpack_from(body)
        (confidence,) = _FLOAT.unpack(_BITS.pack(bits))
        record = FlowRecord.decode(body[_DECISION.size :])
        is_none = not any(body[_DECISION.size :])
        # What is no number is not in between.
        if zeros or not 0 <= confidence <= 1 or outcome not in set(Outcome) or layer not in set(Layer):
            raise BodyError
        if (layer == Layer.NONE) != (outcome == Outcome.FOUND_EXACT):
            raise BodyError
        if outcome == Outcome.ROUTE_TO_LAYERS and not is_none:
            raise BodyError
        return cls(
            Outcome(outcome), Layer(layer), confidence, None if outcome == Outcome.ROUTE_TO_LAYERS else record
        )


def encode_pool(pool_id: int, refuses: bool = False, bytes_max: int = 0, values: bool = False) -> bytes:
    """The body of pool_add; without a budget that of pool_drop and pool_stats."""
    flags = _REFUSES | _VALUES if values else _REFUSES if refuses else 0
    return _pack(_POOL, pool_id, flags, bytes_max)


def decode_pools(body: bytes) -> list[FlowPool]:
    """Every pool and what it holds, in no order. Skips what a later version appends to each."""
    if len(body) < _COUNTS.size:
        raise BodyError
    count, entry_bytes = _COUNTS.unpack_from(body)
    if entry_bytes < _POOL.size + _STATS.size or len(body) != _COUNTS.size + count * entry_bytes:
        raise BodyError
    pools = []
    for at in range(_COUNTS.size, len(body), entry_bytes):
        pool_id, flags, bytes_max = _POOL.unpack_from(body, at)
        if flags not in (0, _REFUSES, _REFUSES | _VALUES):
            raise BodyError
        stats = FlowPoolStats.decode(body[at + _POOL.size : at + entry_bytes])
        pools.append(FlowPool(pool_id, bool(flags & _REFUSES), bool(flags & _VALUES), bytes_max, stats))
    return pools


def encode_value_key(pool_id: int, key: bytes, is_bytes: bool, value: bytes = b"") -> bytes:
    """The body of get and remove; with a value that of put. A digest, or a byte key of at most 64 KiB."""
    kind = IfrKey.BYTES if is_bytes else IfrKey.DIGEST
    key = as_bytes(key, "key") if is_bytes else as_bytes(key, "key", DIGEST_BYTES)
    if len(key) > KEY_BYTES_MAX:
        raise ValueError(f"a byte key has at most {KEY_BYTES_MAX} bytes")
    return _pack(_HEAD, pool_id, kind) + value + key


def encode_flow_put(pool_id: int, ttl_ns: int, record: FlowRecord) -> bytes:
    """A ttl_ns that is not 0 replaces expires_ns, counted from when the daemon takes it."""
    return _pack(_PUT, pool_id, ttl_ns) + record.encode()


def encode_key(pool_id: int, key: bytes) -> bytes:
    """The body of flow_get and flow_remove."""
    return _pack(_KEY, pool_id, IfrKey.DIGEST, as_bytes(key, "key", DIGEST_BYTES))


def encode_expire(pool_id: int, looks: int) -> bytes:
    return _pack(_EXPIRE, pool_id, looks)


def decode_expired(body: bytes) -> tuple[int, int]:
    """How many records were looked at, and how many of them taken out."""
    if len(body) != _EXPIRED.size:
        raise BodyError
    looked, expired, zeros = _EXPIRED.unpack(body)
    if zeros or expired > looked:
        raise BodyError
    return looked, expired


def encode_route(pool_id: int, kind: int, key: bytes) -> bytes:
    return _pack(_ROUTE, pool_id, kind, as_bytes(key, "key", DIGEST_BYTES))


def encode_learn(kind: int, layer: Layer, found: bool) -> bytes:
    return _pack(_LEARN, kind, layer, found)


class Caller(Protocol):
    """What calls methods of one socket by name: `mfn.Pool`, `mfn.Client`."""

    def call(self, method: str, body: bytes, *, content_type: ContentType, timeout: float | None) -> Any: ...

    def close(self) -> None: ...


class IfrClient:
    """Asks one ifrd, over few connections with a circuit breaker for each method (`mfn.Pool`). Threads may share it.

    Errors of the call or of the daemon are `MfnError`, by name: NOT_FOUND without such a pool, LIMIT from one that refuses.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, timeout: float | None = 5.0, caller: Caller | None = None
    ) -> None:
        self._caller: Caller = Pool(path, Service.IFR) if caller is None else caller
        self._timeout = timeout

    def close(self) -> None:
        """Ends its connections."""
        self._caller.close()

    def __enter__(self) -> IfrClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pool_add(self, pool_id: int, *, bytes_max: int, refuses: bool = False, values: bool = False) -> None:
        """Makes a pool of at least 1 MiB; one that refuses evicts nothing, and one of values always refuses."""
        self.call("pool_add", encode_pool(pool_id, refuses, bytes_max, values))

    def pool_drop(self, pool_id: int) -> None:
        """Forgets a pool with all that it holds."""
        self.call("pool_drop", encode_pool(pool_id))

    def pool_stats(self, pool_id: int) -> FlowPoolStats:
        """What a pool holds."""
        return FlowPoolStats.decode(self.call("pool_stats", encode_pool(pool_id)))

    def pools(self) -> list[FlowPool]:
        """Every pool and what it holds, in no order."""
        return decode_pools(self.call("pools", b""))

    def value_get(self, pool_id: int, key: bytes, *, is_bytes: bool = False) -> bytes | None:
        """The value of a key in a pool of values; is_bytes: of a key of any length, which is no digest."""
        return _value(self.call("get", encode_value_key(pool_id, key, is_bytes)))

    def value_put(self, pool_id: int, key: bytes, value: bytes, *, is_bytes: bool = False) -> bytes | None:
        """Sets a value of 16 bytes and answers the one that it replaced."""
        value = as_bytes(value, "value", VALUE_BYTES)
        return _value(self.call("put", encode_value_key(pool_id, key, is_bytes, value)))

    def value_remove(self, pool_id: int, key: bytes, *, is_bytes: bool = False) -> bytes | None:
        """Forgets a key and answers its value."""
        return _value(self.call("remove", encode_value_key(pool_id, key, is_bytes)))

    def flow_put(self, pool_id: int, record: FlowRecord, *, ttl: float | None = None) -> FlowRecord | None:
        """Sets the record of a digest and answers the one that it replaced. It lives for ttl seconds; None: until its
        expires_ns."""
        # A life of nothing is a moment.
        ttl_ns = 0 if ttl is None else min(max(int(ttl * 1e9), 1), _TTL_NS_MAX)
        return _record(self.call("flow_put", encode_flow_put(pool_id, ttl_ns, record)))

    def flow_get(self, pool_id: int, key: bytes) -> FlowRecord | None:
        """The live record of a digest; that it was read keeps it longer."""
        return _record(self.call("flow_get", encode_key(pool_id, key)))

    def flow_remove(self, pool_id: int, key: bytes) -> FlowRecord | None:
        """Forgets a digest and answers its record, expired or not."""
        return _record(self.call("flow_remove", encode_key(pool_id, key)))

    def flow_expire(self, pool_id: int, looks: int) -> int:
        """Takes out what has expired among the next looks records of a pool, 1 to 4,096, and says how many."""
        return decode_expired(self.call("flow_expire", encode_expire(pool_id, looks)))[1]

    def flow_route(self, pool_id: int, key: bytes, kind: int) -> RoutingDecision:
        """What to do about a key of some kind: use the record that is here, or ask a layer."""
        return RoutingDecision.decode(self.call("flow_route", encode_route(pool_id, kind, key)))

    def flow_learn(self, kind: int, layer: Layer, found: bool) -> None:
        """Tells whether a layer that was asked for a key of some kind had an answer."""
        self.call("flow_learn", encode_learn(kind, layer, found))

    def call(self, method: str, body: bytes) -> bytes:
        """Asks any method with a body of one's own making."""
        return self._caller.call(method, body, content_type=ContentType.FIXED, timeout=self._timeout).body


def _record(body: bytes) -> FlowRecord | None:
    return FlowRecord.decode(body) if body else None


def _value(body: bytes) -> bytes | None:
    if len(body) not in (0, VALUE_BYTES):
        raise BodyError
    return bytes(body) if body else None


def _pack(layout: struct.Struct, *fields: Any) -> bytes:
    try:
        return layout.pack(*fields)
    except struct.error as error:
        raise ValueError(f"a number does not fit its field: {error}") from error
