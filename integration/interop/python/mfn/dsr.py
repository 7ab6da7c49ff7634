"""Layer 2, the Dynamic Similarity Reservoir: similar vectors, and novelty (mfn/dsr.h)."""

from __future__ import annotations

import ctypes
from array import array
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Iterable, Sequence

from .library import Handle, MfnError, as_bytes, check_version, declare
from .protocol import Status

#: What this module was written for.
ABI_VERSION = 0x00010000
DIMS_MAX = 4096
K_MAX = 16384
_NONE = 0xFFFFFFFF


class Precision(IntEnum):
    """How many bytes a number of a kept vector takes."""

    BYTES = 0
    FLOATS = 1


class _Options(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_uint32),
        ("dims", ctypes.c_uint32),
        ("seed", ctypes.c_uint64),
        ("recall", ctypes.c_float),
        ("precision", ctypes.c_uint8),
        ("exact", ctypes.c_uint8),
        ("reserved", ctypes.c_uint8 * 2),
    ]


class _Match(ctypes.Structure):
    _fields_ = [("id", ctypes.c_uint64), ("similarity", ctypes.c_float), ("reserved", ctypes.c_uint32)]


class _Explanation(ctypes.Structure):
    _fields_ = [
        ("similarity", ctypes.c_float),
        ("fired", ctypes.c_uint32),
        ("overlap", ctypes.c_uint32),
        ("owner", ctypes.c_uint32),
        ("owner_fired", ctypes.c_uint32),
        ("compared", ctypes.c_uint32),
    ]


class _Stats(ctypes.Structure):
    _fields_ = [
        ("entries", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("neurons", ctypes.c_uint64),
        ("winners", ctypes.c_uint64),
        ("refine", ctypes.c_uint64),
        ("recall", ctypes.c_float),
        ("reserved", ctypes.c_uint32),
    ]


class _Verdict(ctypes.Structure):
    _fields_ = [("p_value", ctypes.c_double), ("score", ctypes.c_float), ("novel", ctypes.c_uint32)]


#: Sizes of the structs of the header, which a test compares.
STRUCTS = {
    "mfn_dsr_options": _Options,
    "mfn_dsr_match": _Match,
    "mfn_dsr_explanation": _Explanation,
    "mfn_dsr_stats": _Stats,
    "mfn_dsr_verdict": _Verdict,
}

_OUT = ctypes.c_void_p
_HANDLE = ctypes.c_void_p
_VECTOR = ctypes.c_void_p
_SIZE = ctypes.c_size_t
PROTOTYPES = {
    "mfn_dsr_abi_version": (ctypes.c_uint32, []),
    "mfn_dsr_well_new": (ctypes.c_int32, [ctypes.POINTER(_Options), _OUT]),
    "mfn_dsr_well_free": (None, [_HANDLE]),
    "mfn_dsr_insert": (ctypes.c_int32, [_HANDLE, ctypes.c_uint64, _VECTOR, _SIZE, _OUT]),
    "mfn_dsr_remove": (ctypes.c_int32, [_HANDLE, ctypes.c_uint64]),
    "mfn_dsr_search": (ctypes.c_int32, [_HANDLE, _VECTOR, _SIZE, _SIZE, ctypes.c_float, _OUT, _OUT]),
    "mfn_dsr_explain": (ctypes.c_int32, [_HANDLE, _VECTOR, _SIZE, ctypes.c_uint64, _OUT]),
    "mfn_dsr_stats_read": (ctypes.c_int32, [_HANDLE, _OUT]),
    "mfn_dsr_snapshot": (ctypes.c_int32, [_HANDLE, _OUT, _SIZE, _OUT]),
    "mfn_dsr_well_restore": (ctypes.c_int32, [ctypes.c_char_p, _SIZE, _OUT]),
    "mfn_dsr_detector_new": (ctypes.c_int32, [_HANDLE, _VECTOR, _SIZE, _SIZE, _SIZE, ctypes.c_double, _OUT]),
    "mfn_dsr_judge": (ctypes.c_int32, [_HANDLE, _HANDLE, _VECTOR, _SIZE, _OUT]),
    "mfn_dsr_detector_free": (None, [_HANDLE]),
    "mfn_dsr_last_error": (ctypes.c_int32, [_OUT, _SIZE, _OUT]),
}


@dataclass(frozen=True)
class Match:
    """An entry that is like the query; similarity is the cosine, -1 to 1."""

    id: int
    similarity: float


@dataclass(frozen=True)
class DsrExplanation:
    """Why an entry is, or is not, among what a search finds; no neurons fire while answers are exact."""

    similarity: float
    fired: int
    overlap: int
    owner: int | None
    owner_fired: int | None
    compared: bool


@dataclass(frozen=True)
class DsrStats:
    """What a well holds; neurons 0: answers are exact."""

    entries: int
    bytes: int
    neurons: int
    winners: int
    refine: int
    recall: float


@dataclass(frozen=True)
class Verdict:
    """What a detector says: the share of normal vectors that score as high, the score, whether that is novel."""

    p_value: float
    score: float
    novel: bool


class Dsr(Handle):
    """Vectors of one length under integer ids, found by cosine.

    Searches may run at the same time in many threads; one thread at a time may change it, with no search beside. A vector is
    any sequence of numbers, quickest an `array('f')` or a contiguous float32 buffer such as numpy's.
    """

    def __init__(
        self,
        dims: int,
        *,
        seed: int = 1,
        recall: float = 0.0,
        precision: Precision = Precision.BYTES,
        exact: bool = False,
    ) -> None:
        self._library = _declared()
        self.dims = dims
        options = _options(dims, seed, recall, precision, exact)
        handle = ctypes.c_void_p()
        self._check(self._library.mfn_dsr_well_new(options, ctypes.byref(handle)), "making a well")
        super().__init__(handle.value or 0, self._library.mfn_dsr_well_free)

    @classmethod
    def restore(cls, snapshot: bytes, dims: int) -> Dsr:
        """The well of a snapshot of vectors of that length; damaged bytes raise `CORRUPT`."""
        snapshot = as_bytes(snapshot, "snapshot")
        well = cls.__new__(cls)
        well._library = _declared()
        well.dims = dims
        handle = ctypes.c_void_p()
        status = well._library.mfn_dsr_well_restore(snapshot, len(snapshot), ctypes.byref(handle))
        well._check(status, "restoring a well")
        Handle.__init__(well, handle.value or 0, well._library.mfn_dsr_well_free)
        return well

    def insert(self, id: int, vector: Sequence[float]) -> bool:
        """Keeps a vector under an id; whether it replaced one."""
        data, count = _floats(vector)
        replaced = ctypes.c_uint8()
        status = self._library.mfn_dsr_insert(self.pointer, _id(id), data, count, ctypes.byref(replaced))
        self._check(status, "inserting")
        return bool(replaced.value)

    def remove(self, id: int) -> bool:
        """Forgets an id; whether it was there."""
        status = self._library.mfn_dsr_remove(self.pointer, _id(id))
        if status == Status.NOT_FOUND:
            return False
        self._check(status, "removing")
        return True

    def search(self, vector: Sequence[float], k: int = 10, least: float = -1.0) -> list[Match]:
        """The k entries most like a vector whose cosine is at least `least`, best first."""
        data, count = _floats(vector)
        matches = (_Match * _at_most(k, K_MAX, "k"))()
        found = ctypes.c_size_t()
        status = self._library.mfn_dsr_search(self.pointer, data, count, k, least, matches, ctypes.byref(found))
        self._check(status, "searching")
        return [Match(match.id, match.similarity) for match in matches[: found.value]]

    def explain(self, id: int, vector: Sequence[float]) -> DsrExplanation | None:
        """How a search for the vector would come to the entry, or why it would miss it; None: there is no such id."""
        data, count = _floats(vector)
        raw = _Explanation()
        status = self._library.mfn_dsr_explain(self.pointer, data, count, _id(id), ctypes.byref(raw))
        if status == Status.NOT_FOUND:
            return None
        self._check(status, "explaining")
        return _explained(raw)

    def detector(self, held_out: Iterable[Sequence[float]], neighbours: int = 10, rate: float = 0.05) -> Detector:
        """A threshold of novelty from normal vectors that are not in the well: at least 1 / rate - 1 of them."""
        return Detector(self, held_out, neighbours, rate)

    def stats(self) -> DsrStats:
        """What it holds."""
        raw = _Stats()
        self._check(self._library.mfn_dsr_stats_read(self.pointer, ctypes.byref(raw)), "reading the statistics")
        return DsrStats(raw.entries, raw.bytes, raw.neurons, raw.winners, raw.refine, raw.recall)

    def snapshot(self) -> bytes:
        """All that it holds and has learned."""
        return _snapshot(self._library, self._library.mfn_dsr_snapshot, self.pointer)

    def __len__(self) -> int:
        return self.stats().entries

    def _check(self, status: int, what: str) -> None:
        _check(self._library, status, what)


class Detector(Handle):
    """A threshold of novelty for the well that it was made with; it keeps that one open. Any thread may use it."""

    def __init__(self, well: Dsr, held_out: Iterable[Sequence[float]], neighbours: int, rate: float) -> None:
        self._library, self._well = well._library, well
        rows = array("f")
        count = 0
        for row in held_out:
            numbers = array("f", row)
            if len(numbers) != well.dims:
                raise ValueError(f"a vector has {len(numbers)} numbers and must have {well.dims}")
            rows.extend(numbers)
            count += 1
        data, _ = _floats(rows)
        handle = ctypes.c_void_p()
        status = self._library.mfn_dsr_detector_new(
            well.pointer, data, count, well.dims, neighbours, rate, ctypes.byref(handle)
        )
        _check(self._library, status, "making a detector")
        super().__init__(handle.value or 0, self._library.mfn_dsr_detector_free)

    def judge(self, vector: Sequence[float]) -> Verdict:
        """Whether a vector is novel."""
        data, count = _floats(vector)
        raw = _Verdict()
        status = self._library.mfn_dsr_judge(self.pointer, self._well.pointer, data, count, ctypes.byref(raw))
        _check(self._library, status, "judging")
        return Verdict(raw.p_value, raw.score, bool(raw.novel))


def _declared() -> ctypes.CDLL:
    library = declare(PROTOTYPES)
    check_version(library.mfn_dsr_abi_version(), ABI_VERSION, "mfn/dsr.h")
    return library


def _options(dims: int, seed: int, recall: float, precision: Precision, exact: bool) -> _Options:
    return _Options(
        struct_size=ctypes.sizeof(_Options),
        dims=_at_most(dims, 0xFFFFFFFF, "dims"),
        seed=_at_most(seed, 0xFFFFFFFFFFFFFFFF, "seed"),
        recall=recall,
        precision=int(precision),
        exact=int(exact),
    )


def _explained(raw: _Explanation) -> DsrExplanation:
    named = [None if number == _NONE else number for number in (raw.owner, raw.owner_fired)]
    return DsrExplanation(raw.similarity, raw.fired, raw.overlap, named[0], named[1], bool(raw.compared))


def _snapshot(library: ctypes.CDLL, function: Any, pointer: int) -> bytes:
    needed = ctypes.c_size_t()
    status = function(pointer, None, 0, ctypes.byref(needed))
    if status != Status.NO_SPACE:
        _check(library, status, "measuring a snapshot")
    buffer = ctypes.create_string_buffer(max(1, needed.value))
    status = function(pointer, buffer, needed.value, ctypes.byref(needed))
    _check(library, status, "taking a snapshot")
    return buffer.raw[: needed.value]


def _check(library: ctypes.CDLL, status: int, what: str) -> None:
    """Raises with the library's own words; they are this thread's, and no other call has come between."""
    if status == 0:
        return
    needed = ctypes.c_size_t()
    library.mfn_dsr_last_error(None, 0, ctypes.byref(needed))
    buffer = ctypes.create_string_buffer(max(1, needed.value))
    library.mfn_dsr_last_error(buffer, len(buffer), ctypes.byref(needed))
    said = buffer.value.decode("utf-8", "replace")
    raise MfnError(status, f"{what}: {said}" if said else what)


def _floats(vector: Sequence[float]) -> tuple[ctypes.Array, int]:
    """The numbers as C has them, in memory that lives as long as what is returned."""
    try:
        view = memoryview(vector)  # type: ignore[arg-type]
    except TypeError:
        numbers = array("f", vector)
    else:
        if view.format != "f" or not view.contiguous or view.ndim != 1:
            numbers = array("f", view.tolist())
        else:
            numbers = array("f", view)
    return (ctypes.c_float * len(numbers)).from_buffer(numbers) if numbers else (ctypes.c_float * 0)(), len(numbers)


def _id(id: int) -> int:
    return _at_most(id, 0xFFFFFFFFFFFFFFFF, "id")


def _at_most(number: int, most: int, what: str) -> int:
    """ctypes would cut it."""
    if not 0 <= number <= most:
        raise ValueError(f"{what} is {number}: 0 to {most} are taken")
    return number
