//! A8.4 steps 1 to 3: the right to watch, and the check that the answer speaks of the camera that
//! was asked for.

use std::{net::IpAddr, path::PathBuf, time::Instant};

use sightline_model::{CameraId, Capabilities, PuId, PublicKey, QualityChoice, Right, VideoCodec};
use sightline_protocol::cm::{Camera, IceServer, PlayAnswer, PlayRequest, Player};

use crate::{
    api::SignedInApi,
    error::{CuError, Exit},
    home::{ClientKey, Home, Pins},
};

/// What the play command wants of a session.
pub struct Wanted {
    /// Codings that this way in can carry.
    pub codecs: Vec<VideoCodec>,
    /// What the PU should send.
    pub quality: QualityChoice,
    /// Whether the claim code must have been typed here.
    pub require_pin: bool,
    /// Who will show the token.
    pub player: Player,
    /// The NVR whose recordings are wanted; absent: the camera's own unit.
    pub recorder: Option<PuId>,
}

/// A camera that may be watched now.
pub struct Session {
    /// Which.
    pub camera: Camera,
    /// What the CMU answered; `device_key` is checked.
    pub answer: PlayAnswer,
    /// This client's key, which the token names.
    pub key: ClientKey,
    /// Private authority of the portal.
    pub ca_pem: Option<String>,
    /// Whether the portal is this machine.
    pub local_portal: bool,
    /// When it was asked for.
    pub asked: Instant,
    /// Where that is kept which was learned of networks.
    pub networks: Option<PathBuf>,
    /// Whom to ask for relays again: their credentials end, and the stream may outlast them.
    pub servers: ServerSource,
    pinned: bool,
}

/// The CMU, asked for servers with fresh credentials.
#[derive(Clone)]
pub struct ServerSource {
    api: SignedInApi,
    camera: CameraId,
    request: PlayRequest,
}

impl ServerSource {
    /// Asks as for another session; that one is left to expire, for a stream that runs keeps its
    /// own. Its relays may be others than those in use.
    ///
    /// # Errors
    /// A refusal, or a portal that cannot be reached.
    pub async fn ask(&self) -> Result<Vec<IceServer>, CuError> {
        Ok(self.api.play(&self.camera, &self.request).await?.ice_servers)
    }
}

impl Session {
    /// Asks the CMU.
    ///
    /// # Errors
    /// A refusal, or [`Exit::Security`] when the answer names another key.
    pub async fn ask(
        api: &SignedInApi,
        home: &Home,
        camera: Camera,
        wanted: &Wanted,
    ) -> Result<Self, CuError> {
        let asked = Instant::now();
        let of_unit = wanted.recorder.is_none();
        let mut pinned = check_device(
            &camera,
            &camera.device_key,
            &home.pins()?,
            wanted.require_pin && of_unit,
        )?;
        if !camera.rights.allows(Right::View) {
            return Err(CuError::new(Exit::Refused, format!("you may not watch {}", camera.name)));
        }
        let request = PlayRequest {
            capabilities: Capabilities {
                video_codecs: wanted.codecs.clone(),
                ..limits(wanted.quality)
            },
            player: wanted.player,
            recorder: wanted.recorder.clone(),
        };
        let answer = api.play(&camera.id, &request).await?;
        match &wanted.recorder {
            None => {
                check_device(&camera, &answer.device_key, &home.pins()?, wanted.require_pin)?;
                if answer.device.pu != camera.id.pu || answer.camera != camera.id {
                    return Err(other_camera());
                }
            }
            Some(nvr) => {
                if answer.device.pu != *nvr || answer.camera.pu != *nvr {
                    return Err(other_camera());
                }
                let of = (camera.name.as_str(), nvr);
                pinned = check_key(of, &answer.device_key, &home.pins()?, wanted.require_pin)?;
            }
        }
        let local_portal = match api.portal.url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
            Some(url::Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
            None => false,
        };
        let ca_pem = api.portal.ca_pem.clone();
        let networks = Some(home.networks());
        let servers = ServerSource { api: api.clone(), camera: camera.id.clone(), request };
        Ok(Self {
            camera,
            answer,
            key: home.key()?,
            ca_pem,
            local_portal,
            asked,
            networks,
            servers,
            pinned,
        })
    }

    /// What the person should know before believing the picture.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        (!self.pinned).then(|| unpinned(&self.camera.name, &self.answer.device.pu))
    }
}

/// What the person should know of a device whose claim code was not typed here.
pub(crate) fn unpinned(name: &str, device: &PuId) -> String {
    format!(
        "note: the claim code of {name} was not typed here, so its key is known from the portal \
         only. Compare the device id with the label: {device}"
    )
}

fn limits(quality: QualityChoice) -> Capabilities {
    match quality {
        QualityChoice::Exact { width, height, fps } => Capabilities {
            max_width: Some(width),
            max_height: Some(height),
            max_fps: Some(fps as f32),
            ..Capabilities::default()
        },
        QualityChoice::Auto | QualityChoice::Tier { .. } | QualityChoice::Keyframes => {
            Capabilities::default()
        }
    }
}

fn other_camera() -> CuError {
    CuError::security(
        "the portal answered for another camera than the one asked for; nothing was played",
    )
}

/// Whether `key` is the key that the camera's id was made from; says whether that id came from a
/// claim code.
///
/// # Errors
/// [`Exit::Security`] when it is another key, or not pinned where `require_pin` asks for it.
pub fn check_device(
    camera: &Camera,
    key: &PublicKey,
    pins: &Pins,
    require_pin: bool,
) -> Result<bool, CuError> {
    if camera.device.pu != camera.id.pu {
        return Err(other_camera());
    }
    check_key((&camera.name, &camera.id.pu), key, pins, require_pin)
}

/// The same for whatever device has media of the camera of that name.
fn check_key(
    (name, device): (&str, &PuId),
    key: &PublicKey,
    pins: &Pins,
    require_pin: bool,
) -> Result<bool, CuError> {
    if !device.matches(key) {
        return Err(CuError::security(format!(
            "the portal names a key for {name} that is not the camera's: somebody may be in between. Nothing was played"
        )));
    }
    let pinned = pins.from_code.contains(device);
    if require_pin && !pinned {
        return Err(CuError::security(format!(
            "the claim code of {name} was never typed here, and --require-pin asks for that: cu bind CODE"
        )));
    }
    Ok(pinned)
}
