//! cu-cli
