"""A node's sockets, and those of the layers' daemons (mfn/client.h)."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

from .library import Handle, MfnError, as_bytes, check_version, declare
from .protocol import METHODS, ContentType, Service

#: What this module was written for.
ABI_VERSION = 65536

_HANDLE = ctypes.c_void_p
_BYTES = ctypes.c_char_p
PROTOTYPES = {
    "mfn_client_abi_version": (ctypes.c_uint32, []),
    "mfn_client_connect": (
        ctypes.c_int32,
        [ctypes.c_char_p, ctypes.c_uint8, ctypes.c_uint64, ctypes.POINTER(ctypes.c_void_p)],
    ),
    "mfn_client_call": (
        ctypes.c_int32,
        [
            _HANDLE,
            ctypes.c_uint64,
            ctypes.c_uint16,
            ctypes.c_uint8,
            _BYTES,
            ctypes.c_size_t,
            ctypes.c_uint64,
            ctypes.POINTER(ctypes.c_void_p),
        ],
    ),
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


class Client(Handle):
    """A connection to one socket. Calls may run at the same time from several threads.

    Methods are named as in `mfn.protocol`: `Client(path, Service.STATE).call("status")`.
    """

    def __init__(self, path: str | os.PathLike[str], service: Service, *, timeout: float = 5.0) -> None:
        self._library = declare(PROTOTYPES)
        check_version(self._library.mfn_client_abi_version(), ABI_VERSION, "mfn/client.h")
        self._service = service
        handle = ctypes.c_void_p()
        status = self._library.mfn_client_connect(
            os.fsencode(path), service, _milliseconds(timeout), ctypes.byref(handle)
        )
        self._check(status)
        super().__init__(handle.value or 0, self._library.mfn_client_close)

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
        body = as_bytes(body, "body")
        kind = content_type if body else ContentType.NONE
        methods = METHODS[self._service]
        if method.upper() not in methods.__members__:
            known = ", ".join(name.lower() for name in methods.__members__)
            raise ValueError(f"{self._service.name.lower()} has no method {method}: {known}")
        reply = ctypes.c_void_p()
        status = self._library.mfn_client_call(
            self.pointer,
            tag,
            methods[method.upper()],
            kind,
            body or None,
            len(body),
            0 if timeout is None else _milliseconds(timeout),
            ctypes.byref(reply),
        )
        self._check(status)
        try:
            length = ctypes.c_size_t()
            place = self._library.mfn_reply_body(reply, ctypes.byref(length))
            body = ctypes.string_at(place, length.value) if length.value else b""
            return Reply(ContentType(self._library.mfn_reply_content_type(reply)), body)
        finally:
            self._library.mfn_reply_free(reply)

    def cancel(self, tag: int) -> None:
        """Ends the calls with that tag, each with MfnError `CANCELLED`."""
        self._check(self._library.mfn_client_cancel(self.pointer, tag))

    def _check(self, status: int) -> None:
        if status == 0:
            return
        needed = ctypes.c_size_t()
        self._library.mfn_last_error(None, 0, ctypes.byref(needed))
        text = ctypes.create_string_buffer(max(1, needed.value))
        self._library.mfn_last_error(text, len(text), None)
        raise MfnError(status, text.value.decode("utf-8", "replace"))


def _milliseconds(seconds: float) -> int:
    # 0 would wait without end.
    return max(1, int(seconds * 1000))
