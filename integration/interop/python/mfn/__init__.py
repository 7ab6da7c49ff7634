"""The layers of the memory and a node's sockets from Python, over the C headers of ffi/include/mfn.

    from mfn import Ifr
    with Ifr(bytes_max=1 << 20) as ifr:
        ifr[b"\\x07" * 32] = b"\\x01" * 16
        assert bytes(32 * [7]) in ifr

Each class is one handle of the C library: free it with `with` or `close()`. Errors of the library are `MfnError`, whose
`name` is that of mfn/status.h. `Alm` has a library of its own. The library is found as `mfn.library.find()` says; `./make build-ffi` makes it.
"""

from .alm import Alm, Associate, Link, Path, Together
from .client import Client, Pool, Reply, Stream
from .cpe import Cpe, CpeExplanation, CpePoolStats, Horizon, Prediction, Sampled, Scores
from .dsr import Detector, Dsr, DsrExplanation, DsrStats, Match, Precision, Verdict
from .dsr_pools import DsrApplied, DsrPools, DsrPoolStats
from .ifr import Ifr, IfrStats
from .ifr_client import BodyError, FlowPool, FlowPoolStats, FlowRecord, IfrClient, Layer, Outcome, RoutingDecision
from .library import LibraryError, MfnError
from .protocol import ContentType, Service, Status

__all__ = [
    "Alm",
    "Associate",
    "BodyError",
    "Client",
    "ContentType",
    "Cpe",
    "CpeExplanation",
    "CpePoolStats",
    "Detector",
    "Dsr",
    "DsrApplied",
    "DsrExplanation",
    "DsrPoolStats",
    "DsrPools",
    "DsrStats",
    "FlowPool",
    "FlowPoolStats",
    "FlowRecord",
    "Horizon",
    "Ifr",
    "IfrClient",
    "IfrStats",
    "Layer",
    "LibraryError",
    "Link",
    "Match",
    "MfnError",
    "Outcome",
    "Path",
    "Pool",
    "Precision",
    "Prediction",
    "Reply",
    "RoutingDecision",
    "Sampled",
    "Scores",
    "Service",
    "Status",
    "Stream",
    "Together",
    "Verdict",
]
