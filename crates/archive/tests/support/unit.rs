//! A unit whose camera is away, with a film in its store, and a player of our own.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sightline_archive::StoreArchive;
use sightline_media::{AccessUnit, ring::Limits};
use sightline_media_io::{
    archive::{Archive, ArchiveError, Look, Recording},
    camera::Camera,
    gate::{Admission, BoxFuture, Gate},
    hub::{Hub, Publisher},
    rtsp_server::{Options, Peer, RtspServer},
};
use sightline_model::{Capabilities, ChannelId, Right, Rights, SessionToken, UnixMicros};
use sightline_protocol::{
    Problem, ProblemKind, pc::MediaTransport, ps::TokenBearer, sc::TokenGrant,
};
use sightline_recording::replay::Way;
use sightline_rtsp::client::{self, Client, Event, Output};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::film::{Film, files, recorder};

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Ends a session.
type End = watch::Sender<Option<Problem>>;

/// Lets in whoever says who they are, for as long as it lives.
#[derive(Default)]
struct OpenGate(Mutex<Vec<(String, End)>>);

impl Gate for OpenGate {
    fn admit<'a>(
        &'a self,
        token: &'a SessionToken,
        _bearer: TokenBearer,
    ) -> BoxFuture<'a, Result<Admission, Problem>> {
        Box::pin(async move {
            let rights = match token.expose().as_str() {
                "owner" | "heir" => Rights::owner(),
                "guest" => Rights([Right::View].into()),
                _ => return Err(Problem::new(ProblemKind::InvalidToken, "none of ours")),
            };
            let grant = TokenGrant {
                domain: "example.org".parse().expect("valid"),
                user: "ada".parse().expect("valid"),
                session: "s1".parse().expect("valid"),
                channel: ChannelId(0),
                rights,
                capabilities: Capabilities::default(),
                expires_at: UnixMicros(i64::MAX),
            };
            let (ended_to, ended) = watch::channel(None);
            self.0.lock().push((token.expose().clone(), ended_to));
            Ok(Admission { grant, ended, path: watch::channel(None).0 })
        })
    }
}

/// Counts what is asked of the store.
pub struct Counted {
    archive: Arc<StoreArchive>,
    pub asked: AtomicUsize,
}

impl Archive for Counted {
    fn find(
        self: Arc<Self>,
        of: Recording,
        at: UnixMicros,
        way: Way,
    ) -> BoxFuture<'static, Result<Look, ArchiveError>> {
        self.asked.fetch_add(1, SeqCst);
        Arc::clone(&self.archive).find(of, at, way)
    }
}

/// All of time.
pub fn all() -> sightline_archive::Visible {
    Arc::new([UnixMicros(i64::MIN)..UnixMicros(i64::MAX)])
}

pub struct Unit {
    pub film: Film,
    pub archive: Arc<Counted>,
    pub server: RtspServer,
    pub address: SocketAddr,
    /// What its owner may see.
    pub visible: watch::Sender<sightline_archive::Visible>,
    gate: Arc<OpenGate>,
    /// Held so that the camera stays away by itself.
    _publisher: Publisher,
    token: CancellationToken,
    tasks: TaskTracker,
    folder: tempfile::TempDir,
}

impl Unit {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let film = Film::shoot(folder.path()).await;
        let (publisher, main) = Hub::new(Limits::default());
        let camera = Camera { channel: ChannelId(0), name: "Yard".into(), main, sub: None };
        let cameras = Arc::new(BTreeMap::from([(ChannelId(0), camera)]));
        let (_, store) = watch::channel(Some(film.store.clone()));
        let (visible, told) = watch::channel(all());
        let stored = StoreArchive::of_unit(store, recorder(), told);
        let files = Arc::clone(&stored);
        let archive = Arc::new(Counted { archive: stored, asked: AtomicUsize::new(0) });
        let shared: Arc<dyn Archive> = archive.clone();
        let gate = Arc::new(OpenGate::default());
        let guard: Arc<dyn Gate> = gate.clone();
        let options = Options::default();
        let server = RtspServer::with_recordings(cameras, guard, Some(shared), options);
        let server = server.with_files(files);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (serving, stop, spawned) = (server.clone(), token.clone(), tasks.clone());
        tasks.spawn(async move { serving.serve_tcp(listener, stop, spawned).await });
        Self {
            film,
            archive,
            server,
            address,
            visible,
            gate,
            _publisher: publisher,
            token,
            tasks,
            folder,
        }
    }

    /// Ends the sessions that a token was shown for.
    pub fn end_session(&self, token: &str) {
        for (_, end) in self.gate.0.lock().iter().filter(|(shown, _)| shown == token) {
            end.send_replace(Some(Problem::new(ProblemKind::TokenRevoked, "taken away")));
        }
    }

    /// Loses the file of the segment that was recorded as the `n`-th, counted from 0.
    pub fn lose(&self, n: usize) {
        std::fs::remove_file(&files(self.folder.path())[n]).expect("removed");
    }

    /// A connection that holds so many bytes of either side that the other has not read, and the
    /// task that serves it.
    pub fn dial(&self, room: usize) -> (DuplexStream, JoinHandle<()>) {
        let (ours, theirs) = tokio::io::duplex(room);
        let remote = "127.0.0.1:9".parse().expect("valid");
        let peer = Peer {
            remote,
            local: remote,
            bearer: TokenBearer::Address { ip: remote.ip() },
            // Another carrier: no UDP beside it.
            transport: MediaTransport::Quic,
            account: remote.ip(),
            path_is_told: true,
        };
        let serving = self.server.serve_stream(theirs, peer, self.token.child_token());
        (ours, self.tasks.spawn(serving))
    }

    /// The URL of a span, in the words of the film: seconds from its start.
    pub fn url(&self, from_s: f64, to_s: Option<f64>) -> String {
        let time = |seconds: f64| {
            let at = UnixMicros(super::film::START.0 + (seconds * 1e6) as i64);
            sightline_rtsp::server::Span { from: at, to: None }.to_string().replace('-', "")
        };
        let to = to_s.map(time).unwrap_or_default();
        format!("rtsp://{}/0/main/{}-{to}?token=owner", self.address, time(from_s))
    }

    /// Plays over TCP.
    pub async fn play(&self, url: &str, replay: client::Replay) -> Viewer<TcpStream> {
        let socket = TcpStream::connect(self.address).await.expect("listens");
        Viewer::new(socket, url, replay)
    }

    pub fn tasks(&self) -> (CancellationToken, TaskTracker) {
        (self.token.clone(), self.tasks.clone())
    }

    /// Everything ends by itself when asked to.
    pub async fn stop(self) {
        self.token.cancel();
        self.tasks.close();
        tokio::time::timeout(PATIENCE, self.tasks.wait()).await.expect("all tasks end");
        self.film.store.close().await;
    }
}

/// Our own client on a stream of bytes.
pub struct Viewer<S> {
    pub client: Client,
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
}

impl<S: AsyncRead + AsyncWrite> Viewer<S> {
    pub fn new(stream: S, url: &str, replay: client::Replay) -> Self {
        let options = client::Options {
            replay: Some(replay),
            ..client::Options::new(url.parse().expect("valid"))
        };
        let mut client = Client::new(options);
        client.start(Instant::now());
        let (reader, writer) = tokio::io::split(stream);
        Self { client, reader, writer }
    }

    pub async fn next(&mut self) -> Event {
        tokio::time::timeout(PATIENCE, self.event()).await.expect("in time")
    }

    async fn event(&mut self) -> Event {
        let mut buffer = [0; 4_096];
        loop {
            while let Some(output) = self.client.poll_output() {
                match output {
                    Output::Send(bytes) => self.writer.write_all(&bytes).await.expect("open"),
                    Output::Event(event) => return event,
                }
            }
            let count = self.reader.read(&mut buffer).await.expect("open");
            assert!(count > 0, "the server closed without a word");
            self.client.handle_input(&buffer[..count], Instant::now(), UnixMicros(0));
        }
    }

    /// The next unit; none at the end.
    pub async fn unit(&mut self) -> Option<AccessUnit> {
        loop {
            match self.next().await {
                Event::Unit(unit) => return Some(unit),
                Event::Described(_) | Event::Playing | Event::Paused | Event::Packet(..) => {}
                Event::Ended => return None,
                Event::Failed(error) => panic!("{error}"),
            }
        }
    }

    /// Everything until the end.
    pub async fn all(mut self) -> Vec<AccessUnit> {
        let mut units = Vec::new();
        while let Some(unit) = self.unit().await {
            units.push(unit);
        }
        units
    }
}
