//! Discovery, stream addresses and streams of IPyCam, an ONVIF camera (PyPI `ipycam`).
//!
//! `TEST_IPYCAM` names the program when it is not on the path. Discovery goes by multicast,
//! which loopback does not carry: give a namespace a veth pair, a route for
//! 224.0.0.0/4, and its address in `TEST_ADDRESS`.

use std::{net::TcpListener, path::Path, process::Stdio, time::Duration};

use sightline_media::ring::Limits;
use sightline_media_io::{
    hub::{Hub, Next},
    onvif::{self, Found, OnvifProblem},
    source::rtsp::{self, RtspSourceConfig},
};
use sightline_model::Secret;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(40);

fn address() -> String {
    std::env::var("TEST_ADDRESS").unwrap_or_else(|_| "127.0.0.1".into())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    listener.local_addr().expect("address").port()
}

/// A clip for the camera to show.
async fn clip(folder: &Path) -> Option<()> {
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25:duration=4"])
        .args(["-c:v", "libx264", "-pix_fmt", "yuv420p", "clip.mp4"])
        .current_dir(folder)
        .status()
        .await;
    status.ok().filter(std::process::ExitStatus::success).map(|_| ())
}

async fn start(folder: &Path, onvif_port: u16) -> Option<Child> {
    let config = format!(
        r#"{{"name":"Yard","rtsp_port":{},"onvif_port":{onvif_port},"local_ip":"{}"}}"#,
        free_port(),
        address()
    );
    std::fs::write(folder.join("cam.json"), config).expect("written");
    let program = std::env::var_os("TEST_IPYCAM").unwrap_or_else(|| "ipycam".into());
    let camera = Command::new(program)
        .args(["--config", "cam.json", "--source", "clip.mp4", "--hw", "cpu"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    camera.ok()
}

#[tokio::test]
async fn an_onvif_camera_tells_its_streams_and_gives_them() {
    let folder = tempfile::tempdir().expect("folder");
    let onvif_port = free_port();
    let camera = match clip(folder.path()).await {
        Some(()) => start(folder.path(), onvif_port).await,
        None => None,
    };
    let Some(_camera) = camera else {
        eprintln!("\nSKIPPED: IPyCam or ffmpeg is not here (pip install ipycam)\n");
        return;
    };
    let device = format!("http://{}:{onvif_port}/onvif/device_service", address());
    let found = Found { name: "Yard".into(), device_url: device.parse().expect("URL") };
    let nothing = Secret::new(String::new());
    let streams = async {
        loop {
            match onvif::streams(&found, "", &nothing).await {
                Ok(streams) => break streams,
                // It takes some seconds to start.
                Err(OnvifProblem::Unreachable) => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(problem) => panic!("{problem}"),
            }
        }
    };
    let streams = tokio::time::timeout(PATIENCE, streams).await.expect("it answers");
    assert_eq!(streams.main.path(), "/video_main");
    assert_eq!(streams.sub.as_ref().map(url::Url::path), Some("/video_sub"));

    // Over TCP only: IPyCam 1.3 sends nothing over UDP, to other clients neither.
    for url in [streams.main, streams.sub.expect("checked")] {
        let (publisher, hub) = Hub::new(Limits::default());
        let token = CancellationToken::new();
        let _end = token.clone().drop_guard();
        tokio::spawn(rtsp::run(RtspSourceConfig::new(url), publisher, token));
        let mut reader = hub.subscribe();
        let mut told = Vec::new();
        let watching = async {
            let mut pictures = 0;
            while pictures < 30 {
                match reader.next().await {
                    Next::Unit(unit) => pictures += u32::from(unit.is_video()),
                    Next::State(state) => told.push(state),
                    Next::Skipped(_) => {}
                }
            }
        };
        let watched = tokio::time::timeout(PATIENCE, watching).await;
        assert!(watched.is_ok(), "{told:?}");
    }

    // Multicast is not let through everywhere; where it is, the camera is found by itself.
    let answers = onvif::discover(Duration::from_secs(2)).await;
    match answers.iter().find(|answer| answer.device_url == found.device_url) {
        Some(answer) => assert_eq!(answer.name, "Yard"),
        None => eprintln!("\nSKIPPED: no multicast here; {} other cameras\n", answers.len()),
    }
}
