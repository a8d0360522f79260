//! Segments on a disk: files and their index, written so that what is acknowledged stays.
//!
//! The order of writes and deletes, and what start-up repairs, is decision 0092.
