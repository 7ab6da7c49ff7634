//! All C exports written in Rust: the client of the local sockets.
