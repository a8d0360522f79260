//! What the demo tells the person who started it.

use std::{net::IpAddr, path::PathBuf};

use qrcode::{QrCode, render::unicode::Dense1x2};
use serde::Serialize;

use crate::centre::Centre;

/// Everything that a newcomer, or a program, needs to go on.
#[derive(Debug, Serialize)]
pub struct Banner {
    /// Where the portal is, on this machine.
    pub portal: String,
    /// A mobile number to sign up with: any number works, its SMS go to the log.
    pub phone: String,
    /// Claim code of the camera.
    pub claim_code: String,
    /// The premises unit.
    pub pu_id: String,
    /// Where SMS go.
    pub sms_log: PathBuf,
    /// Where the portal is for phones on the LAN, each with a certificate of `ca`.
    pub portal_lan: Vec<String>,
    /// The authority that phones must import.
    pub ca: PathBuf,
    /// Where players find the camera; they need a play token.
    pub rtsp: String,
    /// Where agents on other machines register, when they may.
    pub agents: Option<Agents>,
}

/// What the configuration of an agent on another machine needs.
#[derive(Debug, Serialize)]
pub struct Agents {
    /// Key `quic` of its `[[scu]]`.
    pub quic: String,
    /// Key `websocket` of its `[[scu]]`.
    pub websocket: String,
}

impl Agents {
    /// Reached at `public`, an address of this machine; `None` without an HTTPS listener.
    pub fn new(public: IpAddr, centre: &Centre) -> Option<Self> {
        let https = std::net::SocketAddr::new(public, centre.https?.port());
        let websocket = format!("wss://{https}/ps/v1");
        Some(Self { quic: centre.ps.to_string(), websocket })
    }

    fn words(&self, ca: &std::path::Path) -> String {
        format!(
            "  For `pu-agent run` on another machine: copy {ca} there, and into its configuration\n\n     \
             centre_ca = \"ca.pem\"\n     [[scu]]\n     quic = \"{}\"\n     \
             websocket = \"{}\"\n\n",
            self.quic,
            self.websocket,
            ca = ca.display(),
        )
    }
}

impl Banner {
    /// As one JSON line.
    pub fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// In words.
    pub fn words(&self) -> String {
        let link = format!("{}/#/bind?code={}", self.link_base(), self.claim_code);
        let qr = QrCode::new(&link)
            .map(|code| code.render::<Dense1x2>().quiet_zone(true).build())
            .unwrap_or_default();
        let lan = if self.portal_lan.is_empty() {
            String::new()
        } else {
            format!(
                "     From a phone on this network: {}\n     \
                 (import {} on the phone once; it is this demo's own authority)\n",
                self.portal_lan.join("  "),
                self.ca.display()
            )
        };
        format!(
            "\nSightline is running.\n\n  \
             1. Open {portal}\n{lan}  \
             2. Sign up with any mobile number, for example {phone}\n     \
             The code does not go to a phone but to a file:  tail -n 1 {sms}\n  \
             3. Bind the camera with its claim code, typed or scanned:\n\n     {code}\n\n{qr}\n\
             {agents}  On the command line:  {cu} login --portal {portal} --phone {phone}\n     \
             and then {cu} bind, {cu} list, {cu} play 1; each explains itself with --help\n  \
             Ctrl-C ends it.\n",
            portal = self.portal,
            phone = self.phone,
            sms = self.sms_log.display(),
            code = self.claim_code,
            cu = cu(),
            agents = self.agents.as_ref().map(|a| a.words(&self.ca)).unwrap_or_default(),
        )
    }

    fn link_base(&self) -> &str {
        self.portal_lan.first().unwrap_or(&self.portal)
    }
}

/// How to call the viewer of the command line: it lies beside this program, installed or just built.
fn cu() -> String {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("cu"));
    let Some(path) = beside.filter(|path| path.is_file()) else { return "cu".into() };
    let folders = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&folders).any(|folder| Some(folder.as_path()) == path.parent()) {
        return "cu".into();
    }
    let here = std::env::current_dir().ok();
    let relative = here.and_then(|here| path.strip_prefix(here).ok().map(ToOwned::to_owned));
    relative.unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_json_say_how_to_go_on() {
        let banner = Banner {
            portal: "http://localhost:8080".into(),
            phone: "+8613800138000".into(),
            claim_code: "abcd-efgh".into(),
            pu_id: "pu".into(),
            sms_log: "data/sms.log".into(),
            portal_lan: vec!["https://192.0.2.7:8443".into()],
            ca: "data/tls/ca.pem".into(),
            rtsp: "rtsp://127.0.0.1:8554/0".into(),
            agents: Some(Agents {
                quic: "192.0.2.7:7443".into(),
                websocket: "wss://192.0.2.7:8443/ps/v1".into(),
            }),
        };
        let words = banner.words();
        for needed in [
            "http://localhost:8080",
            "+8613800138000",
            "abcd-efgh",
            "data/sms.log",
            "quic = \"192.0.2.7:7443\"",
        ] {
            assert!(words.contains(needed), "{needed} is missing from:\n{words}");
        }
        let json: serde_json::Value =
            serde_json::from_str(&banner.json().expect("serializes")).expect("JSON");
        for key in ["portal", "phone", "claim_code", "pu_id", "sms_log"] {
            assert!(json[key].is_string(), "{key} is missing");
        }
    }
}
