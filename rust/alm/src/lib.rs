//! Layer 3, Associative Link Mesh, as seen from Rust: one trait, served over its socket.
