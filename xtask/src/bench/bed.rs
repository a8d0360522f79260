//! The test bed: one camera, our centre and agent, and the peers, all watching the same stream.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};

use super::{
    Peer, PeerKind,
    process::{Process, free_port, wait_for_port},
};
use crate::run::{command, output, root};

/// The stream that everybody gets.
pub const STREAM: &str = "H.264 constrained baseline 1280x720, 25 pictures/s, 2 Mbit/s, \
                          a keyframe every 2 s, PCMU sound; RTSP over TCP from a GStreamer server";
pub const PHONE: &str = "+14155550100";

/// Everything that runs, in the order in which it must end.
pub struct Bed {
    /// What is measured; ours first.
    pub units: Vec<Unit>,
    /// The camera's own URL.
    pub camera: String,
    pub portal: String,
    pub claim_code: String,
    pub data: PathBuf,
    binaries: PathBuf,
    _centre: Vec<Process>,
    _camera: Process,
}

/// One program that passes the camera's stream on.
pub struct Unit {
    pub name: &'static str,
    pub version: String,
    pub process: Process,
    pub way: Way,
}

/// How viewers get at a unit's stream.
pub enum Way {
    /// By a play request at the centre.
    Portal,
    /// By fixed URLs.
    Open { rtsp: String, whep: String },
}

impl Bed {
    pub fn start(binaries: &Path, peers: &[Peer]) -> anyhow::Result<Self> {
        let data = std::env::temp_dir().join(format!("sightline-bench-{}", std::process::id()));
        fs::create_dir_all(&data)?;
        let (camera, url) = start_camera()?;
        let (centre, agent, portal, claim_code) = start_ours(&data, binaries, &url)?;
        let mut units = vec![agent];
        for peer in peers {
            units.push(start_peer(&data, peer, &url)?);
        }
        let bed = Self {
            units,
            camera: url,
            portal,
            claim_code,
            data,
            binaries: binaries.to_owned(),
            _centre: centre,
            _camera: camera,
        };
        bed.sign_in()?;
        Ok(bed)
    }

    /// One of our programs.
    pub fn ours(&self, name: &str) -> Command {
        let mut ours = command(self.binaries.join(name));
        if name == "cu" {
            // It warns in every call that the claim code was not typed there.
            ours.stderr(Stdio::null()).arg("--home").arg(self.data.join("cu-home"));
        }
        ours
    }

    fn sign_in(&self) -> anyhow::Result<()> {
        let sms_log = self.sms_log();
        let login = ["login", "--portal", &self.portal, "--phone", PHONE, "--code-file"];
        output(self.ours("cu").args(login).arg(sms_log))?;
        Ok(())
    }

    /// Makes the agent's camera the signed-in person's.
    pub fn bind(&self) -> anyhow::Result<()> {
        output(self.ours("cu").args(["bind", &self.claim_code])).map(drop)
    }

    pub fn sms_log(&self) -> PathBuf {
        self.data.join("cmu/sms.log")
    }

    /// Where RTSP viewers of a unit go; a token of ours is fresh.
    pub fn rtsp_url(&self, unit: &Unit) -> anyhow::Result<String> {
        match &unit.way {
            Way::Open { rtsp, .. } => Ok(rtsp.clone()),
            Way::Portal => {
                let urls = self.ours("cu").args(["play", "1", "--print-url"]).output()?;
                let urls = String::from_utf8_lossy(&urls.stdout);
                Ok(urls.lines().next().context("cu printed no URL")?.to_owned())
            }
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.units.clear();
        self._centre.clear();
        let _ = fs::remove_dir_all(&self.data);
    }
}

fn start_camera() -> anyhow::Result<(Process, String)> {
    let mut camera = command("/usr/bin/python3");
    camera.arg(root().join("crates/testkit/cameras/gst_rtsp.py"));
    camera.args(["--port", "0", "--size", "1280x720", "--bitrate", "2000", "--gop", "50"]);
    let camera = Process::start(camera.args(["--pattern", "smpte", "--audio", "pcmu"]))?;
    let port = camera.line(Duration::from_secs(20), |line| {
        line.strip_prefix("READY ").and_then(|port| port.parse::<u16>().ok())
    })?;
    Ok((camera, format!("rtsp://127.0.0.1:{port}/main")))
}

/// A program with its errors in a file of the data folder.
fn with_log(mut command: Command, data: &Path, name: &str) -> anyhow::Result<Process> {
    let log = fs::File::create(data.join(format!("{name}.log")))?;
    Process::start(command.stderr(log).current_dir(data))
}

fn start_ours(
    data: &Path,
    binaries: &Path,
    camera: &str,
) -> anyhow::Result<(Vec<Process>, Unit, String, String)> {
    let mut ports = [0_u16; 9];
    for port in &mut ports {
        *port = free_port()?;
    }
    let [nats, portal_port, ps, cs, turn, rtsp, quic, webrtc, admin] = ports;
    let portal = format!("http://localhost:{portal_port}");
    write_centre(data, [nats, portal_port, ps, cs, turn])?;
    let agent = format!(
        "data_dir = \"pu\"\ncentre_ca = \"scu/ca.pem\"\nannounce_loopback = true\n\
         portal = \"{portal}\"\n[[scu]]\nquic = \"localhost:{ps}\"\n\
         websocket = \"ws://localhost:{cs}/ps/v1\"\n\
         [[camera]]\nname = \"Bench\"\nsource = \"{camera}\"\n\
         [rtsp]\nlisten = \"127.0.0.1:{rtsp}\"\n[quic]\nlisten = \"127.0.0.1:{quic}\"\n\
         [webrtc]\nlisten = \"127.0.0.1:{webrtc}\"\n[http]\nlisten = \"127.0.0.1:{admin}\"\n"
    );
    fs::write(data.join("pu-agent.toml"), agent)?;
    let unit = |name: &str, words: &[&str], port: u16| -> anyhow::Result<Process> {
        let mut unit = command(binaries.join(name));
        unit.args(words).arg("--config").arg(data.join(format!("{name}.toml")));
        let unit = with_log(unit, data, name)?;
        wait_for_port(name, port)?;
        Ok(unit)
    };
    let mut bus = command("nats-server");
    bus.args(["-a", "127.0.0.1", "-p", &nats.to_string()]);
    let bus = with_log(bus, data, "nats")?;
    wait_for_port("nats-server", nats)?;
    let cmu = unit("cmu", &[], portal_port)?;
    let mtu = unit("mtu", &[], nats)?;
    let scu = unit("scu", &[], cs)?;
    let centre = vec![scu, mtu, cmu, bus];
    let mut code = command(binaries.join("pu-agent"));
    code.args(["claim-code", "--config"]).arg(data.join("pu-agent.toml")).current_dir(data);
    let is_code = |word: &&str| word.len() == 54 && word.matches('-').count() == 10;
    let code = output(&mut code)?.split_whitespace().find(is_code).map(str::to_owned);
    let code = code.context("pu-agent printed no claim code")?;
    let process = unit("pu-agent", &["run"], rtsp)?;
    let version = output(command("git").args(["describe", "--always", "--dirty"]));
    let version = version.map_or_else(|_| "?".into(), |v| v.trim().to_owned());
    let agent = Unit { name: "sightline", version, process, way: Way::Portal };
    Ok((centre, agent, portal, code))
}

fn write_centre(data: &Path, ports: [u16; 5]) -> anyhow::Result<()> {
    let [nats, portal, ps, cs, turn] = ports;
    fs::write(data.join("turn.secret"), "the benchmark's own relay secret, long enough")?;
    let bus = format!("nats://127.0.0.1:{nats}");
    let cmu = format!(
        "listen = \"127.0.0.1:{portal}\"\nadmin_listen = \"\"\n\
         public_url = \"http://localhost:{portal}\"\ndata_dir = \"cmu\"\n\
         domain = \"bench.example\"\napproval = \"automatic\"\n[bus]\nurl = \"{bus}\"\n\
         [limits]\nplay_per_user = {{ count = 100000, per_s = 60 }}\n"
    );
    let scu = format!(
        "domain = \"bench.example\"\nid = \"scu1\"\npublic_url = \"ws://localhost:{cs}\"\n\
         bus_url = \"{bus}\"\nquic_listen = \"127.0.0.1:{ps}\"\n\
         http_listen = \"127.0.0.1:{cs}\"\n[tls]\nhttp = false\nauthority_dir = \"scu\"\n\
         [turn]\nsecret_file = \"turn.secret\"\n"
    );
    let mtu = format!(
        "domain = \"bench.example\"\nbus_url = \"{bus}\"\n\
         listen = \"127.0.0.1:{turn}\"\nsecret_file = \"turn.secret\"\n"
    );
    for (name, text) in [("cmu", cmu), ("scu", scu), ("mtu", mtu)] {
        fs::write(data.join(format!("{name}.toml")), text)?;
    }
    Ok(())
}

fn start_peer(data: &Path, peer: &Peer, camera: &str) -> anyhow::Result<Unit> {
    let (rtsp, http, udp) = (free_port()?, free_port()?, free_port()?);
    // What a peer has beside RTSP and WebRTC is switched off, so that it costs nothing.
    let (name, file, configuration, whep) = match peer.kind {
        PeerKind::MediaMtx => (
            "mediamtx",
            "mediamtx.yml",
            format!(
                "logLevel: warn\nrtmp: no\nhls: no\nsrt: no\nmoq: no\nrtspTransports: [tcp]\n\
                 rtspAddress: 127.0.0.1:{rtsp}\nwebrtcAddress: 127.0.0.1:{http}\n\
                 webrtcLocalUDPAddress: 127.0.0.1:{udp}\nwebrtcIPsFromInterfaces: no\n\
                 webrtcAdditionalHosts: [127.0.0.1]\n\
                 paths:\n  cam:\n    source: {camera}\n    rtspTransport: tcp\n"
            ),
            format!("http://127.0.0.1:{http}/cam/whep"),
        ),
        PeerKind::Go2Rtc => (
            "go2rtc",
            "go2rtc.yaml",
            format!(
                "log: {{level: warn}}\napi: {{listen: \"127.0.0.1:{http}\"}}\n\
                 rtsp: {{listen: \"127.0.0.1:{rtsp}\"}}\nsrtp: {{listen: \"\"}}\n\
                 webrtc: {{listen: \"127.0.0.1:{udp}\", candidates: [\"127.0.0.1:{udp}\"], \
                 ice_servers: [], filters: {{loopback: true}}}}\n\
                 streams: {{cam: \"{camera}\"}}\npreload: {{cam: \"video&audio\"}}\n"
            ),
            format!("http://127.0.0.1:{http}/api/webrtc?src=cam"),
        ),
    };
    let file = data.join(file);
    fs::write(&file, configuration)?;
    let mut program = command(&peer.path);
    if peer.kind == PeerKind::Go2Rtc {
        program.arg("-config");
    }
    program.arg(&file);
    let process = with_log(program, data, name)?;
    wait_for_port(name, rtsp)?;
    wait_for_port(name, http)?;
    let rtsp = format!("rtsp://127.0.0.1:{rtsp}/cam");
    let version = peer_version(&peer.path);
    Ok(Unit { name, version, process, way: Way::Open { rtsp, whep } })
}

/// The commit that Go wrote into the binary; else what the program says of itself.
fn peer_version(path: &Path) -> String {
    let built = command("go").args(["version", "-m"]).arg(path).output();
    let built = built.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let find = |key: &str| {
        let line = built.lines().find_map(|line| line.trim().strip_prefix(key));
        line.map(|value| value.chars().take(10).collect::<String>())
    };
    if let (Some(revision), Some(date)) = (find("build\tvcs.revision="), find("build\tvcs.time=")) {
        return format!("{revision} of {date}");
    }
    output(command(path).arg("--version")).map_or_else(|_| "?".into(), |v| v.trim().to_owned())
}

/// What is missing for a bed, in words.
pub fn check() -> anyhow::Result<()> {
    for program in ["nats-server", "node"] {
        if command(program).arg("--version").output().is_err() {
            bail!("{program} is missing: `cargo xtask setup` installs it");
        }
    }
    Ok(())
}
