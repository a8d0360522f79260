//! Binding, listing and watching cameras.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sightline_model::{
    AudioCodec, CameraId, Capabilities, DeviceId, MediaSessionId, Presence, PuId, PublicKey,
    Rights, SessionToken, StreamInfo, UnixMicros,
};

/// `POST /bindings` (A8.2 step 1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BindRequest {
    /// As typed or scanned.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub claim_code: SessionToken,
}

/// A8.2 step 3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Bound {
    /// The device.
    pub device: DeviceId,
    /// Its cameras, now in the list.
    pub cameras: Vec<Camera>,
}

/// `GET /cameras`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CameraList {
    /// The caller's cameras, by name.
    pub cameras: Vec<Camera>,
}

/// A camera as its user sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Camera {
    /// Its id.
    pub id: CameraId,
    /// Its device.
    pub device: DeviceId,
    /// What the user calls it.
    pub name: String,
    /// Whether it can be watched.
    pub presence: Presence,
    /// Why not, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Its encodings.
    pub streams: Vec<StreamInfo>,
    /// Its microphone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<AudioCodec>,
    /// The device's key, whose hash is the device id.
    pub device_key: PublicKey,
    /// What the caller may do with it.
    pub rights: Rights,
}

/// `PATCH /cameras/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CameraChange {
    /// New name, 1 to 64 characters.
    pub name: String,
}

/// `POST /cameras/{id}/play` (A8.4 step 1).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlayRequest {
    /// What the CU can take.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// For which kind of player.
    #[serde(default)]
    pub player: Player,
    /// The NVR whose recordings of the camera are wanted; absent: the camera's own device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorder: Option<PuId>,
}

/// Who will show the play token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Player {
    /// The CU itself, which proves its key (WebRTC, QUIC).
    #[default]
    Client,
    /// Any RTSP player; the token is bound to the first address that shows it.
    Rtsp,
}

/// A8.4 step 3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlayAnswer {
    /// The session.
    pub session: MediaSessionId,
    /// The device that media comes from.
    pub device: DeviceId,
    /// The camera, as that device counts it: at an NVR a number of the NVR's.
    pub camera: CameraId,
    /// The play token.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub token: SessionToken,
    /// No new use after this.
    pub expires_at: UnixMicros,
    /// The device's key; compare it with what the QR code said.
    pub device_key: PublicKey,
    /// RTSP URLs with the token in them, best first.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub rtsp_urls: Vec<SessionToken>,
    /// Where the device answers RTSP inside QUIC, best first.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub quic: Vec<SocketAddr>,
    /// WebSocket of the SCU, for WebRTC; a path alone is relative to the portal's address.
    pub signal_url: String,
    /// STUN and TURN servers.
    pub ice_servers: Vec<IceServer>,
}

/// As in the W3C's `RTCIceServer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IceServer {
    /// RFC 7064 and RFC 7065 URLs.
    pub urls: Vec<String>,
    /// Time-limited user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Its password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub credential: Option<SessionToken>,
}
