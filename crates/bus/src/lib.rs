//! sightline-bus
