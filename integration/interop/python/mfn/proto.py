"""As much of protobuf as the messages of ffi/protocol/local.proto need: no package is wanted for it."""

from __future__ import annotations

import struct
from typing import Iterable, Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class ProtoError(ValueError):
    """Bytes that are no message."""


def varint(number: int) -> bytes:
    """A number of up to 64 bits, without sign."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, value: int | float | bytes | bool | None) -> bytes:
    """One field, by the kind of its value; what is None, 0 or empty is left out, as the defaults of messages are."""
    if not value:
        return b""
    if isinstance(value, float):
        return varint(number << 3 | _FIXED64) + struct.pack("<d", value)
    if isinstance(value, int):
        return varint(number << 3 | _VARINT) + varint(value)
    return member(number, value)


def member(number: int, value: bytes) -> bytes:
    """One of a repeated field, or a message: also when it is empty."""
    return varint(number << 3 | _BYTES) + varint(len(value)) + value


def packed(number: int, values: Iterable[int]) -> bytes:
    """A repeated number."""
    return field(number, b"".join(varint(value) for value in values))


def fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """The fields of a message, in order: integers, doubles, and the bytes of what has a length."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ProtoError(f"field {number} is of kind {kind}")
        part, at = data[at : at + length], at + length
        if len(part) != length:
            raise ProtoError(f"field {number} runs past the end")
        if kind == _BYTES:
            yield number, part
        else:
            yield number, struct.unpack("<f" if kind == _FIXED32 else "<d", part)[0]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ProtoError("a number runs past the end")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise ProtoError("a number has more than 64 bits")
