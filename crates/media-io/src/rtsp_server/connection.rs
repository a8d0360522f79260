//! One connection of a player: moves bytes between its socket, the protocol core and the hub.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::{Buf, Bytes, BytesMut};
use sightline_media::{AccessUnit, StreamDescription};
use sightline_model::{DeviceKind, Right, SessionToken, UnixMicros};
use sightline_protocol::{
    Problem, flow,
    pc::{MediaTransport, PathReport},
};
use sightline_rtsp::{
    TrackKind, depacketize,
    server::{Carriage, Config, Grant, Output, Resource, Server},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::{
    CameraDirectory, LAST_WORDS, Peer, Shared,
    places::{Admitted, AdmittedOne},
    playback::{Looking, Playback},
    udp::Pair,
    waiting::{checked, ended, heard, looked, next_of, recorded, sleep_until},
};
use crate::{
    archive::{ArchiveError, Event, Look},
    gate::{Admission, BoxFuture},
    hub::{Next, Reader, SourceState},
};

/// Unsent bytes above which no more is taken, neither media nor requests.
const MAX_UNSENT: usize = 128 << 10;
/// Most bytes read from the player at once.
const READ_SIZE: usize = 8 << 10;
/// Pace of RTP over UDP: a whole group of pictures at once would overflow the player's socket.
const UDP_BYTES_PER_MS: usize = 8_000;

/// See the module.
pub(super) struct Connection<S> {
    pub(super) shared: Arc<Shared>,
    peer: Peer,
    pub(super) server: Server,
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    received: BytesMut,
    pub(super) unsent: BytesMut,
    pending: Option<BoxFuture<'static, Result<Admission, Problem>>>,
    admission: Option<Admission>,
    /// Tells our carrier of the admission.
    counted: Option<AdmittedOne>,
    admitted: Admitted,
    pub(super) playing: Option<Playing>,
    /// What is looked up in the recordings for the player.
    pub(super) looking: Option<Looking>,
    /// What is played of them.
    pub(super) playback: Option<Playback>,
    pub(super) pairs: BTreeMap<TrackKind, Pair>,
    /// No progress in writing since.
    pub(super) stalled: Instant,
    closing: Option<Instant>,
}

pub(super) struct Playing {
    pub(super) reader: Reader,
    described: Option<Arc<StreamDescription>>,
    report_at: Instant,
    paced_until: Instant,
    begun: bool,
    /// The camera is offline: what the hub still holds was sent before.
    away: bool,
}

/// What woke the connection.
enum Woken {
    Cancelled,
    Ended(Problem),
    Checked(Result<Admission, Problem>),
    Read(std::io::Result<usize>),
    Written(std::io::Result<usize>),
    Media(Next),
    Looked(Result<Look, ArchiveError>),
    Recorded(Event),
    Heard(bool),
    Time,
}

impl<S: AsyncRead + AsyncWrite + Send + 'static> Connection<S> {
    pub(super) fn new(
        shared: Arc<Shared>,
        peer: Peer,
        admitted: Admitted,
        // What was read already comes last.
        (reader, writer, received): (ReadHalf<S>, WriteHalf<S>, BytesMut),
    ) -> Self {
        let now = Instant::now();
        let mut config = Config::new(peer.remote.ip().to_canonical());
        config.udp = shared.options.udp && peer.transport == MediaTransport::RtspTcp;
        config.archive = shared.archive.is_some();
        config.session_timeout = shared.options.session_timeout;
        Self {
            server: Server::new(config, Box::new(rand::random::<u64>), now),
            shared,
            peer,
            reader,
            writer,
            received,
            unsent: BytesMut::new(),
            pending: None,
            admission: None,
            counted: None,
            admitted,
            playing: None,
            looking: None,
            playback: None,
            pairs: BTreeMap::new(),
            stalled: now,
            closing: None,
        }
    }

    pub(super) async fn run(mut self, token: CancellationToken) {
        if !self.received.is_empty() {
            let early = self.received.len();
            self.handle(Woken::Read(Ok(early)));
        }
        loop {
            self.drain();
            let now = Instant::now();
            match self.closing {
                Some(_) if self.unsent.is_empty() => break,
                Some(until) if until <= now => break,
                Some(_) | None => {}
            }
            let woken = self.wait(&token).await;
            if !self.handle(woken) {
                break;
            }
        }
        super::close(self.reader, self.writer).await;
    }

    async fn wait(&mut self, token: &CancellationToken) -> Woken {
        let deadline = self.deadline();
        let open = self.closing.is_none();
        let wants_input = open && self.server.wants_input() && self.unsent.len() < MAX_UNSENT;
        let Self {
            reader,
            writer,
            received,
            unsent,
            pending,
            admission,
            playing,
            looking,
            playback,
            pairs,
            ..
        } = self;
        let room = unsent.len() < MAX_UNSENT;
        let playback = playback.as_mut().filter(|p| open && room && p.is_ready(Instant::now()));
        let media = playing.as_mut().filter(|p| open && room && p.paced_until <= Instant::now());
        received.clear();
        received.reserve(READ_SIZE);
        let mut limited = reader.take(READ_SIZE as u64);
        tokio::select! {
            () = token.cancelled(), if open => Woken::Cancelled,
            problem = ended(admission), if open => Woken::Ended(problem),
            result = checked(pending), if open => Woken::Checked(result),
            written = writer.write(unsent), if !unsent.is_empty() => Woken::Written(written),
            read = limited.read_buf(received), if wants_input => Woken::Read(read),
            next = next_of(media), if open => Woken::Media(next),
            look = looked(looking), if open => Woken::Looked(look),
            event = recorded(playback), if open => Woken::Recorded(event),
            valid = heard(pairs), if open => Woken::Heard(valid),
            () = sleep_until(deadline) => Woken::Time,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        if self.closing.is_some() {
            return self.closing;
        }
        let stall =
            (!self.unsent.is_empty()).then(|| self.stalled + self.shared.options.write_stall);
        let now = Instant::now();
        let playing = self.playing.as_ref();
        let report = playing.filter(|p| p.begun).map(|p| p.report_at);
        let paced = playing.map(|p| p.paced_until).filter(|until| *until > now);
        let replayed = self.playback.as_ref().and_then(|p| p.deadline(now));
        [self.server.poll_timeout(), stall, report, paced, replayed].into_iter().flatten().min()
    }

    /// Acts on what happened; `false` ends the connection at once.
    fn handle(&mut self, woken: Woken) -> bool {
        let now = Instant::now();
        match woken {
            Woken::Cancelled => self.end(),
            Woken::Ended(problem) => {
                info!(kind = ?problem.kind, "RTSP session ended");
                self.set_admission(None);
                self.end();
            }
            Woken::Checked(result) => self.checked(result, now),
            Woken::Read(Err(_)) => return false,
            // It asks for nothing more, and may still wait for its answer.
            Woken::Read(Ok(0)) => self.end(),
            Woken::Read(Ok(_)) => {
                let received = self.received.split();
                let directory = CameraDirectory(&self.shared.cameras);
                self.server.handle_input(&received, &directory, now);
            }
            Woken::Written(Ok(0) | Err(_)) => return false,
            Woken::Written(Ok(count)) => {
                self.unsent.advance(count);
                self.stalled = now;
            }
            Woken::Media(next) => self.media(next, now),
            Woken::Looked(look) => self.looked(look),
            Woken::Recorded(event) => self.recorded(event, now),
            Woken::Heard(valid) => {
                if valid {
                    self.server.heard(now);
                }
            }
            Woken::Time => return self.time(now),
        }
        true
    }

    fn time(&mut self, now: Instant) -> bool {
        if self.closing.is_none()
            && !self.unsent.is_empty()
            && self.stalled + self.shared.options.write_stall <= now
        {
            debug!("the player takes nothing more");
            return false;
        }
        if self.playing.as_ref().is_some_and(|p| p.begun && p.report_at <= now) {
            self.report(now);
        }
        self.playback_time(now);
        self.server.handle_timeout(now);
        true
    }

    pub(super) fn end(&mut self) {
        self.say_goodbye();
        self.server.end();
    }

    /// Inside the connection the server says it.
    pub(super) fn say_goodbye(&mut self) {
        for track in self.server.tracks_mut() {
            if let Some(pair) = self.pairs.get(&track.kind) {
                let mut bye = BytesMut::new();
                track.write_bye(&mut bye);
                pair.send_control(&bye);
            }
        }
    }

    pub(super) fn drain(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Send(bytes) => self.queue(&bytes),
                Output::Admit(token) => self.check(token),
                Output::OpenUdp { kind, rtp, rtcp } => self.open_udp(kind, rtp, rtcp),
                Output::Play(resource) => self.play(resource),
                Output::LookUp(resource) => self.look_up(resource),
                Output::Replay(wish) => self.replay(wish),
                Output::Pause => {
                    self.playing = None;
                    self.pause_playback();
                }
                Output::Teardown => {
                    (self.playing, self.playback) = (None, None);
                    self.pairs.clear();
                    if let Some(admission) = &self.admission {
                        admission.path.send_replace(None);
                    }
                }
                Output::Close => {
                    (self.playing, self.playback, self.looking) = (None, None, None);
                    self.closing.get_or_insert(Instant::now() + LAST_WORDS);
                }
            }
        }
    }

    fn queue(&mut self, bytes: &Bytes) {
        if self.unsent.is_empty() {
            self.stalled = Instant::now();
        }
        self.unsent.extend_from_slice(bytes);
    }

    fn check(&mut self, token: SessionToken) {
        self.set_admission(None);
        let (gate, bearer) = (Arc::clone(&self.shared.gate), self.peer.bearer.clone());
        let from = self.peer.remote.ip().to_canonical();
        self.pending = Some(Box::pin(async move { gate.admit_from(&token, bearer, from).await }));
    }

    fn set_admission(&mut self, admission: Option<Admission>) {
        self.counted = admission.is_some().then(|| self.admitted.one());
        self.admission = admission;
    }

    fn said(&self, message: &'static str, session: &str) {
        let device = self.shared.options.device;
        let interface = if device == DeviceKind::Nvr { "Nc" } else { "Pc" };
        flow::sent(interface, device.unit(), "CU", message, session);
    }

    fn checked(&mut self, result: Result<Admission, Problem>, now: Instant) {
        self.pending = None;
        let result = match result {
            Ok(admission) => {
                let rights = &admission.grant.rights;
                let grant = Grant {
                    channel: admission.grant.channel,
                    view: rights.allows(Right::View),
                    listen: rights.allows(Right::Listen),
                    playback: rights.allows(Right::Playback),
                };
                self.said("media_response", admission.grant.session.as_str());
                self.set_admission(Some(admission));
                Ok(grant)
            }
            Err(problem) => {
                self.said("media_refused", "");
                info!(kind = ?problem.kind, "play token refused");
                Err((problem.kind.status(), problem.detail))
            }
        };
        let directory = CameraDirectory(&self.shared.cameras);
        self.server.admitted(result, &directory, now);
    }

    fn open_udp(&mut self, kind: TrackKind, rtp: SocketAddr, rtcp: SocketAddr) {
        let local = self.peer.local.ip().to_canonical();
        let opened = self.shared.udp.open(local, rtp, rtcp).and_then(|pair| {
            let address = pair.local()?;
            self.pairs.insert(kind, pair);
            Ok(address)
        });
        if let Err(error) = &opened {
            debug!(%error, "no UDP ports for RTP");
        }
        let directory = CameraDirectory(&self.shared.cameras);
        self.server.udp_opened(opened.ok(), &directory, Instant::now());
    }

    fn play(&mut self, resource: Resource) {
        let Some(camera) = self.shared.cameras.get(&resource.channel) else { return };
        let hub = camera.hub(resource.tier);
        let now = Instant::now();
        self.playback = None;
        let described = hub.state().description().cloned();
        hub.request_keyframe();
        let reader = hub.subscribe();
        // Looked at after subscribing: the reader reports every later change.
        let away = hub.state().description().is_none();
        self.playing = Some(Playing {
            reader,
            described,
            report_at: now,
            paced_until: now,
            begun: false,
            away,
        });
        self.tell_path();
    }

    /// Which path the media takes.
    pub(super) fn tell_path(&self) {
        let transport =
            if self.pairs.is_empty() { self.peer.transport } else { MediaTransport::RtspUdp };
        if let Some(admission) = self.admission.as_ref().filter(|_| !self.peer.path_is_told) {
            let reason = "the viewer reaches the camera's own address".to_owned();
            admission.path.send_replace(Some(PathReport::new(transport, false, reason)));
        }
    }

    fn media(&mut self, next: Next, now: Instant) {
        match next {
            Next::Unit(unit) => self.unit(&unit, now),
            Next::Skipped(count) => debug!(count, "the player was too slow"),
            Next::State(SourceState::Offline(_)) => {
                if let Some(playing) = &mut self.playing {
                    playing.away = true;
                }
            }
            Next::State(SourceState::Online(stream)) => self.source_is_back(&stream),
        }
    }

    /// The session goes on, unless the player would get another coding than it was told.
    fn source_is_back(&mut self, stream: &Arc<StreamDescription>) {
        let Some(playing) = &mut self.playing else { return };
        if playing.described.as_ref().is_some_and(|d| !depacketize::same_session(d, stream)) {
            info!("the camera's coding has changed; RTSP players must ask anew");
            return self.end();
        }
        playing.described = Some(Arc::clone(stream));
        playing.away = false;
        for track in self.server.tracks_mut() {
            track.sender_mut().source_restarted();
        }
    }

    fn unit(&mut self, unit: &AccessUnit, now: Instant) {
        let Some(playing) = self.playing.as_mut().filter(|p| !p.away) else { return };
        let tracks = self.server.tracks_mut();
        if !playing.begun {
            for track in &mut *tracks {
                track.sender_mut().start(unit.captured_at());
            }
        }
        let Some(track) = tracks.iter_mut().find(|t| t.takes(unit)) else { return };
        if self.unsent.is_empty() {
            self.stalled = now;
        }
        match (track.carriage, self.pairs.get(&track.kind)) {
            (Carriage::Interleaved { .. }, _) => track.write(unit, &mut self.unsent, |_| {}),
            (Carriage::Udp, Some(pair)) => {
                let bytes = send_udp(pair, unit.len(), |out, lengths| {
                    track.write(unit, out, |length| lengths.push(length));
                });
                playing.paced_until = playing.paced_until.max(now) + udp_pause(bytes);
            }
            (Carriage::Udp, None) => {}
        }
        let lag = UnixMicros::from(SystemTime::now()).since(unit.captured_at());
        if lag > self.shared.options.max_lag {
            // Moves only when a newer keyframe is there.
            playing.reader.skip_to_newest_keyframe();
        }
        if !playing.begun {
            playing.begun = true;
            self.report(now);
        }
    }

    fn report(&mut self, now: Instant) {
        self.send_reports();
        if let Some(playing) = &mut self.playing {
            playing.report_at = now + self.shared.options.report_interval;
        }
    }

    pub(super) fn send_reports(&mut self) {
        for track in self.server.tracks_mut() {
            match (track.carriage, self.pairs.get(&track.kind)) {
                (Carriage::Interleaved { .. }, _) => track.write_report(&mut self.unsent),
                (Carriage::Udp, Some(pair)) => {
                    let mut report = BytesMut::new();
                    track.write_report(&mut report);
                    if !report.is_empty() {
                        pair.send_control(&report);
                    }
                }
                (Carriage::Udp, None) => {}
            }
        }
    }
}

/// Sends what `write` makes of a unit of so many bytes; how many bytes it was.
pub(super) fn send_udp(
    pair: &Pair,
    unit_len: usize,
    write: impl FnOnce(&mut BytesMut, &mut Vec<usize>),
) -> usize {
    let mut data = BytesMut::with_capacity(unit_len + unit_len / 64 + 64);
    let mut lengths = Vec::with_capacity(data.capacity() / 1_000 + 1);
    write(&mut data, &mut lengths);
    pair.send(&data, &lengths);
    data.len()
}

/// After so many bytes.
pub(super) fn udp_pause(bytes: usize) -> Duration {
    Duration::from_micros(u64::try_from(bytes * 1_000 / UDP_BYTES_PER_MS).unwrap_or(0))
}
