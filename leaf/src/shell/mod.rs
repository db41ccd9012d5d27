//! The impure part: sockets, TLS, files, signals, the clock and randomness live here and nowhere else.
