//! Sockets, gateways, relays and QUIC below the connection ladder.
