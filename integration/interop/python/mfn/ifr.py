"""Layer 1, the Immediate Flow Registry: exact match in memory (mfn/ifr.h)."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import Sequence

from .library import Handle, MfnError, as_bytes, check, check_version, declare
from .protocol import Status

DIGEST_BYTES = 32
VALUE_BYTES = 16
#: What this module was written for.
ABI_VERSION = 0x00010000
NO_FILTER = 1


class _Options(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("bytes_max", ctypes.c_uint64),
        ("hash_key", ctypes.c_uint8 * 16),
    ]


class _Stats(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("digest_entries", ctypes.c_uint64),
        ("bytes_entries", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("bytes_max", ctypes.c_uint64),
        ("capacity", ctypes.c_uint64),
        ("segments", ctypes.c_uint64),
        ("filter_bytes", ctypes.c_uint64),
        ("filter_homeless", ctypes.c_uint64),
    ]


_BYTES = ctypes.c_char_p
_OUT = ctypes.c_void_p
_HANDLE = ctypes.c_void_p
PROTOTYPES = {
    "mfn_ifr_abi_version": (ctypes.c_uint32, []),
    "mfn_ifr_new": (ctypes.c_int32, [ctypes.POINTER(_Options), ctypes.POINTER(ctypes.c_void_p)]),
    "mfn_ifr_free": (None, [_HANDLE]),
    "mfn_ifr_insert": (ctypes.c_int32, [_HANDLE, _BYTES, _BYTES, _OUT, _OUT]),
    "mfn_ifr_get": (ctypes.c_int32, [_HANDLE, _BYTES, _OUT]),
    "mfn_ifr_get_many": (ctypes.c_int32, [_HANDLE, _BYTES, ctypes.c_size_t, _OUT, _OUT, _OUT]),
    "mfn_ifr_remove": (ctypes.c_int32, [_HANDLE, _BYTES, _OUT]),
    "mfn_ifr_may_contain": (ctypes.c_int32, [_HANDLE, _BYTES, _OUT]),
    "mfn_ifr_insert_bytes": (ctypes.c_int32, [_HANDLE, _BYTES, ctypes.c_size_t, _BYTES, _OUT, _OUT]),
    "mfn_ifr_get_bytes": (ctypes.c_int32, [_HANDLE, _BYTES, ctypes.c_size_t, _OUT]),
    "mfn_ifr_remove_bytes": (ctypes.c_int32, [_HANDLE, _BYTES, ctypes.c_size_t, _OUT]),
    "mfn_ifr_stats_read": (ctypes.c_int32, [_HANDLE, ctypes.POINTER(_Stats)]),
}


@dataclass(frozen=True)
class IfrStats:
    """What a registry holds; bytes without the allocator's own."""

    digest_entries: int
    bytes_entries: int
    bytes: int
    bytes_max: int
    filter_bytes: int


class Ifr(Handle):
    """Maps keys to values of 16 bytes within a budget. A key of 32 bytes is a digest; others are byte keys up to 64 KiB.

    One thread at a time may change it. Full memory raises MfnError `LIMIT`; nothing is lost then.
    """

    def __init__(self, bytes_max: int = 1 << 30, *, filter: bool = True, hash_key: bytes | None = None) -> None:
        self._library = declare(PROTOTYPES)
        check_version(self._library.mfn_ifr_abi_version(), ABI_VERSION, "mfn/ifr.h")
        options = _Options(
            struct_size=ctypes.sizeof(_Options), flags=0 if filter else NO_FILTER, bytes_max=bytes_max
        )
        secret = os.urandom(16) if hash_key is None else as_bytes(hash_key, "hash_key", 16)
        options.hash_key[:] = secret
        handle = ctypes.c_void_p()
        check(self._library.mfn_ifr_new(options, ctypes.byref(handle)), "making a registry")
        super().__init__(handle.value or 0, self._library.mfn_ifr_free)

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        key = as_bytes(key, "key")
        value = ctypes.create_string_buffer(VALUE_BYTES)
        if len(key) == DIGEST_BYTES:
            status = self._library.mfn_ifr_get(self.pointer, key, value)
        else:
            status = self._library.mfn_ifr_get_bytes(self.pointer, key, len(key), value)
        return self._found(status, "looking up", value)

    def get_many(self, digests: Sequence[bytes]) -> list[bytes | None]:
        """The values of many digests; waits for memory overlap."""
        joined = b"".join(as_bytes(digest, "digest", DIGEST_BYTES) for digest in digests)
        count = len(digests)
        values = ctypes.create_string_buffer(max(1, VALUE_BYTES * count))
        found = ctypes.create_string_buffer(max(1, count))
        check(
            self._library.mfn_ifr_get_many(self.pointer, joined, count, values, found, None),
            "looking up many",
        )
        return [
            values.raw[VALUE_BYTES * at : VALUE_BYTES * (at + 1)] if found.raw[at] else None for at in range(count)
        ]

    def insert(self, key: bytes, value: bytes) -> bytes | None:
        """Sets the value of a key; the value that it replaces, or None."""
        key, value = as_bytes(key, "key"), as_bytes(value, "value", VALUE_BYTES)
        old = ctypes.create_string_buffer(VALUE_BYTES)
        replaced = ctypes.c_uint8()
        place = ctypes.byref(replaced)
        if len(key) == DIGEST_BYTES:
            status = self._library.mfn_ifr_insert(self.pointer, key, value, old, place)
        else:
            status = self._library.mfn_ifr_insert_bytes(self.pointer, key, len(key), value, old, place)
        check(status, "inserting")
        return old.raw if replaced.value else None

    def remove(self, key: bytes) -> bytes | None:
        """Forgets a key; its value, or None if it was not there."""
        key = as_bytes(key, "key")
        old = ctypes.create_string_buffer(VALUE_BYTES)
        if len(key) == DIGEST_BYTES:
            status = self._library.mfn_ifr_remove(self.pointer, key, old)
        else:
            status = self._library.mfn_ifr_remove_bytes(self.pointer, key, len(key), old)
        return self._found(status, "forgetting", old)

    def may_contain(self, digest: bytes) -> bool:
        """Asks only the filter: False means surely not here."""
        maybe = ctypes.c_uint8()
        digest = as_bytes(digest, "digest", DIGEST_BYTES)
        check(self._library.mfn_ifr_may_contain(self.pointer, digest, ctypes.byref(maybe)), "asking the filter")
        return bool(maybe.value)

    def stats(self) -> IfrStats:
        """Counters."""
        stats = _Stats(struct_size=ctypes.sizeof(_Stats))
        check(self._library.mfn_ifr_stats_read(self.pointer, stats), "reading the statistics")
        return IfrStats(
            stats.digest_entries, stats.bytes_entries, stats.bytes, stats.bytes_max, stats.filter_bytes
        )

    def __len__(self) -> int:
        stats = self.stats()
        return stats.digest_entries + stats.bytes_entries

    def __contains__(self, key: bytes) -> bool:
        return self.get(key) is not None

    def __getitem__(self, key: bytes) -> bytes:
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self.insert(key, value)

    def __delitem__(self, key: bytes) -> None:
        if self.remove(key) is None:
            raise KeyError(key)

    @staticmethod
    def _found(status: int, what: str, value: ctypes.Array) -> bytes | None:
        if status == Status.NOT_FOUND:
            return None
        if status != 0:
            raise MfnError(status, what)
        return value.raw
