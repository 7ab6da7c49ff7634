"""A node's sockets, and those of the layers' daemons (mfn/client.h)."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import Any

from .library import Handle, MfnError, as_bytes, check_version, declare
from .protocol import METHODS, ContentType, Service

#: What this module was written for.
ABI_VERSION = 65537

_HANDLE = ctypes.c_void_p
_BYTES = ctypes.c_char_p
_OUT = ctypes.POINTER(ctypes.c_void_p)
#: Handle, tag, method, content type, body and its length, milliseconds.
_REQUEST = [
    _HANDLE,
    ctypes.c_uint64,
    ctypes.c_uint16,
    ctypes.c_uint8,
    _BYTES,
    ctypes.c_size_t,
    ctypes.c_uint64,
]
PROTOTYPES = {
    "mfn_client_abi_version": (ctypes.c_uint32, []),
    "mfn_client_connect": (
        ctypes.c_int32,
        [ctypes.c_char_p, ctypes.c_uint8, ctypes.c_uint64, _OUT],
    ),
    "mfn_client_call": (ctypes.c_int32, [*_REQUEST, _OUT]),
    "mfn_client_stream": (ctypes.c_int32, [*_REQUEST, ctypes.c_uint32, _OUT]),
    "mfn_pool_new": (ctypes.c_int32, [ctypes.c_char_p, ctypes.c_uint8, ctypes.c_uint32, ctypes.c_uint64, _OUT]),
    "mfn_pool_call": (ctypes.c_int32, [*_REQUEST, _OUT]),
    "mfn_pool_stream": (ctypes.c_int32, [*_REQUEST, ctypes.c_uint32, _OUT]),
    "mfn_pool_cancel": (ctypes.c_int32, [_HANDLE, ctypes.c_uint64]),
    "mfn_pool_close": (None, [_HANDLE]),
    "mfn_stream_next": (ctypes.c_int32, [_HANDLE, _OUT, ctypes.POINTER(ctypes.c_uint8)]),
    "mfn_stream_close": (None, [_HANDLE]),
    "mfn_client_cancel": (ctypes.c_int32, [_HANDLE, ctypes.c_uint64]),
    "mfn_client_close": (None, [_HANDLE]),
    "mfn_reply_content_type": (ctypes.c_uint8, [_HANDLE]),
    "mfn_reply_body": (ctypes.c_void_p, [_HANDLE, ctypes.POINTER(ctypes.c_size_t)]),
    "mfn_reply_free": (None, [_HANDLE]),
    "mfn_last_error": (ctypes.c_int32, [_BYTES, ctypes.c_size_t, ctypes.POINTER(ctypes.c_size_t)]),
}


@dataclass(frozen=True)
class Reply:
    """An answer: what its body is, and the body."""

    content_type: ContentType
    body: bytes


class _Caller(Handle):
    """What calls methods. Calls may run at the same time from several threads.

    Methods are named as in `mfn.protocol`: `Client(path, Service.STATE).call("status")`.
    """

    #: How its functions begin.
    _prefix = ""

    def __init__(self, path: str | os.PathLike[str], service: Service, *numbers: int) -> None:
        self._library = declare(PROTOTYPES)
        check_version(self._library.mfn_client_abi_version(), ABI_VERSION, "mfn/client.h")
        self._service = service
        handle = ctypes.c_void_p()
        make = self._function("connect" if self._prefix == "mfn_client" else "new")
        _check(self._library, make(os.fsencode(path), service, *numbers, ctypes.byref(handle)))
        super().__init__(handle.value or 0, self._function("close"))

    def _function(self, name: str) -> Any:
        return getattr(self._library, f"{self._prefix}_{name}")

    def call(
        self,
        method: str,
        body: bytes = b"",
        *,
        content_type: ContentType = ContentType.PROTOBUF,
        timeout: float | None = 10.0,
        tag: int = 0,
    ) -> Reply:
        """Calls a method and waits for the answer; without end if the timeout is None."""
        reply = ctypes.c_void_p()
        arguments = self._request(method, body, content_type, timeout, tag)
        _check(self._library, self._function("call")(*arguments, ctypes.byref(reply)))
        return _take(self._library, reply)

    def stream(
        self,
        method: str,
        body: bytes = b"",
        *,
        content_type: ContentType = ContentType.PROTOBUF,
        timeout: float | None = 10.0,
        tag: int = 0,
        credit: int = 64,
    ) -> Stream:
        """Calls a method that streams: iterate over its events; `Stream.reply` is what came last."""
        stream = ctypes.c_void_p()
        arguments = self._request(method, body, content_type, timeout, tag)
        _check(self._library, self._function("stream")(*arguments, credit, ctypes.byref(stream)))
        return Stream(self._library, stream.value or 0)

    def cancel(self, tag: int) -> None:
        """Ends the calls with that tag, each with MfnError `CANCELLED`."""
        _check(self._library, self._function("cancel")(self.pointer, tag))

    def _request(
        self, method: str, body: bytes, content_type: ContentType, timeout: float | None, tag: int
    ) -> tuple[Any, ...]:
        body = as_bytes(body, "body")
        kind = content_type if body else ContentType.NONE
        methods = METHODS[self._service]
        if method.upper() not in methods.__members__:
            known = ", ".join(name.lower() for name in methods.__members__)
            raise ValueError(f"{self._service.name.lower()} has no method {method}: {known}")
        within = 0 if timeout is None else _milliseconds(timeout)
        return self.pointer, tag, methods[method.upper()], kind, body or None, len(body), within


class Client(_Caller):
    """A connection to one socket. When it ends, so does the client."""

    _prefix = "mfn_client"

    def __init__(self, path: str | os.PathLike[str], service: Service, *, timeout: float = 5.0) -> None:
        super().__init__(path, service, _milliseconds(timeout))


class Pool(_Caller):
    """Few connections to one socket, repaired as they break, with a circuit breaker for each method: after too many
    failures calls end with MfnError `CIRCUIT_OPEN` for a while, then a few try. Making one connects to nothing."""

    _prefix = "mfn_pool"

    def __init__(
        self, path: str | os.PathLike[str], service: Service, *, connections: int = 2, timeout: float = 5.0
    ) -> None:
        super().__init__(path, service, connections, _milliseconds(timeout))


class Stream(Handle):
    """A streamed answer under way. Closed before its end, it is cancelled. One thread at a time."""

    def __init__(self, library: ctypes.CDLL, pointer: int) -> None:
        self._library = library
        #: What came last; None before that.
        self.reply: Reply | None = None
        super().__init__(pointer, library.mfn_stream_close)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Reply:
        if self.reply is not None:
            raise StopIteration
        item, is_end = ctypes.c_void_p(), ctypes.c_uint8()
        status = self._library.mfn_stream_next(self.pointer, ctypes.byref(item), ctypes.byref(is_end))
        _check(self._library, status)
        taken = _take(self._library, item)
        if is_end.value:
            self.reply = taken
            raise StopIteration
        return taken


def _take(library: ctypes.CDLL, reply: ctypes.c_void_p) -> Reply:
    try:
        length = ctypes.c_size_t()
        place = library.mfn_reply_body(reply, ctypes.byref(length))
        body = ctypes.string_at(place, length.value) if length.value else b""
        return Reply(ContentType(library.mfn_reply_content_type(reply)), body)
    finally:
        library.mfn_reply_free(reply)


def _check(library: ctypes.CDLL, status: int) -> None:
    if status == 0:
        return
    needed = ctypes.c_size_t()
    library.mfn_last_error(None, 0, ctypes.byref(needed))
    text = ctypes.create_string_buffer(max(1, needed.value))
    library.mfn_last_error(text, len(text), None)
    raise MfnError(status, text.value.decode("utf-8", "replace"))


def _milliseconds(seconds: float) -> int:
    # 0 would wait without end.
    return max(1, int(seconds * 1000))
