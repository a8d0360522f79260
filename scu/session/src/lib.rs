//! scu-session
