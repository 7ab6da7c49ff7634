//! Local coordination: socket server and client on the local wire, deadlines, credentials.
