//! The connection ladder: candidates, checks and the choice of the path.
