"""The local wire in Python, written from docs/PROTOCOL.md and the golden vectors alone: nothing of the other codecs.

`encode` and `decode` are the frames; `Client` is the session of a caller.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

VERSION = 1
HEADER_BYTES = 56
FRAME_BYTES_MAX = 16_777_216
FRAME_BYTES_LEAST = 8_192
TLV_AREA_BYTES_MAX = 65_536
IN_FLIGHT_MAX = 4_096
CREDIT_MAX = 65_536

HELLO, REQUEST, REPLY, ERROR, EVENT, CANCEL, CREDIT, PING, PONG, GOAWAY = range(1, 11)
SERVICES = range(1, 10)
NONE, TEXT = 0, 4
CONTENT_TYPES = range(5)
FLAG_TLV, FLAG_SAMPLED = 1, 2
TLV_FEATURES, TLV_LIMITS, TLV_SOFTWARE = 1, 2, 3

OK, CANCELLED, DEADLINE, BUSY, CLOSED, UNREACHABLE = 0, -8, -9, -10, -11, -16
FRAME_SHORT, FRAME_TOO_LARGE, FRAME_LENGTH, BAD_VERSION, BAD_KIND, BAD_SERVICE = range(-100, -106, -1)
BAD_CONTENT_TYPE, BAD_FLAGS, BAD_STATUS, BAD_REQUEST_ID, BAD_CREDIT, BAD_TLV = range(-106, -112, -1)
BAD_UTF8, UNEXPECTED_FRAME = -112, -114

_HEAD = struct.Struct("<IBBBBHHiQQ16s8sI")
_LIMITS = struct.Struct("<III")


class WireError(Exception):
    """The rule that was broken, or the status that a call ended with."""

    def __init__(
        self, status: int, text: str = "", *, is_unsent: bool = False, may_repeat: bool = False, is_lost: bool = False
    ) -> None:
        super().__init__(f"{status} {text}")
        self.status = status
        self.text = text
        #: No part of the call was done.
        self.is_unsent = is_unsent or may_repeat
        #: Nor was it for a reason of its own: another connection may take it.
        self.may_repeat = may_repeat
        #: The connection ended first, and the call may have been done.
        self.is_lost = is_lost


@dataclass
class Frame:
    kind: int
    service: int
    content_type: int = NONE
    method: int = 0
    flags: int = 0
    status: int = 0
    request_id: int = 0
    deadline_ns: int = 0
    trace_id: bytes = bytes(16)
    span_id: bytes = bytes(8)
    credit: int = 0
    #: None: there is no area of entries. An empty one is something else.
    entries: list[tuple[int, bytes]] | None = None
    body: bytes = b""


def frame_length(head: bytes) -> int:
    """Bytes of the frame that begins so, its length prefix included."""
    if len(head) < 4:
        raise WireError(FRAME_SHORT)
    (length,) = struct.unpack_from("<I", head)
    if length > FRAME_BYTES_MAX:
        raise WireError(FRAME_TOO_LARGE)
    if length < HEADER_BYTES:
        raise WireError(FRAME_SHORT)
    return 4 + length


def _check(frame: Frame) -> None:
    """The rules between the fields of a header."""
    is_error = frame.kind == ERROR
    if frame.status > 0 or is_error != (frame.status < 0):
        raise WireError(BAD_STATUS)
    if not is_error and (frame.kind in (HELLO, GOAWAY)) != (frame.request_id == 0):
        raise WireError(BAD_REQUEST_ID)
    most = CREDIT_MAX if frame.kind in (REQUEST, CREDIT) else 0
    if frame.credit > most or (frame.kind == CREDIT and frame.credit == 0):
        raise WireError(BAD_CREDIT)


def _entries(area: bytes) -> list[tuple[int, bytes]]:
    found = []
    while area:
        if len(area) < 4:
            raise WireError(BAD_TLV)
        kind, size = struct.unpack_from("<HH", area)
        value = area[4 : 4 + size]
        known = {TLV_FEATURES: 8, TLV_LIMITS: 12}.get(kind, size)
        if len(value) != size or size != known:
            raise WireError(BAD_TLV)
        found.append((kind, value))
        area = area[4 + size :]
    return found


def _utf8(text: bytes) -> None:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        raise WireError(BAD_UTF8) from None


def decode(data: bytes) -> Frame:
    """One whole frame. The order of the checks is that of the specification."""
    if len(data) != frame_length(data):
        raise WireError(FRAME_LENGTH)
    if len(data) < _HEAD.size:
        raise WireError(FRAME_SHORT)
    _, version, kind, service, content_type, method, flags, status, *rest = _HEAD.unpack_from(data)
    frame = Frame(kind, service, content_type, method, flags, status, *rest)
    for rule, broken in (
        (BAD_VERSION, version != VERSION),
        (BAD_KIND, not HELLO <= kind <= GOAWAY),
        (BAD_SERVICE, service not in SERVICES),
        (BAD_CONTENT_TYPE, content_type not in CONTENT_TYPES),
        (BAD_FLAGS, flags & ~(FLAG_TLV | FLAG_SAMPLED)),
    ):
        if broken:
            raise WireError(rule)
    _check(frame)
    frame.body = data[_HEAD.size :]
    if flags & FLAG_TLV:
        if len(frame.body) < 4:
            raise WireError(BAD_TLV)
        (size,) = struct.unpack_from("<I", frame.body)
        if size > TLV_AREA_BYTES_MAX or size > len(frame.body) - 4:
            raise WireError(BAD_TLV)
        frame.entries = _entries(frame.body[4 : 4 + size])
        frame.body = frame.body[4 + size :]
    if content_type == NONE and frame.body:
        raise WireError(BAD_CONTENT_TYPE)
    if content_type == TEXT:
        _utf8(frame.body)
    for kind, value in frame.entries or []:
        if kind == TLV_SOFTWARE:
            _utf8(value)
    return frame


def encode(frame: Frame) -> bytes:
    """The bytes of a frame. What `decode` would refuse is refused."""
    area = b""
    flags = frame.flags & ~FLAG_TLV
    if frame.entries is not None:
        entries = b"".join(struct.pack("<HH", kind, len(value)) + value for kind, value in frame.entries)
        area = struct.pack("<I", len(entries)) + entries
        flags |= FLAG_TLV
    data = _HEAD.pack(
        HEADER_BYTES + len(area) + len(frame.body),
        VERSION,
        frame.kind,
        frame.service,
        frame.content_type,
        frame.method,
        flags,
        frame.status,
        frame.request_id,
        frame.deadline_ns,
        frame.trace_id,
        frame.span_id,
        frame.credit,
    )
    data += area + frame.body
    decode(data)
    return data


@dataclass
class Call:
    """One under way. Events come before the end."""

    request_id: int
    credit: int
    until: float | None
    allowed: int = 0
    taken: int = 0
    events: deque[Frame] = field(default_factory=deque)
    end: Frame | WireError | None = None


class Client:
    """One connection. A thread of its own reads; calls share it."""

    def __init__(self, path: str, service: int, timeout: float, room: Callable[[], None] = lambda: None) -> None:
        """`room` is called, without locks, when a call has ended and when the connection has."""
        self._service = service
        self._room = room
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._calls: dict[int, Call] = {}
        self._owed: set[int] = set()
        self._next = 1
        self._ended: WireError | None = None
        self._leaving = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(path)
            limits = _LIMITS.pack(FRAME_BYTES_MAX, 0, 0)
            entries = [(TLV_FEATURES, bytes(8)), (TLV_LIMITS, limits), (TLV_SOFTWARE, b"conformance-python")]
            self._say(Frame(HELLO, service, entries=entries))
            hello = self._read()
            if hello.kind == ERROR:
                raise WireError(hello.status, hello.body.decode())
            if hello.kind != HELLO or hello.service != service:
                raise WireError(UNEXPECTED_FRAME)
        except TimeoutError:
            self._socket.close()
            raise WireError(DEADLINE, "no answer in time") from None
        except OSError as error:
            self._socket.close()
            raise WireError(UNREACHABLE, str(error)) from None
        except WireError as wrong:
            if not wrong.text:
                wrong.text = f"its frames are not of version {VERSION}, or broken"
                self._tell(wrong)
            self._socket.close()
            raise WireError(wrong.status, wrong.text) from None
        self._heed(hello)
        self._socket.settimeout(None)
        threading.Thread(target=self._listen, daemon=True).start()

    def _heed(self, hello: Frame) -> None:
        """0, or no entry, is the limit of the wire."""
        self._frame_bytes_max, self._in_flight_max = FRAME_BYTES_MAX, IN_FLIGHT_MAX
        for kind, value in hello.entries or []:
            if kind == TLV_LIMITS:
                frame_bytes, in_flight, _ = _LIMITS.unpack(value)
                if frame_bytes:
                    self._frame_bytes_max = max(FRAME_BYTES_LEAST, min(frame_bytes, FRAME_BYTES_MAX))
                if in_flight:
                    self._in_flight_max = min(in_flight, IN_FLIGHT_MAX)

    def start(self, method: int, content_type: int, body: bytes, timeout: float | None, credit: int) -> Call:
        """Sends a request. `timeout` becomes an absolute deadline, which travels with it."""
        if HEADER_BYTES + len(body) > self._frame_bytes_max:
            raise WireError(FRAME_TOO_LARGE, "the server takes no frame of that length", is_unsent=True)
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            if self._ended:
                raise WireError(self._ended.status, self._ended.text, may_repeat=True)
            if self._leaving:
                raise WireError(CLOSED, "the server is going away", may_repeat=True)
            if len(self._calls) + len(self._owed) >= self._in_flight_max:
                raise WireError(BUSY, "as many requests are in flight as the server takes", may_repeat=True)
            call = Call(self._next, credit, until, allowed=credit)
            self._next += 1
            self._calls[call.request_id] = call
        self._say(
            Frame(
                REQUEST,
                self._service,
                content_type if body else NONE,
                method,
                request_id=call.request_id,
                deadline_ns=0 if timeout is None else time.monotonic_ns() + int(timeout * 1e9),
                credit=credit,
                body=body,
            )
        )
        return call

    @property
    def in_flight(self) -> int:
        """Calls under way, and those that were given up and are not answered yet."""
        with self._changed:
            return len(self._calls) + len(self._owed)

    @property
    def in_flight_max(self) -> int:
        """What the server's HELLO allows."""
        return self._in_flight_max

    @property
    def is_open(self) -> bool:
        """Whether it takes new calls."""
        with self._changed:
            return self._ended is None and not self._leaving

    def has_hung_up(self) -> bool:
        """Asks the kernel, since the reader may not have been woken yet."""
        looks = select.poll()
        try:
            looks.register(self._socket, select.POLLRDHUP)
        except (OSError, ValueError):
            return True
        return bool(looks.poll(0))

    def item(self, call: Call) -> Frame:
        """The next event of a call, or its reply. An error is raised."""
        with self._changed:
            ready = self._changed.wait_for(
                lambda: bool(call.events) or call.end is not None,
                None if call.until is None else max(0.0, call.until - time.monotonic()),
            )
            if call.events:
                event = call.events.popleft()
                back = self._back(call)
            elif ready:
                if isinstance(call.end, WireError):
                    raise call.end
                return call.end
        if not ready:
            self.cancel(call, WireError(DEADLINE, "the deadline passed before the answer"))
            raise call.end
        if back:
            self._say(Frame(CREDIT, self._service, request_id=call.request_id, credit=back))
        return event

    @staticmethod
    def _back(call: Call) -> int:
        """Half of the credit at a time goes back."""
        call.taken += 1
        if call.end is not None or call.taken * 2 < call.credit:
            return 0
        back, call.taken = call.taken, 0
        call.allowed += back
        return back

    def cancel(self, call: Call, why: WireError | None = None) -> None:
        """Ends a call, and tells the server that nobody waits for it."""
        with self._changed:
            if self._calls.pop(call.request_id, None) is None:
                return
            call.end = why or WireError(CANCELLED, "the caller cancelled it")
            call.events.clear()
            self._owed.add(call.request_id)
        self._say(Frame(CANCEL, self._service, request_id=call.request_id))

    def close(self) -> None:
        self._end(WireError(CLOSED, "closed by its owner", is_lost=True))

    def _tell(self, wrong: WireError) -> None:
        """Says which rule the server broke. It may not read it any more."""
        self._say(Frame(ERROR, self._service, TEXT, status=wrong.status, body=wrong.text.encode()))

    def _say(self, frame: Frame) -> None:
        data = encode(frame)
        try:
            with self._writing:
                self._socket.sendall(data)
        except OSError:
            # Why the connection is over is the reader's to find.
            pass

    def _read(self) -> Frame:
        head = self._exactly(4)
        return decode(head + self._exactly(frame_length(head) - 4))

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            # As its bytes arrive, never on the word of its length.
            part = self._socket.recv(min(count, 1 << 18))
            if not part:
                raise ConnectionError("the server closed the connection")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _listen(self) -> None:
        while True:
            try:
                frame = self._read()
                self._take(frame)
            except WireError as wrong:
                if wrong.status == CLOSED:
                    return self._end(wrong)
                self._tell(wrong)
                return self._end(WireError(CLOSED, str(wrong), is_lost=True))
            except OSError as error:
                return self._end(WireError(CLOSED, str(error), is_lost=True))
            if frame.kind in (REPLY, ERROR):
                self._room()

    def _end(self, why: WireError) -> None:
        with self._changed:
            self._ended = self._ended or why
            for call in self._calls.values():
                call.end = why
            self._calls.clear()
            self._changed.notify_all()
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()
        self._room()

    def _take(self, frame: Frame) -> None:
        if frame.kind == ERROR and frame.request_id == 0:
            # CLOSED says that what is open was never taken: "Going away".
            text = f"{frame.status} {frame.body.decode()}"
            raise WireError(CLOSED, text, may_repeat=frame.status == CLOSED, is_lost=frame.status != CLOSED)
        if frame.service != self._service:
            raise WireError(UNEXPECTED_FRAME)
        with self._changed:
            call = self._calls.get(frame.request_id)
            if frame.kind in (REPLY, ERROR):
                if call:
                    del self._calls[frame.request_id]
                    failed = frame.kind == ERROR
                    call.end = frame
                    if failed:
                        call.end = WireError(frame.status, frame.body.decode(), may_repeat=frame.status == CLOSED)
                elif frame.request_id in self._owed:
                    self._owed.remove(frame.request_id)
                else:
                    raise WireError(BAD_REQUEST_ID)
            elif frame.kind == EVENT:
                if call:
                    if call.allowed == 0:
                        raise WireError(BAD_CREDIT)
                    call.allowed -= 1
                    call.events.append(frame)
                elif frame.request_id not in self._owed:
                    raise WireError(BAD_REQUEST_ID)
            elif frame.kind == GOAWAY:
                self._leaving = True
            elif frame.kind not in (PING, PONG):
                raise WireError(UNEXPECTED_FRAME)
            self._changed.notify_all()
        if frame.kind == PING:
            self._say(Frame(PONG, self._service, request_id=frame.request_id))
