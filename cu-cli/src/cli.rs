//! The command line: what can be asked, with examples.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use sightline_model::{PhoneNumber, PuId, QualityChoice, RecordingPlace, StreamTier, UnixMicros};

use crate::quality::quality;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  something else went wrong (a file cannot be written, our own fault)
  2  the command line is wrong
  3  not signed in, or the sign-in has ended
  4  refused by the portal or the camera
  5  the portal or the camera cannot be reached
  6  wrong key or certificate: somebody may be in between; or a recording that is not as it was made
  7  no answer in time

Examples:
  cu login --portal https://cameras.example.org --phone +8613800138000
  cu bind abcd-efgh-ijkl-mnop-qrst-uvwx-yz23-4567-abcd-efgh-ijkl
  cu list
  cu play Garden --rtsp-listen 127.0.0.1:8554     then: ffplay rtsp://127.0.0.1:8554/0
  cu play Garden --out garden.mp4 --seconds 60
  cu play Garden --from 2026-11-21T17:00:00Z --to 2026-11-21T17:05:00Z --out five.mp4
  cu snapshot Garden garden.jpg
  cu doctor Garden
  cu verify garden.mp4 --recorder abcdefghijklmnopqrstuvwxy4";

/// Watch your own cameras, straight from the camera to you.
#[derive(Debug, Parser)]
#[command(name = "cu", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    /// Folder for key, sign-in and known cameras [default: $XDG_CONFIG_HOME/sightline]
    #[arg(long, global = true, value_name = "DIR", env = "SIGHTLINE_CU_HOME")]
    pub home: Option<PathBuf>,
    /// Results and errors as JSON, one object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more on the standard error; twice for details
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sign in with a mobile number and the code that is sent to it
    #[command(after_help = "\
The first sign-in makes the account. The code comes as an SMS; it is asked for at the prompt unless
--code or --code-file gives it.

Examples:
  cu login --portal https://cameras.example.org --phone +8613800138000
  cu login --portal https://192.168.1.5:8443 --ca demo-ca.pem --phone +8613800138000")]
    Login(Login),
    /// End the sign-in; key and known cameras stay
    Logout,
    /// Take possession of a camera by the claim code on it
    #[command(after_help = "\
The code is printed on the camera, below the QR code: 44 letters and digits. Dashes, spaces and case
do not matter. The camera's key is pinned from it: from then on `cu` talks to this very device only.

Example:
  cu bind abcd-efgh-ijkl-mnop-qrst-uvwx-yz23-4567-abcd-efgh-ijkl")]
    Bind {
        /// The claim code; `-` reads it from the standard input
        code: String,
    },
    /// Show your cameras
    List,
    /// Fetch a camera's picture and sound, live or as it was recorded
    #[command(after_help = "\
Without --out and --rtsp-listen the stream is received and counted only; add --stats to see figures.

Examples:
  cu play Garden --rtsp-listen 127.0.0.1:8554     any player: ffplay, ffprobe, VLC
  cu play 1 --out garden.mp4 --seconds 60         the first camera of `cu list`, for a minute
  cu play Garden --via webrtc --stats --json      as a browser would, with figures as JSON lines
  cu play Garden --quality 640x360@10             exactly this size and rate
  cu play Garden --from 2026-11-21T17:00:00Z --to 2026-11-21T17:05:00Z --out five.mp4
  vlc \"$(cu play Garden --print-url | head -1)\"  a player on its own, in the camera's network")]
    Play(Play),
    /// See what is recorded of a camera, keep it, and say what is to be recorded
    #[command(after_help = "\
Recordings are watched with `cu play CAMERA --from TIME`, and proven with `cu verify`.

Examples:
  cu record list Garden                           the last day, with every gap and its reason
  cu record list Garden --from 2026-11-21T17:00:00Z --to 2026-11-21T18:00:00Z --json
  cu record lock Garden --from 2026-11-21T17:00:00Z --to 2026-11-21T17:05:00Z
  cu record export Garden --from 2026-11-21T17:00:00Z --to 2026-11-21T17:05:00Z --out five.mp4
  cu record plan Garden                           what is to be recorded, and what is now
  cu record plan Garden --set main --keep-days 30
  cu record plan Garden --on nvr --set both       the same at the NVR that records it
  cu record plan Garden --on cloud --set main     and in the cloud storage
  vlc \"$(cu record playlist Garden --from 2026-11-21T17:00:00Z --to 2026-11-21T18:00:00Z)\"
  cu record space                                 what the cloud storage has for you")]
    Record {
        /// What to do
        #[command(subcommand)]
        record: Record,
    },
    /// See your network video recorders, and have them record cameras
    #[command(after_help = "\
An NVR is taken by its claim code, as a camera is: cu bind CODE. What it records of a camera is said by
the camera's plan: cu record plan CAMERA --on nvr.

Examples:
  cu nvr list
  cu nvr relate Garden                            the only NVR; else name one: cu nvr relate Garden 2
  cu record plan Garden --on nvr --set main --keep-days 30
  cu nvr unrelate Garden")]
    Nvr {
        /// What to do
        #[command(subcommand)]
        command: NvrCommand,
    },
    /// Save one picture as JPEG
    #[command(after_help = "Example:\n  cu snapshot Garden garden.jpg")]
    Snapshot {
        /// Id, name or number in `cu list`
        camera: String,
        /// The file to write; `-` for the standard output
        file: PathBuf,
    },
    /// Say in plain words what the network allows
    #[command(after_help = "\
With a camera, the ways to it are tried as well.

Examples:
  cu doctor
  cu doctor Garden --json")]
    Doctor {
        /// Id, name or number in `cu list`
        camera: Option<String>,
    },
    /// Prove a recording offline: which second is missing or altered, and what has expired
    #[command(after_help = "\
Needs no network and no sign-in. Beside an export FILE.mp4 lies its proof, FILE.mp4.proof.json; a folder
of segments has its proof in proof.json. What is proven is that the recorder signed these very bytes as
its recording of that camera at that time, and that no second of the span is left out. Whether it is
the recorder that you know is for you to say: --recorder takes the id on its label, or that of `cu list`.

Examples:
  cu verify garden.mp4 --recorder abcdefghijklmnopqrstuvwxy4
  cu verify garden.mp4 --rebuild segments/        the recorded files, made from the export again
  cu verify segments/ --json")]
    Verify(Verify),
    /// Give up a device: its claim code works again, for anybody who holds it
    Release {
        /// Device id, or one of its cameras
        device: String,
        /// Do not ask back
        #[arg(long)]
        yes: bool,
    },
    /// Give a camera another name
    Rename {
        /// Id, name or number in `cu list`
        camera: String,
        /// The new name, 1 to 64 characters
        name: String,
    },
    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  cu completions bash > ~/.local/share/bash-completion/completions/cu
  cu completions zsh > ~/.zfunc/_cu
  cu completions fish > ~/.config/fish/completions/cu.fish")]
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// `cu login`.
#[derive(Debug, Args)]
pub struct Login {
    /// Address of the portal; the last one when left out
    #[arg(long, value_name = "URL")]
    pub portal: Option<url::Url>,
    /// Mobile number in international form
    #[arg(long, value_name = "+NUMBER")]
    pub phone: PhoneNumber,
    /// The code, when it is known already
    #[arg(long, conflicts_with = "code_file")]
    pub code: Option<String>,
    /// File whose last code of six digits is the code; waited for up to 30 s
    #[arg(long, value_name = "FILE")]
    pub code_file: Option<PathBuf>,
    /// Trust only the authority in this PEM file for the portal; remembered
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// What this client is called in the portal
    #[arg(long, default_value = "cu")]
    pub name: String,
}

/// `cu play`.
#[derive(Debug, Args)]
pub struct Play {
    /// Id, name or number in `cu list`
    pub camera: String,
    /// How the media travels
    #[arg(long, value_enum, default_value_t = Via::Quic)]
    pub via: Via,
    /// Serve the stream to RTSP players at this address
    #[arg(long, value_name = "ADDR")]
    pub rtsp_listen: Option<SocketAddr>,
    /// Record into this MP4 file
    #[arg(long, value_name = "FILE.mp4")]
    pub out: Option<PathBuf>,
    /// Play what was recorded from then on, in UTC: 2026-11-21T17:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with_all = ["rtsp_listen", "seconds", "stats"])]
    pub from: Option<UnixMicros>,
    /// Until then; otherwise as far as it was recorded
    #[arg(long, value_name = "TIME", value_parser = time, requires = "from")]
    pub to: Option<UnixMicros>,
    /// From where only; otherwise from whoever has it, another one going on where the first has a gap
    #[arg(long, value_enum, value_name = "PLACE", requires = "from")]
    pub on: Option<RecordPlace>,
    /// How fast: 0.125 to 16, below zero in reverse
    #[arg(long, value_name = "N", requires = "from", allow_negative_numbers = true)]
    pub speed: Option<f64>,
    /// Stop after so many seconds of media; otherwise Ctrl-C does
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: Option<u32>,
    /// A line of figures every second
    #[arg(long)]
    pub stats: bool,
    /// auto, main, sub, keyframes, or WIDTHxHEIGHT@FPS
    #[arg(long, value_name = "QUALITY", default_value = "auto", value_parser = quality)]
    pub quality: QualityChoice,
    /// Refuse a camera whose claim code was not typed here
    #[arg(long)]
    pub require_pin: bool,
    /// Print RTSP URLs for another player, best first, and end; whoever has one can watch
    #[arg(long, conflicts_with_all = ["via", "rtsp_listen", "out", "seconds", "stats", "quality", "from"])]
    pub print_url: bool,
}

/// `cu record`.
#[derive(Debug, Subcommand)]
pub enum Record {
    /// What is recorded, what is missing and why
    List {
        /// Id, name or number in `cu list`
        camera: String,
        /// From then on, in UTC; otherwise a day back
        #[arg(long, value_name = "TIME", value_parser = time)]
        from: Option<UnixMicros>,
        /// Until then; otherwise until now
        #[arg(long, value_name = "TIME", value_parser = time)]
        to: Option<UnixMicros>,
    },
    /// Keep a stretch of time from being overwritten
    Lock(RecordSpan),
    /// Let it be overwritten again
    Unlock(RecordSpan),
    /// Take a stretch of time with you: one MP4 file, with the proof that nobody has altered it
    Export(RecordExport),
    /// Show what is to be recorded, or change it
    Plan {
        /// Id, name or number in `cu list`
        camera: String,
        /// What is recorded all the time
        #[arg(long, value_enum, value_name = "WHAT")]
        set: Option<RecordWhat>,
        /// How many days recordings stay at most; 0: until space is needed
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=3_650))]
        keep_days: Option<u32>,
        /// Where it is recorded
        #[arg(long, value_enum, value_name = "PLACE", default_value_t = RecordPlace::Unit)]
        on: RecordPlace,
    },
    /// Print an address at which another player shows what lies in the cloud; whoever has it can watch
    Playlist(RecordPlaylist),
    /// How much space you have in the cloud, and what uses it
    Space,
    /// Delete all that a device has recorded in the cloud for you, also one that you have released
    Erase {
        /// Device id, or one of its cameras
        device: String,
        /// Do not ask back
        #[arg(long)]
        yes: bool,
    },
}

/// `cu nvr`.
#[derive(Debug, Subcommand)]
pub enum NvrCommand {
    /// Show your NVRs, their storage, and what they record
    List,
    /// Have an NVR record a camera
    Relate {
        /// Id, name or number in `cu list`
        camera: String,
        /// Id of the NVR or its number in `cu nvr list`; may be left out when there is only one
        nvr: Option<String>,
    },
    /// Have a camera recorded by its NVR no more; what was recorded stays there, out of sight
    Unrelate {
        /// Id, name or number in `cu list`
        camera: String,
    },
}

/// Where recordings lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RecordPlace {
    /// The camera's own unit
    Unit,
    /// The NVR that records it
    Nvr,
    /// The cloud storage
    Cloud,
}

impl From<RecordPlace> for RecordingPlace {
    fn from(place: RecordPlace) -> Self {
        match place {
            RecordPlace::Unit => Self::Pu,
            RecordPlace::Nvr => Self::Nvr,
            RecordPlace::Cloud => Self::Cs,
        }
    }
}

/// A stretch of a camera's recording.
#[derive(Debug, Args)]
pub struct RecordSpan {
    /// Id, name or number in `cu list`
    pub camera: String,
    /// From then on, in UTC: 2026-11-21T17:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: UnixMicros,
    /// Until then
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: UnixMicros,
    /// Where it lies
    #[arg(long, value_enum, value_name = "PLACE", default_value_t = RecordPlace::Unit)]
    pub on: RecordPlace,
}

/// `cu record export`.
#[derive(Debug, Args)]
pub struct RecordExport {
    /// Id, name or number in `cu list`
    pub camera: String,
    /// From then on, in UTC: 2026-11-21T17:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: UnixMicros,
    /// Until then; about a day later at most
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: UnixMicros,
    /// The file; otherwise named after the camera, the stream and the time. What was fetched of a
    /// download that broke lies in a folder beside it, FILE.part, and is gone on with
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Replace a file of that name, and its proof; otherwise they are left as they are (exit code 2)
    #[arg(long)]
    pub force: bool,
    /// Which of the camera's streams; otherwise the main one
    #[arg(long, value_enum, value_name = "STREAM")]
    pub tier: Option<RecordTier>,
    /// From where; otherwise from who has the most of it, or the cloud when that cannot be reached
    #[arg(long, value_enum, value_name = "PLACE")]
    pub on: Option<RecordPlace>,
    /// Only from cameras whose claim code was typed here
    #[arg(long)]
    pub require_pin: bool,
}

/// `cu record playlist`.
#[derive(Debug, Args)]
pub struct RecordPlaylist {
    /// Id, name or number in `cu list`
    pub camera: String,
    /// From then on, in UTC: 2026-11-21T17:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: UnixMicros,
    /// Until then; six hours later at most
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: UnixMicros,
    /// Which of the camera's streams; otherwise the main one
    #[arg(long, value_enum, value_name = "STREAM")]
    pub tier: Option<RecordTier>,
}

/// One of a camera's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RecordTier {
    /// The full picture
    Main,
    /// The small picture
    Sub,
}

impl From<RecordTier> for StreamTier {
    fn from(tier: RecordTier) -> Self {
        match tier {
            RecordTier::Main => Self::Main,
            RecordTier::Sub => Self::Sub,
        }
    }
}

/// What is recorded all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RecordWhat {
    /// Nothing
    Nothing,
    /// The full picture
    Main,
    /// The small picture
    Sub,
    /// Both
    Both,
}

/// A time of RFC 3339, in UTC.
fn time(text: &str) -> Result<UnixMicros, String> {
    let shape = text.bytes().take(19).enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        10 => byte == b'T',
        13 | 16 => byte == b':',
        _ => byte.is_ascii_digit(),
    });
    // The basic form of the same is what RTSP speaks.
    let basic: String = text.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let span = sightline_rtsp::server::Span::parse(&format!("{basic}-"));
    span.filter(|_| shape)
        .map(|span| span.from)
        .ok_or_else(|| "a time is written like 2026-11-21T17:00:00Z".to_owned())
}

/// `cu verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The export, its proof, or a folder with a proof.json
    pub path: PathBuf,
    /// The recorder's id; without it any recorder's recording is taken, and its id shown
    #[arg(long, value_name = "ID")]
    pub recorder: Option<PuId>,
    /// The proof, when it lies elsewhere
    #[arg(long, value_name = "FILE")]
    pub proof: Option<PathBuf>,
    /// Write the segments that are proven into this folder, as they were recorded
    #[arg(long, value_name = "DIR")]
    pub rebuild: Option<PathBuf>,
}

/// What carries the media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// RTSP inside a QUIC connection pinned to the camera's key
    Quic,
    /// SRTP, as browsers do
    Webrtc,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_exit_code() {
        let mut command = <Cli as clap::CommandFactory>::command();
        let help = command.render_long_help().to_string();
        for code in 0..=7 {
            assert!(help.contains(&format!("\n  {code}  ")), "{code} is missing:\n{help}");
        }
    }
}
