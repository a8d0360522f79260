//! sightline-service-kit
