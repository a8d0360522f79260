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
    centre: Centre,
    _camera: Process,
}

/// Our centre: bus, CMU, MTU and SCU, all on one machine.
pub struct Centre {
    pub portal: String,
    /// Ports of signalling for devices, over QUIC and over WebSocket.
    signalling: [u16; 2],
    /// In the order in which they must end: whoever speaks over the bus goes before it.
    units: Vec<Process>,
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
        let centre = Centre::start(&data, binaries, "")?;
        let (agent, claim_code) = start_ours(&data, binaries, &centre, &url)?;
        let portal = centre.portal.clone();
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
            centre,
            _camera: camera,
        };
        bed.sign_in()?;
        Ok(bed)
    }

    /// One of our programs.
    pub fn ours(&self, name: &str) -> Command {
        ours(&self.data, &self.binaries, name)
    }

    fn sign_in(&self) -> anyhow::Result<()> {
        self.centre.sign_in(&self.data, &self.binaries)
    }

    /// Makes the agent's camera the signed-in person's.
    pub fn bind(&self) -> anyhow::Result<()> {
        output(self.ours("cu").args(["bind", &self.claim_code])).map(drop)
    }

    pub fn sms_log(&self) -> PathBuf {
        sms_log(&self.data)
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
        self.centre.end();
        let _ = fs::remove_dir_all(&self.data);
    }
}

impl Centre {
    /// Starts it with its files in `data`; `cmu` is added to the CMU's configuration.
    pub fn start(data: &Path, binaries: &Path, cmu: &str) -> anyhow::Result<Self> {
        let mut ports = [0_u16; 5];
        for port in &mut ports {
            *port = free_port()?;
        }
        let [nats, portal, ps, cs, _] = ports;
        write_centre(data, ports, cmu)?;
        let mut bus = command("nats-server");
        bus.args(["-a", "127.0.0.1", "-p", &nats.to_string()]);
        let bus = with_log(bus, data, "nats")?;
        wait_for_port("nats-server", nats)?;
        let unit = |name, port| start_unit(data, binaries, (name, &[]), port);
        let cmu = unit("cmu", portal)?;
        let mtu = unit("mtu", nats)?;
        let scu = unit("scu", cs)?;
        let units = vec![scu, mtu, cmu, bus];
        Ok(Self { portal: format!("http://localhost:{portal}"), signalling: [ps, cs], units })
    }

    /// How the configuration of a device at this centre begins, with its last table open.
    pub fn device(&self, data_dir: &str) -> String {
        let (portal, [ps, cs]) = (&self.portal, self.signalling);
        format!(
            "data_dir = \"{data_dir}\"\ncentre_ca = \"scu/ca.pem\"\nannounce_loopback = true\n\
             portal = \"{portal}\"\n[[scu]]\nquic = \"localhost:{ps}\"\n\
             websocket = \"ws://localhost:{cs}/ps/v1\"\n"
        )
    }

    /// Signs the one person in.
    pub fn sign_in(&self, data: &Path, binaries: &Path) -> anyhow::Result<()> {
        let login = ["login", "--portal", &self.portal, "--phone", PHONE, "--code-file"];
        output(ours(data, binaries, "cu").args(login).arg(sms_log(data)))?;
        Ok(())
    }

    pub fn end(&mut self) {
        self.units.clear();
    }
}

/// One of our programs.
pub fn ours(data: &Path, binaries: &Path, name: &str) -> Command {
    let mut ours = command(binaries.join(name));
    if name == "cu" {
        // It warns in every call that the claim code was not typed there.
        ours.stderr(Stdio::null()).arg("--home").arg(data.join("cu-home"));
    }
    ours
}

fn sms_log(data: &Path) -> PathBuf {
    data.join("cmu/sms.log")
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
pub fn with_log(mut command: Command, data: &Path, name: &str) -> anyhow::Result<Process> {
    let log = fs::File::create(data.join(format!("{name}.log")))?;
    Process::start(command.stderr(log).current_dir(data))
}

/// One of our services, with its words and its configuration, until it listens.
fn start_unit(
    data: &Path,
    binaries: &Path,
    (name, words): (&str, &[&str]),
    port: u16,
) -> anyhow::Result<Process> {
    let mut unit = command(binaries.join(name));
    unit.args(words).arg("--config").arg(data.join(format!("{name}.toml")));
    let unit = with_log(unit, data, name)?;
    wait_for_port(name, port)?;
    Ok(unit)
}

/// The claim code of a device whose configuration is there.
pub fn claim_code(data: &Path, binaries: &Path, name: &str) -> anyhow::Result<String> {
    let mut code = command(binaries.join(name));
    code.args(["claim-code", "--config"]).arg(data.join(format!("{name}.toml"))).current_dir(data);
    let is_code = |word: &&str| word.len() == 54 && word.matches('-').count() == 10;
    let code = output(&mut code)?.split_whitespace().find(is_code).map(str::to_owned);
    code.with_context(|| format!("{name} printed no claim code"))
}

/// What of ours is measured, by its commit.
pub fn our_version() -> String {
    let version = output(command("git").args(["describe", "--always", "--dirty"]));
    version.map_or_else(|_| "?".into(), |version| version.trim().to_owned())
}

fn start_ours(
    data: &Path,
    binaries: &Path,
    centre: &Centre,
    camera: &str,
) -> anyhow::Result<(Unit, String)> {
    let [rtsp, quic, webrtc, admin] = [free_port()?, free_port()?, free_port()?, free_port()?];
    let agent = format!(
        "{}[[camera]]\nname = \"Bench\"\nsource = \"{camera}\"\n\
         [rtsp]\nlisten = \"127.0.0.1:{rtsp}\"\n[quic]\nlisten = \"127.0.0.1:{quic}\"\n\
         [webrtc]\nlisten = \"127.0.0.1:{webrtc}\"\n[http]\nlisten = \"127.0.0.1:{admin}\"\n",
        centre.device("pu")
    );
    fs::write(data.join("pu-agent.toml"), agent)?;
    let code = claim_code(data, binaries, "pu-agent")?;
    let process = start_unit(data, binaries, ("pu-agent", &["run"]), rtsp)?;
    let version = our_version();
    Ok((Unit { name: "sightline", version, process, way: Way::Portal }, code))
}

fn write_centre(data: &Path, ports: [u16; 5], more_of_cmu: &str) -> anyhow::Result<()> {
    let [nats, portal, ps, cs, turn] = ports;
    fs::write(data.join("turn.secret"), "the benchmark's own relay secret, long enough")?;
    let bus = format!("nats://127.0.0.1:{nats}");
    let cmu = format!(
        "listen = \"127.0.0.1:{portal}\"\nadmin_listen = \"\"\n\
         public_url = \"http://localhost:{portal}\"\ndata_dir = \"cmu\"\n\
         domain = \"bench.example\"\napproval = \"automatic\"\n[bus]\nurl = \"{bus}\"\n\
         [limits]\nplay_per_user = {{ count = 100000, per_s = 60 }}\n{more_of_cmu}"
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
pub fn peer_version(path: &Path) -> String {
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
