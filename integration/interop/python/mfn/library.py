"""Finds and loads the C library, and turns its statuses into exceptions."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path
from typing import Any

from .protocol import Status

#: The file that `./make build-ffi` makes out of the archives in Rust and in Zig.
NAME = "libmfn.so"
#: Layer 3, with the Go runtime: it is loaded by who asks for it only.
ALM_NAME = "libmfn_alm.so"

#: What names each file, and what makes it.
_SOURCES = {
    NAME: ("MFN_LIBRARY", "./make build-ffi"),
    ALM_NAME: ("MFN_ALM_LIBRARY", f"go build -C go -tags libalm -buildmode=c-shared -o {ALM_NAME} ./cmd/libalm"),
}


class LibraryError(Exception):
    """The C library is missing, or its major version is not the one that this module was written for."""


class MfnError(Exception):
    """An error of the C library: a negative `status`, its `name` and what was done."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.name = Status(status).name if status in _KNOWN else "UNKNOWN"
        super().__init__(f"{self.name} ({status}): {text}")


def find(name: str = NAME) -> Path:
    """A library: $MFN_LIBRARY ($MFN_ALM_LIBRARY), or the one in this package, or the newest that this tree built."""
    variable, maker = _SOURCES[name]
    given = os.environ.get(variable)
    if given:
        return Path(given)
    here = Path(__file__).resolve()
    beside = here.parent / name
    if beside.is_file():
        return beside
    root = here.parents[4]
    target = Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    built = [target / profile / "ffi" / name for profile in ("release", "debug")]
    present = [path for path in built if path.is_file()]
    if not present:
        raise LibraryError(f"{name} was not found; build it with `{maker}`, or name it in {variable}")
    return max(present, key=lambda path: path.stat().st_mtime)


@functools.cache
def load(name: str = NAME) -> ctypes.CDLL:
    """The loaded library; one per process and name."""
    path = find(name)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise LibraryError(f"{path} does not load: {error}") from error


def declare(prototypes: dict[str, tuple[Any, list[Any]]], file: str = NAME) -> ctypes.CDLL:
    """Gives functions their types. Without, ctypes would cut pointers to 32 bits."""
    library = load(file)
    for name, (result, arguments) in prototypes.items():
        try:
            function = getattr(library, name)
        except AttributeError as error:
            raise LibraryError(f"{find(file)} has no {name}: it is of another version") from error
        function.restype = result
        function.argtypes = arguments
    return library


def check_version(found: int, wanted: int, header: str) -> None:
    """Refuses another major version."""
    if found >> 16 != wanted >> 16:
        raise LibraryError(f"the library has version {found:#x} of {header}, and this module is for {wanted:#x}")


def check(status: int, what: str) -> None:
    """Raises unless the status is MFN_OK."""
    if status != 0:
        raise MfnError(status, what)


def as_bytes(value: Any, what: str, length: int | None = None) -> bytes:
    """Bytes of any buffer, of one length if one is wanted."""
    data = bytes(memoryview(value))
    if length is not None and len(data) != length:
        raise ValueError(f"{what} has {len(data)} bytes and must have {length}")
    return data


class Handle:
    """A handle of the library, freed once."""

    def __init__(self, pointer: int, free: Any) -> None:
        self._pointer: int | None = pointer
        self._free = free

    @property
    def pointer(self) -> int:
        if self._pointer is None:
            raise ValueError(f"this {type(self).__name__} is closed")
        return self._pointer

    def close(self) -> None:
        """Frees it. Twice does nothing."""
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            self._free(pointer)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # An object whose making failed has no pointer.
        if getattr(self, "_pointer", None) is not None:
            self.close()


_KNOWN = frozenset(Status)
