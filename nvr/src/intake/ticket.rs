//! Tickets, kept through restarts: with one the NVR takes a stream on the LAN while the centre is away.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

use sightline_model::StreamTier;
use sightline_protocol::{Problem, ProblemKind, cm::PlayAnswer, ps::RelatedCamera};
use sightline_service_kit::config::write_private;

/// The folder in the NVR's data folder.
const FOLDER: &str = "tickets";
/// Longest file that is read; a ticket takes a few kilobytes.
const MAX_LEN: u64 = 64 << 10;

/// Where the ticket for one encoding of one camera is kept.
#[derive(Debug, Clone)]
pub struct TicketFile(PathBuf);

impl TicketFile {
    /// In the NVR's data folder.
    #[must_use]
    pub fn new(data_dir: &Path, camera: &RelatedCamera, tier: StreamTier) -> Self {
        let tier = match tier {
            StreamTier::Main => "main",
            StreamTier::Sub => "sub",
        };
        Self(data_dir.join(FOLDER).join(format!("{}-{tier}.json", camera.camera)))
    }

    /// What an earlier run kept, if it is for this camera.
    #[must_use]
    pub fn read(&self, camera: &RelatedCamera) -> Option<PlayAnswer> {
        let kept = match read(&self.0) {
            Ok(kept) => kept?,
            Err(why) => {
                tracing::warn!(camera = %camera.camera, why, "a kept ticket is not used");
                return None;
            }
        };
        fits(&kept, camera).ok().map(|()| kept)
    }

    /// Keeps one, readable by the NVR alone.
    ///
    /// # Errors
    /// When the data folder cannot be written to; the ticket is good until the next start.
    pub fn write(&self, ticket: &PlayAnswer) -> io::Result<()> {
        if let Some(folder) = self.0.parent() {
            fs::create_dir_all(folder)?;
        }
        write_private(&self.0, &serde_json::to_vec(ticket)?)
    }

    /// Forgets it: the relation has ended.
    pub fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(%error, "a ticket that is not good any more cannot be removed");
        }
    }
}

fn read(path: &Path) -> Result<Option<PlayAnswer>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut text = Vec::new();
    file.take(MAX_LEN + 1).read_to_end(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > MAX_LEN {
        return Err("it is too long".into());
    }
    // Not the parser's own words: they may quote the token.
    serde_json::from_slice(&text).map(Some).map_err(|_| "it is damaged".to_owned())
}

/// Whether a ticket is for this camera, and names the key that the camera's device is known by.
///
/// # Errors
/// [`ProblemKind::WrongKey`]: somebody may want to pass another camera off as this one.
pub fn fits(ticket: &PlayAnswer, camera: &RelatedCamera) -> Result<(), Problem> {
    let same = ticket.camera == camera.camera
        && ticket.device.pu == camera.camera.pu
        && ticket.device_key == camera.device_key
        && camera.camera.pu.matches(&ticket.device_key);
    if same {
        return Ok(());
    }
    let why = "the ticket is for another camera, or names another key than the camera's";
    Err(Problem::new(ProblemKind::WrongKey, why))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use sightline_model::{
        CameraId, ChannelId, DeviceId, PuId, PublicKey, SessionToken, UnixMicros,
    };

    use super::*;

    fn camera(n: u8) -> RelatedCamera {
        let device_key = PublicKey::from_bytes([n; 32]);
        let pu = PuId::from_public_key(&device_key);
        let camera = CameraId { pu, channel: ChannelId(0) };
        RelatedCamera { camera, channel: ChannelId(1_000), name: "Yard".into(), device_key }
    }

    fn ticket(of: &RelatedCamera) -> PlayAnswer {
        let domain = "home.example".parse().expect("a name");
        PlayAnswer {
            session: "s1".parse().expect("an id"),
            device: DeviceId { domain, pu: of.camera.pu.clone() },
            camera: of.camera.clone(),
            token: SessionToken::new("secret".into()),
            expires_at: UnixMicros(1),
            device_key: of.device_key,
            rtsp_urls: Vec::new(),
            quic: Vec::new(),
            signal_url: "/cs/v1".into(),
            ice_servers: Vec::new(),
        }
    }

    #[test]
    fn a_ticket_outlives_a_restart_and_is_nobody_elses_to_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = TicketFile::new(dir.path(), &camera(1), StreamTier::Main);
        assert!(file.read(&camera(1)).is_none());
        file.write(&ticket(&camera(1))).expect("written");
        assert_eq!(file.read(&camera(1)), Some(ticket(&camera(1))));
        let mode = fs::metadata(&file.0).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let sub = TicketFile::new(dir.path(), &camera(1), StreamTier::Sub);
        assert!(sub.read(&camera(1)).is_none(), "the other encoding has one of its own");
        fs::write(&file.0, "{").expect("own file");
        assert!(file.read(&camera(1)).is_none());
        file.remove();
        file.remove();
    }

    #[test]
    fn a_ticket_for_another_camera_or_with_another_key_is_not_used() {
        assert!(fits(&ticket(&camera(1)), &camera(1)).is_ok());
        let other = ticket(&camera(2));
        assert_eq!(fits(&other, &camera(1)).expect_err("other").kind, ProblemKind::WrongKey);
        let swapped = PlayAnswer { device_key: camera(2).device_key, ..ticket(&camera(1)) };
        assert!(fits(&swapped, &camera(1)).is_err());
        let stranger = RelatedCamera { device_key: camera(2).device_key, ..camera(1) };
        assert!(fits(&swapped, &stranger).is_err(), "the id is not that key's");
    }
}
