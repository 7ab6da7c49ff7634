//! Sans-IO STOQ: frames, sessions, tokens, provider choice. No sockets, no clock.
