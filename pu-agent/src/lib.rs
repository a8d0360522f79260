//! pu-agent
