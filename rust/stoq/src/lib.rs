//! STOQ over QUIC: endpoint, mutual authentication by key, requests and transfers.
