//! STUN and TURN server (RFC 8489, RFC 8656, RFC 5780): bytes in, commands out.
