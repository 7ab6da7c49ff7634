"""The commands about pools of records: the words of ../README.md. The typed client is that of the module `mfn`, here over the
pool that was written from the specification alone."""

from __future__ import annotations

import struct
import sys
from dataclasses import astuple
from pathlib import Path

import wire
from pool import Pool

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "interop" / "python"))

from mfn import ifr_client as ifr  # noqa: E402
from mfn.protocol import ContentType, IfrMethod, Service, Status  # noqa: E402


class Caller:
    """The pool, with methods by name."""

    def __init__(self, path: str) -> None:
        self._pool = Pool(path, Service.IFR)

    def call(self, method: str, body: bytes, *, content_type: ContentType, timeout: float | None) -> wire.Frame:
        number = int(method) if method.isdigit() else IfrMethod[method.upper()]
        kind = content_type if body else ContentType.NONE
        return self._pool.item(self._pool.start(number, kind, body, timeout, 0))

    def close(self) -> None:
        self._pool.close()


class Flows:
    def __init__(self, path: str) -> None:
        self._client = ifr.IfrClient(path, caller=Caller(path))

    def obey(self, verb: str, words: list[str]) -> str:
        try:
            return self._call(verb, words)
        except wire.WireError as wrong:
            return f"failed {wrong.status} {wrong.text}"
        except ifr.BodyError as wrong:
            return f"failed {Status.BAD_BODY.value} {wrong}"

    def _call(self, verb: str, words: list[str]) -> str:
        client = self._client
        match verb, words:
            case "pool_add", [pool, flags, bytes_max]:
                refuses, values = int(flags) & 1 != 0, int(flags) & 2 != 0
                client.pool_add(int(pool), refuses=refuses, values=values, bytes_max=int(bytes_max))
            case "pools", []:
                pools = client.pools()
                return f"pools {len(pools)} {pools_words(pools)}"
            case "value_put", [pool, key_kind, key, value]:
                given = bytes.fromhex(value)
                return valued(client.value_put(int(pool), key_of(key), given, is_bytes=key_kind == "2"))
            case "value_get", [pool, key_kind, key]:
                return valued(client.value_get(int(pool), key_of(key), is_bytes=key_kind == "2"))
            case "value_remove", [pool, key_kind, key]:
                return valued(client.value_remove(int(pool), key_of(key), is_bytes=key_kind == "2"))
            case "pool_drop", [pool]:
                client.pool_drop(int(pool))
            case "pool_stats", [pool]:
                return f"stats {stats_words(client.pool_stats(int(pool)))}"
            case "put", [pool, ttl_ns, *record]:
                ttl = int(ttl_ns) / 1e9 if ttl_ns != "0" else None
                return found(client.flow_put(int(pool), record_of(record), ttl=ttl))
            case "get", [pool, key]:
                return found(client.flow_get(int(pool), bytes.fromhex(key)))
            case "remove", [pool, key]:
                return found(client.flow_remove(int(pool), bytes.fromhex(key)))
            case "expire", [pool, looks]:
                return f"expired {client.flow_expire(int(pool), int(looks))}"
            case "route", [pool, key, kind]:
                return decided(client.flow_route(int(pool), bytes.fromhex(key), int(kind)))
            case "learn", [kind, layer, said]:
                client.flow_learn(int(kind), int(layer), said == "1")
            case "fill", [pool, count]:
                return self._fill(int(pool), int(count))
            case "raw", [method, body]:
                body = b"" if body == "-" else bytes.fromhex(body)
                return f"body {client.call(method, body).hex() or '-'}"
            case _:
                raise ValueError(f"no command {verb}")
        return "done"

    def _fill(self, pool: int, count: int) -> str:
        """Puts records of keys that count up, until one is refused."""
        for number in range(count):
            try:
                self._client.flow_put(pool, ifr.FlowRecord(key=number.to_bytes(32, "little")))
            except wire.WireError as wrong:
                return f"filled {number} {wrong.status}"
        return f"filled {count} 0"


def record_of(words: list[str]) -> ifr.FlowRecord:
    return ifr.FlowRecord(bytes.fromhex(words[0]), *map(int, words[1:]))


def record_words(record: ifr.FlowRecord) -> str:
    key, *numbers = astuple(record)
    return " ".join([key.hex(), *map(str, numbers)])


def stats_words(stats: ifr.FlowPoolStats) -> str:
    return " ".join(map(str, astuple(stats)))


def pools_words(pools: list[ifr.FlowPool]) -> str:
    """In the order of their numbers."""
    pools = sorted(pools, key=lambda pool: pool.pool_id)
    return " ".join(
        f"{pool.pool_id} {pool.refuses + 2 * pool.values} {pool.bytes_max} {stats_words(pool.stats)}" for pool in pools
    )


def key_of(word: str) -> bytes:
    return b"" if word == "-" else bytes.fromhex(word)


def valued(value: bytes | None) -> str:
    return "none" if value is None else f"value {value.hex()}"


def found(record: ifr.FlowRecord | None) -> str:
    return "none" if record is None else f"record {record_words(record)}"


def bits(confidence: float) -> int:
    return struct.unpack("<I", struct.pack("<f", confidence))[0]


def decided(decision: ifr.RoutingDecision) -> str:
    match decision.outcome:
        case ifr.Outcome.FOUND_EXACT:
            return f"exact {record_words(decision.record)}"
        case ifr.Outcome.FOUND_PARTIAL:
            return f"partial {decision.next_layer} {bits(decision.confidence)} {record_words(decision.record)}"
    return f"route {decision.next_layer} {bits(decision.confidence)}"


def read(kind: str, body: bytes) -> str | None:
    """An answer in words; None: the body is a request."""
    match kind:
        case "decision":
            found = ifr.RoutingDecision.decode(body)
            record = found.record or ifr.FlowRecord(bytes(32))
            numbers = f"{found.outcome} {found.next_layer} {bits(found.confidence)}"
            return f"{numbers} {record_words(record)}"
        case "record":
            return record_words(ifr.FlowRecord.decode(body))
        case "pool_stats":
            return stats_words(ifr.FlowPoolStats.decode(body))
        case "pools":
            return pools_words(ifr.decode_pools(body))
        case "expired":
            return " ".join(map(str, ifr.decode_expired(body)))
    return None


def written(kind: str, fields: list[str]) -> bytes:
    match kind, fields:
        case "pool", [pool, flags, bytes_max]:
            return ifr.encode_pool(int(pool), int(flags) & 1 != 0, int(bytes_max), int(flags) & 2 != 0)
        case "flow_put", [pool, ttl_ns, *record]:
            return ifr.encode_flow_put(int(pool), int(ttl_ns), record_of(record))
        case "flow_key", [pool, key]:
            return ifr.encode_key(int(pool), bytes.fromhex(key))
        case "expire", [pool, looks]:
            return ifr.encode_expire(int(pool), int(looks))
        case "flow_route", [pool, kind_of_key, key]:
            return ifr.encode_route(int(pool), int(kind_of_key), bytes.fromhex(key))
        case "learn", [kind_of_key, layer, said]:
            return ifr.encode_learn(int(kind_of_key), int(layer), said == "1")
    raise ValueError(f"no request {kind}")


def vectors(path: str) -> str:
    """Writes the requests of the golden vectors and reads the answers."""
    good = bad = 0
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        kind, name, status, data, *fields = line.split()
        is_good, body = status == "0", bytes.fromhex(data)
        try:
            text = read(kind, body)
            # A bad request is the daemon's to refuse.
            is_request = text is None
            is_right = is_request and not is_good or (written(kind, fields) == body if is_request else text == " ".join(fields))
            is_right = is_right and (is_good or is_request)
        except ifr.BodyError:
            is_right = not is_good
        if not is_right:
            return f"failed {kind} {name}"
        good, bad = good + is_good, bad + (not is_good)
    return f"vectors {good} {bad}"
