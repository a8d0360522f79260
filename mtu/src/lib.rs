//! mtu
