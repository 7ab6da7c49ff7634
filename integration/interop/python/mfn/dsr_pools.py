"""Layer 2's pools: many wells, each pool with a budget of bytes, a time to live, and eviction (mfn/dsr.h)."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, Sequence

from . import dsr
from .dsr import DsrExplanation, Match, Precision
from .library import Handle, as_bytes, check_version, declare
from .protocol import Status

#: What this module was written for.
ABI_VERSION = 0x00010001


class _PoolOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_uint32),
        ("ttl", ctypes.c_uint32),
        ("bytes_max", ctypes.c_uint64),
        ("refuses", ctypes.c_uint8),
        ("reserved", ctypes.c_uint8 * 7),
    ]


class _Applied(ctypes.Structure):
    _fields_ = [
        ("evicted", ctypes.c_uint64),
        ("expired", ctypes.c_uint64),
        ("existed", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]


class _PoolStats(ctypes.Structure):
    _fields_ = [
        ("wells", ctypes.c_uint64),
        ("entries", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("bytes_max", ctypes.c_uint64),
        ("evicted", ctypes.c_uint64),
        ("expired", ctypes.c_uint64),
    ]


#: Sizes of the structs of the header, which a test compares.
STRUCTS = {
    "mfn_dsr_pool_options": _PoolOptions,
    "mfn_dsr_applied": _Applied,
    "mfn_dsr_pool_stats": _PoolStats,
}

_OUT = ctypes.c_void_p
_HANDLE = ctypes.c_void_p
_VECTOR = ctypes.c_void_p
_SIZE = ctypes.c_size_t
_U32, _U64, _FLOAT = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_float
PROTOTYPES = {
    "mfn_dsr_pools_new": (ctypes.c_int32, [_OUT]),
    "mfn_dsr_pools_free": (None, [_HANDLE]),
    "mfn_dsr_pool_set": (ctypes.c_int32, [_HANDLE, _U32, ctypes.POINTER(_PoolOptions), _OUT]),
    "mfn_dsr_pool_drop": (ctypes.c_int32, [_HANDLE, _U32]),
    "mfn_dsr_pool_stats_read": (ctypes.c_int32, [_HANDLE, _U32, _OUT]),
    "mfn_dsr_pool_well_new": (ctypes.c_int32, [_HANDLE, _U32, _U32, ctypes.c_void_p, _OUT]),
    "mfn_dsr_pool_well_drop": (ctypes.c_int32, [_HANDLE, _U32, _U32]),
    "mfn_dsr_pool_insert": (ctypes.c_int32, [_HANDLE, _U32, _U32, _U64, _VECTOR, _SIZE, _U32, _OUT]),
    "mfn_dsr_pool_touch": (ctypes.c_int32, [_HANDLE, _U32, _U32, _U64, _U32]),
    "mfn_dsr_pool_remove": (ctypes.c_int32, [_HANDLE, _U32, _U32, _U64]),
    "mfn_dsr_pool_expire": (ctypes.c_int32, [_HANDLE, _U32, _U32, _U32, _OUT]),
    "mfn_dsr_pool_search": (ctypes.c_int32, [_HANDLE, _U32, _U32, _VECTOR, _SIZE, _SIZE, _FLOAT, _U32, _OUT, _OUT]),
    "mfn_dsr_pool_explain": (ctypes.c_int32, [_HANDLE, _U32, _U32, _VECTOR, _SIZE, _U64, _OUT]),
    "mfn_dsr_pools_snapshot": (ctypes.c_int32, [_HANDLE, _OUT, _SIZE, _OUT]),
    "mfn_dsr_pools_restore": (ctypes.c_int32, [ctypes.c_char_p, _SIZE, _OUT]),
}


@dataclass(frozen=True)
class DsrApplied:
    """What a change did: whether what it names was there before, what gave way to it, what had expired."""

    existed: bool
    evicted: int
    expired: int


@dataclass(frozen=True)
class DsrPoolStats:
    """What a pool holds, and what ever gave way or expired."""

    wells: int
    entries: int
    bytes: int
    bytes_max: int
    evicted: int
    expired: int


class DsrPools(Handle):
    """Wells of vectors in pools, each under a number. Times are integers in the unit of `ttl` and do not run backwards.

    Searches may run at the same time in many threads; one thread at a time may change it, with no search beside.
    """

    def __init__(self) -> None:
        self._library = _declared()
        handle = ctypes.c_void_p()
        self._check(self._library.mfn_dsr_pools_new(ctypes.byref(handle)), "making pools")
        super().__init__(handle.value or 0, self._library.mfn_dsr_pools_free)

    @classmethod
    def restore(cls, snapshot: bytes) -> DsrPools:
        """The pools of a snapshot; damaged bytes raise `CORRUPT`."""
        snapshot = as_bytes(snapshot, "snapshot")
        pools = cls.__new__(cls)
        pools._library = _declared()
        handle = ctypes.c_void_p()
        status = pools._library.mfn_dsr_pools_restore(snapshot, len(snapshot), ctypes.byref(handle))
        pools._check(status, "restoring pools")
        Handle.__init__(pools, handle.value or 0, pools._library.mfn_dsr_pools_free)
        return pools

    def set_pool(self, pool: int, *, bytes_max: int = 64 << 20, ttl: int = 0, refuses: bool = False) -> DsrApplied:
        """Makes a pool, or gives one new limits. What has no room makes the oldest give way, or is refused with `LIMIT`."""
        options = _PoolOptions(
            struct_size=ctypes.sizeof(_PoolOptions),
            ttl=_u32(ttl, "ttl"),
            bytes_max=dsr._at_most(bytes_max, 0xFFFFFFFFFFFFFFFF, "bytes_max"),
            refuses=int(refuses),
        )
        return self._apply("set", "setting a pool", _u32(pool, "pool"), options)

    def drop_pool(self, pool: int) -> bool:
        """Removes a pool with all its wells; whether it was there."""
        return self._there("drop", "removing a pool", _u32(pool, "pool"))

    def add_well(
        self,
        pool: int,
        well: int,
        dims: int,
        *,
        seed: int = 1,
        recall: float = 0.0,
        precision: Precision = Precision.BYTES,
        exact: bool = False,
    ) -> DsrApplied:
        """Makes an empty well; nothing happens when it is there with the same options."""
        options = dsr._options(dims, seed, recall, precision, exact)
        what = "making a well"
        return self._apply("well_new", what, _u32(pool, "pool"), _u32(well, "well"), ctypes.byref(options))

    def drop_well(self, pool: int, well: int) -> bool:
        """Removes a well with all its entries; whether it was there."""
        return self._there("well_drop", "removing a well", _u32(pool, "pool"), _u32(well, "well"))

    def insert(self, pool: int, well: int, id: int, vector: Sequence[float], now: int = 0) -> DsrApplied:
        """Keeps a vector under an id."""
        data, count = dsr._floats(vector)
        place = _u32(pool, "pool"), _u32(well, "well")
        return self._apply("insert", "inserting", *place, dsr._id(id), data, count, _u32(now, "now"))

    def touch(self, pool: int, well: int, id: int, now: int) -> bool:
        """Says that an entry was used; whether it is there and has not expired."""
        place = _u32(pool, "pool"), _u32(well, "well")
        return self._there("touch", "touching", *place, dsr._id(id), _u32(now, "now"))

    def remove(self, pool: int, well: int, id: int) -> bool:
        """Forgets an id; whether it was there."""
        return self._there("remove", "removing", _u32(pool, "pool"), _u32(well, "well"), dsr._id(id))

    def expire(self, pool: int, now: int, most: int = 0xFFFFFFFF) -> DsrApplied:
        """Lets time pass: looks at up to so many places of each well for what has expired."""
        return self._apply("expire", "expiring", _u32(pool, "pool"), _u32(now, "now"), _u32(most, "most"))

    def search(
        self, pool: int, well: int, vector: Sequence[float], k: int = 10, least: float = -1.0, now: int = 0
    ) -> list[Match]:
        """The k entries most like a vector that have not expired, best first."""
        data, count = dsr._floats(vector)
        matches = (dsr._Match * dsr._at_most(k, dsr.K_MAX, "k"))()
        found = ctypes.c_size_t()
        place = _u32(pool, "pool"), _u32(well, "well")
        status = self._library.mfn_dsr_pool_search(
            self.pointer, *place, data, count, k, least, _u32(now, "now"), matches, ctypes.byref(found)
        )
        self._check(status, "searching")
        return [Match(match.id, match.similarity) for match in matches[: found.value]]

    def explain(self, pool: int, well: int, id: int, vector: Sequence[float]) -> DsrExplanation | None:
        """As `Dsr.explain`; None: there is no such entry."""
        data, count = dsr._floats(vector)
        raw = dsr._Explanation()
        place = _u32(pool, "pool"), _u32(well, "well")
        status = self._library.mfn_dsr_pool_explain(
            self.pointer, *place, data, count, dsr._id(id), ctypes.byref(raw)
        )
        if status == Status.NOT_FOUND:
            return None
        self._check(status, "explaining")
        return dsr._explained(raw)

    def stats(self, pool: int) -> DsrPoolStats | None:
        """What a pool holds; None: there is none of that number."""
        raw = _PoolStats()
        status = self._library.mfn_dsr_pool_stats_read(self.pointer, _u32(pool, "pool"), ctypes.byref(raw))
        if status == Status.NOT_FOUND:
            return None
        self._check(status, "reading the statistics")
        return DsrPoolStats(raw.wells, raw.entries, raw.bytes, raw.bytes_max, raw.evicted, raw.expired)

    def snapshot(self) -> bytes:
        """All pools and wells."""
        return dsr._snapshot(self._library, self._library.mfn_dsr_pools_snapshot, self.pointer)

    def _apply(self, name: str, what: str, *arguments: Any) -> DsrApplied:
        raw = _Applied()
        function = getattr(self._library, f"mfn_dsr_pool_{name}")
        self._check(function(self.pointer, *arguments, ctypes.byref(raw)), what)
        return DsrApplied(bool(raw.existed), raw.evicted, raw.expired)

    def _there(self, name: str, what: str, *arguments: int) -> bool:
        status = getattr(self._library, f"mfn_dsr_pool_{name}")(self.pointer, *arguments)
        if status == Status.NOT_FOUND:
            return False
        self._check(status, what)
        return True

    def _check(self, status: int, what: str) -> None:
        dsr._check(self._library, status, what)


def _declared() -> ctypes.CDLL:
    library = declare(PROTOTYPES)
    dsr._declared()
    check_version(library.mfn_dsr_abi_version(), ABI_VERSION, "mfn/dsr.h")
    return library


def _u32(number: int, what: str) -> int:
    return dsr._at_most(number, 0xFFFFFFFF, what)
