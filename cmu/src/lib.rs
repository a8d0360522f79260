//! cmu
