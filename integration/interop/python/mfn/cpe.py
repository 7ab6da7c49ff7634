"""Layer 4, the Context Prediction Engine: what comes next in streams, and quantiles of series (mfn/cpe.h)."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from .library import Handle, as_bytes, check, check_version, declare
from .protocol import Status

#: What this module was written for.
ABI_VERSION = 0x00010001
ITEMS_MAX = 52
EXPERTS = 9
HORIZONS = 4
QUANTILES = 3
_SILENT = 1
_STALE, _GAP, _CHANGED, _RETURNED = 1, 2, 4, 8


class _PoolOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_uint32),
        ("repeats_are_stale", ctypes.c_uint32),
        ("bytes_max", ctypes.c_uint64),
        ("ttl", ctypes.c_uint64),
        ("stream_bytes_max", ctypes.c_uint64),
        ("lanes_max", ctypes.c_uint32),
        ("claim_min", ctypes.c_float),
        ("change_min", ctypes.c_double),
    ]


class _Item(ctypes.Structure):
    _fields_ = [("symbol", ctypes.c_uint64), ("probability", ctypes.c_double)]


class _Prediction(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("other", ctypes.c_double),
        ("unseen", ctypes.c_double),
        ("wait_mean", ctypes.c_double),
        ("wait_p90", ctypes.c_double),
    ]


class _Explanation(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_uint32),
        ("proposed", ctypes.c_uint32),
        ("probability", ctypes.c_double),
        ("votes", ctypes.c_double * EXPERTS),
        ("weights", ctypes.c_double * EXPERTS),
    ]


class _Scores(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("events", ctypes.c_uint64),
        ("hits_at_1", ctypes.c_uint64),
        ("hits_at_5", ctypes.c_uint64),
        ("none", ctypes.c_uint64),
        ("unseen", ctypes.c_uint64),
        ("silent", ctypes.c_uint64),
        ("backwards", ctypes.c_uint64),
        ("log_loss_bits", ctypes.c_double),
        ("brier", ctypes.c_double),
        ("calibration_error", ctypes.c_double),
        ("regret_bound_bits", ctypes.c_double),
        ("bytes", ctypes.c_uint64),
    ]


class _Sampled(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("from", ctypes.c_double),
        ("to", ctypes.c_double),
        ("samples_ago", ctypes.c_uint64),
    ]


class _Forecast(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("samples_ahead", ctypes.c_uint64 * HORIZONS),
        ("quantiles", (ctypes.c_double * QUANTILES) * HORIZONS),
    ]


class _PoolStats(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("streams", ctypes.c_uint64),
        ("series", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("bytes_max", ctypes.c_uint64),
        ("evicted", ctypes.c_uint64),
    ]


#: Sizes of the structs of the header, which a test compares.
STRUCTS = {
    "mfn_cpe_pool_options": _PoolOptions,
    "mfn_cpe_pool_stats": _PoolStats,
    "mfn_cpe_item": _Item,
    "mfn_cpe_prediction": _Prediction,
    "mfn_cpe_explanation": _Explanation,
    "mfn_cpe_scores": _Scores,
    "mfn_cpe_sampled": _Sampled,
    "mfn_cpe_forecast": _Forecast,
}

_OUT = ctypes.c_void_p
_HANDLE = ctypes.c_void_p
_U32, _U64, _SIZE = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_size_t
PROTOTYPES = {
    "mfn_cpe_abi_version": (ctypes.c_uint32, []),
    "mfn_cpe_new": (ctypes.c_int32, [_OUT]),
    "mfn_cpe_free": (None, [_HANDLE]),
    "mfn_cpe_pool_set": (ctypes.c_int32, [_HANDLE, _U32, ctypes.POINTER(_PoolOptions)]),
    "mfn_cpe_pool_drop": (ctypes.c_int32, [_HANDLE, _U32]),
    "mfn_cpe_pool_stats_read": (ctypes.c_int32, [_HANDLE, _U32, _OUT]),
    "mfn_cpe_observe": (ctypes.c_int32, [_HANDLE, _U32, _U64, _U32, _U64, _U64]),
    "mfn_cpe_predict": (ctypes.c_int32, [_HANDLE, _U32, _U64, _U32, _U64, _OUT, _SIZE, _OUT, _OUT]),
    "mfn_cpe_explain": (ctypes.c_int32, [_HANDLE, _U32, _U64, _U32, _U64, _OUT]),
    "mfn_cpe_expert_name": (ctypes.c_char_p, [_SIZE]),
    "mfn_cpe_scores_read": (ctypes.c_int32, [_HANDLE, _U32, _U64, _OUT]),
    "mfn_cpe_sample": (ctypes.c_int32, [_HANDLE, _U32, _U64, _U32, _U64, ctypes.c_double, _OUT]),
    "mfn_cpe_forecast_read": (ctypes.c_int32, [_HANDLE, _U32, _U64, _U32, _OUT]),
    "mfn_cpe_forget": (ctypes.c_int32, [_HANDLE, _U32, _U64]),
    "mfn_cpe_expire": (ctypes.c_int32, [_HANDLE, _U64]),
    "mfn_cpe_snapshot": (ctypes.c_int32, [_HANDLE, _OUT, _SIZE, _OUT]),
    "mfn_cpe_restore": (ctypes.c_int32, [ctypes.c_char_p, _SIZE, _OUT]),
}


@dataclass(frozen=True)
class CpePoolStats:
    """What a pool holds; `evicted` members gave way since it was made."""

    streams: int
    series: int
    bytes: int
    bytes_max: int
    evicted: int


@dataclass(frozen=True)
class Prediction:
    """What may come next: (symbol, probability), the likeliest first. All items, other and unseen add up to 1.

    `other` is for known symbols that are not listed, `unseen` for new ones. `silent`: not sure enough to be a claim. Waits
    are in the caller's unit of time; None while unknown.
    """

    items: list[tuple[int, float]]
    other: float
    unseen: float
    silent: bool
    wait_mean: float | None
    wait_p90: float | None


@dataclass(frozen=True)
class CpeExplanation:
    """Why a symbol has its probability: each expert's vote and weight, by name."""

    probability: float
    proposed: bool
    votes: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Scores:
    """What a stream has scored, each event predicted before it was learned. Log-loss and Brier score are sums."""

    events: int
    hits_at_1: int
    hits_at_5: int
    unseen: int
    silent: int
    log_loss_bits: float
    brier: float
    calibration_error: float
    regret_bound_bits: float
    bytes: int


@dataclass(frozen=True)
class Sampled:
    """What a sample did. `change`: medians before and since, and how many samples ago, when a level was left."""

    stale: bool
    gap: bool
    returned: bool
    change: tuple[float, float, int] | None


@dataclass(frozen=True)
class Horizon:
    """A forecast so many samples ahead: the value that half, 9 of 10, and 99 of 100 stay below."""

    samples_ahead: int
    median: float
    p90: float
    p99: float


class Cpe(Handle):
    """Pools of streams of symbols and of series of numbers; all names are integers of the caller's choice.

    One thread at a time. Times are integers in any one unit.
    """

    def __init__(self) -> None:
        self._library = _declared()
        handle = ctypes.c_void_p()
        check(self._library.mfn_cpe_new(ctypes.byref(handle)), "making an engine")
        super().__init__(handle.value or 0, self._library.mfn_cpe_free)

    @classmethod
    def restore(cls, snapshot: bytes) -> Cpe:
        """The engine of a snapshot; damaged bytes raise `BAD_BODY`."""
        snapshot = as_bytes(snapshot, "snapshot")
        engine = cls.__new__(cls)
        engine._library = _declared()
        handle = ctypes.c_void_p()
        status = engine._library.mfn_cpe_restore(snapshot, len(snapshot), ctypes.byref(handle))
        check(status, "restoring an engine")
        Handle.__init__(engine, handle.value or 0, engine._library.mfn_cpe_free)
        return engine

    def set_pool(
        self,
        pool: int,
        *,
        bytes_max: int = 0,
        ttl: int = 0,
        stream_bytes_max: int = 0,
        lanes_max: int = 0,
        claim_min: float = 0.0,
        change_min: float = 0.0,
        repeats_are_stale: bool = False,
    ) -> None:
        """Makes a pool, or gives one new limits; 0 is the default of the header."""
        options = _PoolOptions(
            struct_size=ctypes.sizeof(_PoolOptions),
            repeats_are_stale=int(repeats_are_stale),
            bytes_max=_number(bytes_max, 64),
            ttl=_number(ttl, 64),
            stream_bytes_max=_number(stream_bytes_max, 64),
            lanes_max=_number(lanes_max, 32),
            claim_min=claim_min,
            change_min=change_min,
        )
        check(self._library.mfn_cpe_pool_set(self.pointer, _number(pool, 32), options), "setting a pool")

    def drop_pool(self, pool: int) -> bool:
        """Forgets a pool with all its members; whether it was there."""
        status = self._library.mfn_cpe_pool_drop(self.pointer, _number(pool, 32))
        if status == Status.NOT_FOUND:
            return False
        check(status, "forgetting a pool")
        return True

    def pool_stats(self, pool: int) -> CpePoolStats | None:
        """What a pool holds; None: there is none of that number."""
        raw = _PoolStats(struct_size=ctypes.sizeof(_PoolStats))
        status = self._library.mfn_cpe_pool_stats_read(self.pointer, _number(pool, 32), ctypes.byref(raw))
        if status == Status.NOT_FOUND:
            return None
        check(status, "reading the statistics of a pool")
        return CpePoolStats(raw.streams, raw.series, raw.bytes, raw.bytes_max, raw.evicted)

    def observe(self, stream: int, symbol: int, time: int, *, pool: int = 0, lane: int = 0) -> None:
        """Learns that a symbol came next in a stream."""
        status = self._library.mfn_cpe_observe(
            self.pointer, _number(pool, 32), _number(stream, 64), _number(lane, 32), _number(symbol, 64), _number(time, 64)
        )
        check(status, "observing")

    def predict(self, stream: int, now: int, k: int = 5, *, pool: int = 0, lane: int = 0) -> Prediction | None:
        """What may come next in a stream; None: there is no such stream."""
        capacity = min(_number(k, 32), ITEMS_MAX)
        items = (_Item * max(1, capacity))()
        count = ctypes.c_size_t()
        rest = _Prediction(struct_size=ctypes.sizeof(_Prediction))
        status = self._library.mfn_cpe_predict(
            self.pointer,
            _number(pool, 32),
            _number(stream, 64),
            _number(lane, 32),
            _number(now, 64),
            items,
            capacity,
            ctypes.byref(count),
            ctypes.byref(rest),
        )
        if status == Status.NOT_FOUND:
            return None
        check(status, "predicting")
        waits = [None if wait < 0 else wait for wait in (rest.wait_mean, rest.wait_p90)]
        listed = [(item.symbol, item.probability) for item in items[: count.value]]
        return Prediction(listed, rest.other, rest.unseen, bool(rest.flags & _SILENT), waits[0], waits[1])

    def explain(self, stream: int, symbol: int, *, pool: int = 0, lane: int = 0) -> CpeExplanation | None:
        """Why a symbol has its probability; None: there is no such stream."""
        raw = _Explanation(struct_size=ctypes.sizeof(_Explanation))
        status = self._library.mfn_cpe_explain(
            self.pointer,
            _number(pool, 32),
            _number(stream, 64),
            _number(lane, 32),
            _number(symbol, 64),
            ctypes.byref(raw),
        )
        if status == Status.NOT_FOUND:
            return None
        check(status, "explaining")
        names = [self._library.mfn_cpe_expert_name(expert).decode() for expert in range(EXPERTS)]
        votes = {name: (raw.votes[at], raw.weights[at]) for at, name in enumerate(names)}
        return CpeExplanation(raw.probability, bool(raw.proposed), votes)

    def scores(self, stream: int, *, pool: int = 0) -> Scores | None:
        """What a stream has scored; None: there is no such stream."""
        raw = _Scores(struct_size=ctypes.sizeof(_Scores))
        status = self._library.mfn_cpe_scores_read(
            self.pointer, _number(pool, 32), _number(stream, 64), ctypes.byref(raw)
        )
        if status == Status.NOT_FOUND:
            return None
        check(status, "reading scores")
        return Scores(
            raw.events,
            raw.hits_at_1,
            raw.hits_at_5,
            raw.unseen,
            raw.silent,
            raw.log_loss_bits,
            raw.brier,
            raw.calibration_error,
            raw.regret_bound_bits,
            raw.bytes,
        )

    def sample(self, series: int, value: float, time: int, *, pool: int = 0, lane: int = 0) -> Sampled:
        """Takes in a sample of a series."""
        raw = _Sampled(struct_size=ctypes.sizeof(_Sampled))
        status = self._library.mfn_cpe_sample(
            self.pointer,
            _number(pool, 32),
            _number(series, 64),
            _number(lane, 32),
            _number(time, 64),
            value,
            ctypes.byref(raw),
        )
        check(status, "sampling")
        change = (getattr(raw, "from"), raw.to, raw.samples_ago) if raw.flags & _CHANGED else None
        return Sampled(bool(raw.flags & _STALE), bool(raw.flags & _GAP), bool(raw.flags & _RETURNED), change)

    def forecast(self, series: int, *, pool: int = 0, lane: int = 0) -> list[Horizon] | None:
        """What a series will be at each horizon; None: there is no such series, or its lane has no samples."""
        raw = _Forecast(struct_size=ctypes.sizeof(_Forecast))
        status = self._library.mfn_cpe_forecast_read(
            self.pointer, _number(pool, 32), _number(series, 64), _number(lane, 32), ctypes.byref(raw)
        )
        if status == Status.NOT_FOUND:
            return None
        check(status, "forecasting")
        return [Horizon(raw.samples_ahead[at], *raw.quantiles[at]) for at in range(HORIZONS)]

    def forget(self, id: int, *, pool: int = 0) -> bool:
        """Forgets a stream or a series; whether it was there."""
        status = self._library.mfn_cpe_forget(self.pointer, _number(pool, 32), _number(id, 64))
        if status == Status.NOT_FOUND:
            return False
        check(status, "forgetting")
        return True

    def expire(self, now: int) -> None:
        """Forgets what was not written to for longer than its pool's time to live."""
        check(self._library.mfn_cpe_expire(self.pointer, _number(now, 64)), "expiring")

    def snapshot(self) -> bytes:
        """The whole state; whoever stores it adds a checksum."""
        needed = ctypes.c_size_t()
        status = self._library.mfn_cpe_snapshot(self.pointer, None, 0, ctypes.byref(needed))
        if status != Status.NO_SPACE:
            check(status, "measuring a snapshot")
        buffer = ctypes.create_string_buffer(max(1, needed.value))
        status = self._library.mfn_cpe_snapshot(self.pointer, buffer, needed.value, ctypes.byref(needed))
        check(status, "taking a snapshot")
        return buffer.raw[: needed.value]


def _declared() -> ctypes.CDLL:
    library = declare(PROTOTYPES)
    check_version(library.mfn_cpe_abi_version(), ABI_VERSION, "mfn/cpe.h")
    return library


def _number(number: int, bits: int) -> int:
    """ctypes would cut it."""
    if not 0 <= number < 1 << bits:
        raise ValueError(f"{number} is no number of {bits} bits")
    return number
