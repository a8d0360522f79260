use super::*;

fn camera(source: &str) -> CameraConfig {
    CameraConfig { name: "Yard".into(), source: source.into(), ..CameraConfig::default() }
}

fn good() -> Config {
    let scu = ScuConfig { quic: Some("scu.example:8600".into()), websocket: None };
    Config { scu: vec![scu], camera: vec![camera("synthetic")], ..Config::default() }
}

fn refused(change: impl FnOnce(&mut Config)) -> String {
    let mut config = good();
    change(&mut config);
    config.check().expect_err("refused").to_string()
}

#[test]
fn the_sample_file_is_good() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../pu-agent/pu-agent.sample.toml");
    let config: Config =
        sightline_service_kit::config::load(Some(&path)).expect("the sample parses");
    config.check().expect("the sample is usable");
}

/// What a service may write to is what its sample names.
#[test]
fn services_and_samples_agree_where_things_lie() {
    let read = |path: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    for unit in ["pu-agent", "nvr"] {
        let sample = read(&format!("{unit}/{unit}.sample.toml"));
        let service = read(&format!("infra/systemd/{unit}.service"));
        let named = |key: &str| {
            let begin = format!("{key} = \"");
            let mut lines = sample.lines().map(|line| line.trim_start_matches("# "));
            let value = lines.find_map(|line| line.strip_prefix(&begin)?.strip_suffix('"'));
            value.unwrap_or_else(|| panic!("{unit}: {key} is not in the sample")).to_owned()
        };
        let own = service.lines().find_map(|line| line.strip_prefix("StateDirectory="));
        let own: Vec<_> =
            own.unwrap_or_default().split(' ').map(|n| format!("/var/lib/{n}")).collect();
        for key in ["data_dir", "spool_dir"] {
            assert!(own.contains(&named(key)), "{unit}: {key} is none of {own:?}");
        }
        let disk = format!("ReadWritePaths={}", named("dir"));
        assert!(service.contains(&disk), "{unit}: the service does not show {disk}");
    }
}

#[test]
fn what_cannot_work_is_refused_in_words() {
    good().check().expect("good");
    assert!(refused(|c| c.scu.clear()).contains("[[scu]]"));
    assert!(refused(|c| c.scu[0].quic = None).contains("needs quic"));
    for bad in ["scu.example", "scu:0", "scu:x", ":1", "https://x:1"] {
        assert!(refused(|c| c.scu[0].quic = Some(bad.into())).contains("host:port"), "{bad}");
    }
    for bad in ["ws://scu.example/ps/v1", "https://scu.example", "ws://192.168.1.1/"] {
        let url = Url::parse(bad).expect("a URL");
        assert!(refused(|c| c.scu[0].websocket = Some(url)).contains("wss://"), "{bad}");
    }
    assert!(refused(|c| c.camera.clear()).contains("discover"));
    assert!(refused(|c| c.camera.push(camera("synthetic"))).contains("the name"));
    for bad in ["", "http://x/", "rtsp:", "/dev/video0", "$(reboot)"] {
        refused(|c| c.camera = vec![camera(bad)]);
    }
    refused(|c| c.camera[0].name = "a\r\nb".into());
    for bad in [0, 1_025] {
        assert!(refused(|c| c.camera[0].buffer_mib = Some(bad)).contains("1 to 1024"), "{bad}");
    }
    refused(|c| c.max_sessions = 0);
    assert!(refused(|c| c.recording.max_bytes = Some(1)).contains("recording"));
    assert!(refused(|c| c.http.listen = ([0, 0, 0, 0], 1).into()).contains("loopback"));
    let missing = |c: &mut Config| {
        c.camera = vec![camera("rtsp://192.168.1.2/")];
        c.camera[0].password_file = Some("/no/such/file".into());
    };
    assert!(refused(missing).contains("/no/such/file"));
}

#[test]
fn an_nvr_needs_no_cameras_but_a_place_for_recordings() {
    let recording = RecordingConfig { dir: Some("disk".into()), ..RecordingConfig::default() };
    let config = Config { camera: Vec::new(), recording, ..good() };
    config.check_as(DeviceKind::Nvr).expect("good");
    let config = Config { recording: RecordingConfig::default(), ..config };
    let error = config.check_as(DeviceKind::Nvr).expect_err("nowhere to record").to_string();
    assert!(error.contains("recording.dir"), "{error}");
}

#[test]
fn memory_for_pictures_is_bounded_for_each_camera() {
    let bytes = |buffer_mib| {
        let configured = CameraConfig { buffer_mib, ..camera("synthetic") };
        let buffer = configured.check().expect("good").buffer;
        [StreamTier::Main, StreamTier::Sub].map(|tier| buffer.bytes(tier) >> 20)
    };
    assert_eq!((bytes(None), bytes(Some(64))), ([32, 8], [64, 16]));
}

#[test]
fn websocket_without_tls_stays_on_this_machine() {
    for local in ["ws://localhost:1/ps/v1", "ws://127.0.0.1:1/", "ws://[::1]:1/"] {
        let mut config = good();
        config.scu[0].websocket = Some(Url::parse(local).expect("a URL"));
        config.check().expect(local);
    }
}
