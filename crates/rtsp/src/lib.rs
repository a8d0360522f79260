//! sightline-rtsp
