//! `load-recording`: see the library.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use load_recording::{
    clip::Clip,
    put::{Store, newest},
    server::Server,
};
use serde_json::json;
use url::Url;

#[derive(Parser)]
#[command(
    name = "load-recording",
    about = "Load for recorders, for benchmarks",
    after_help = "Examples:\n  \
        ffmpeg -f lavfi -i testsrc2=size=1920x1080:rate=25:duration=20 -vf noise=alls=20:allf=t \\\n    \
        -c:v libx264 -b:v 4M -maxrate 4M -bufsize 4M -g 50 -bf 0 -x264-params aud=1:scenecut=0 clip.h264\n  \
        load-recording cameras clip.h264 --count 16 --listen 127.0.0.1:8554\n  \
        load-recording bucket --url http://localhost:8333 --bucket b --access-key-file a --secret-key-file s\n  \
        load-recording put segments/ --url http://localhost:8333 --bucket b --access-key-file a \\\n    \
        --secret-key-file s --at-once 8\n\n\
        `cargo xtask bench record` runs all of this against several recorders and writes the table."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a clip as many cameras, over RTSP inside the connection; each line of the standard input is
    /// answered with figures, and its end is the end
    Cameras(CameraArgs),
    /// Make the bucket, as soon as the store is up
    Bucket {
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Store the newest segments below a folder, and print a JSON line of bytes and seconds
    Put(PutArgs),
}

#[derive(Args)]
struct CameraArgs {
    /// H.264 as a byte stream with access unit delimiters, beginning with a keyframe
    clip: PathBuf,
    /// How many cameras: rtsp://ADDRESS/cam1 and so on
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    count: u16,
    /// Pictures per second
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=100))]
    fps: u32,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:0", value_name = "IP:PORT")]
    listen: SocketAddr,
    /// End after so long, in seconds, whoever still watches
    #[arg(long, default_value_t = 7_200, value_name = "N")]
    longest_s: u64,
}

#[derive(Args)]
struct StoreArgs {
    /// Where the store is
    #[arg(long)]
    url: Url,
    /// The bucket
    #[arg(long)]
    bucket: String,
    /// A file with the access key's id
    #[arg(long, value_name = "FILE")]
    access_key_file: PathBuf,
    /// A file with the secret key
    #[arg(long, value_name = "FILE")]
    secret_key_file: PathBuf,
}

#[derive(Args)]
struct PutArgs {
    /// Where segments lie
    folder: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    /// Objects at a time
    #[arg(long, default_value_t = 4)]
    at_once: usize,
    /// Enough is stored then
    #[arg(long, default_value_t = 256 << 20, value_name = "BYTES")]
    most_bytes: u64,
}

/// How long a store may take to come up.
const STORE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Cameras(args) => cameras(&args),
        Command::Bucket { store } => bucket(store),
        Command::Put(args) => put(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn cameras(args: &CameraArgs) -> anyhow::Result<()> {
    let stream = fs::read(&args.clip).with_context(|| args.clip.display().to_string())?;
    let clip = Clip::parse(&stream)?;
    let (bitrate, group_s) = (clip.bitrate(args.fps), clip.group() / f64::from(args.fps));
    let server = Arc::new(Server::new(clip, args.count.into(), args.fps));
    let listener = TcpListener::bind(args.listen)?;
    let address = listener.local_addr()?;
    server.listen(listener);
    server.keep_pace();
    let longest = Duration::from_secs(args.longest_s);
    thread::spawn(move || {
        thread::sleep(longest);
        eprintln!("error: the longest time is over");
        std::process::exit(1);
    });
    println!("{}", json!({ "listening": address, "bitrate_bps": bitrate, "keyframe_s": group_s }));
    for line in io::stdin().lines() {
        line?;
        println!("{}", server.counts().figures());
    }
    Ok(())
}

fn store(args: StoreArgs) -> anyhow::Result<Store> {
    Store::new(args.url, &args.bucket, &args.access_key_file, &args.secret_key_file)
}

fn bucket(args: StoreArgs) -> anyhow::Result<()> {
    let store = store(args)?;
    runtime()?.block_on(store.make_bucket(STORE))
}

fn put(args: PutArgs) -> anyhow::Result<()> {
    let files = newest(&args.folder, args.most_bytes)?;
    let store = store(args.store)?;
    println!("{}", runtime()?.block_on(store.put(files, args.at_once))?);
    Ok(())
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
