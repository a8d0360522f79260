//! sightline-testkit
