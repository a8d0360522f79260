//! cmu-storage
