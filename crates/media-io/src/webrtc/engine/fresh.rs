//! Fresh sockets for sessions that look for another path.
//!
//! Some carriers' NATs end a mapping at a fixed age, however much it is used. A viewer that restarts
//! ICE shortly before that has to be met by a mapping that is young, so the session moves to a
//! socket of its own time; the old one goes on carrying until the new one works. Where no NAT is,
//! or a gateway maps the fixed port, there is nothing to be won and the session stays.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use str0m::{Candidate, CandidateKind, net::Protocol};

use super::{
    super::{session::Now, sockets::Socket},
    Task, guarded,
};

/// Sessions that restart within this time share sockets. A viewer that tries again because nothing
/// came of it, after 2 s, gets others: the port that the router has given may be the reason.
const SHARED: Duration = Duration::from_millis(1_500);
/// How long a viewer may take to go over to sockets that it was told. It asks for others long before,
/// when these do not work.
const GOING_OVER: Duration = Duration::from_secs(10);
/// Sets of fresh sockets that are kept without being used.
const KEPT: usize = 2;
/// Most of them; then the newest is used, however old it is.
const MOST: usize = 8;

/// Sockets of one time, one for each of the fixed ones.
#[derive(Clone)]
pub(super) struct Fresh {
    pub(super) number: u64,
    pub(super) born: Instant,
    /// When a session was last given them.
    told: Instant,
    sockets: Vec<SocketAddr>,
    pub(super) candidates: Vec<Candidate>,
    /// Where a NAT64 shows them.
    pub(super) translated: Vec<SocketAddr>,
}

impl Task {
    /// Where a session that restarts ICE should move to.
    pub(super) fn fresh_for_restart(&mut self, now: Now) -> Option<Fresh> {
        if !self.local.mapped.is_empty() || !self.is_translated() {
            return None;
        }
        let young = |set: &&Fresh| now.instant.saturating_duration_since(set.born) < SHARED;
        if self.fresh.last().filter(young).is_none() {
            self.retire_unused(now);
            if self.fresh.len() < MOST {
                self.open_fresh(now);
            }
        }
        let set = self.fresh.last_mut()?;
        set.told = now.instant;
        Some(set.clone())
    }

    /// One that no set has, nor any session that still goes by the number of a set that is closed.
    fn next_number(&self) -> u64 {
        let open = self.fresh.iter().map(|set| set.number);
        let told = self.seats.values().filter_map(|seat| seat.fresh);
        open.chain(told).max().map_or(1, |last| last + 1)
    }

    /// Since when a router has mapped these sockets, or the fixed ones, as far as it is known.
    pub(super) fn mapped_since(&self, fresh: Option<u64>) -> Option<Instant> {
        let set = self.fresh.iter().find(|set| Some(set.number) == fresh);
        if let Some(set) = set {
            return Some(set.born);
        }
        if !self.local.mapped.is_empty() || !self.is_translated() {
            return None;
        }
        let is_fixed = |socket| !self.fresh.iter().any(|set| set.sockets.contains(&socket));
        self.stun.mapped_since(is_fixed)
    }

    /// Whether a server sees this unit under an address that is not its own.
    pub(super) fn is_translated(&self) -> bool {
        let own = |seen: &SocketAddr| self.local.host.iter().any(|host| host.ip() == seen.ip());
        self.stun.seen().any(|seen| !own(seen))
    }

    fn open_fresh(&mut self, now: Now) {
        let mut set = Fresh {
            number: self.next_number(),
            born: now.instant,
            told: now.instant,
            sockets: Vec::new(),
            candidates: Vec::new(),
            translated: Vec::new(),
        };
        for fixed in &self.config.bind {
            let socket = match Socket::open(SocketAddr::new(fixed.ip(), 0)) {
                Ok(socket) => socket,
                Err(error) => {
                    tracing::warn!(%error, "no fresh socket");
                    continue;
                }
            };
            let local = socket.local;
            let specific = (!local.ip().is_unspecified()).then_some(local.ip());
            let machine = self.local.host.iter().map(SocketAddr::ip);
            let hosts = machine.filter(|ip| {
                ip.is_ipv4() == local.is_ipv4() && specific.is_none_or(|only| only == *ip)
            });
            let made = hosts.map(|ip| SocketAddr::new(ip, local.port()));
            set.candidates.extend(made.filter_map(|at| Candidate::host(at, Protocol::Udp).ok()));
            set.sockets.push(local);
            self.sockets.push(socket);
        }
        if !set.candidates.is_empty() {
            self.fresh.push(set);
        }
    }

    /// Closes the oldest sets of which no session sends from any socket, nor is about to.
    fn retire_unused(&mut self, now: Now) {
        while self.fresh.len() >= KEPT {
            let used = |set: &Fresh| {
                let since = now.instant.saturating_duration_since(set.told);
                let awaited = || self.seats.values().any(|seat| seat.fresh == Some(set.number));
                let from = self.seats.values().filter_map(|seat| seat.session.sends_from());
                set.sockets.iter().any(|socket| from.clone().any(|at| is_from(*socket, at)))
                    || (since < GOING_OVER && awaited())
            };
            let Some(at) = self.fresh.iter().position(|set| !used(set)) else { return };
            let gone = self.fresh.remove(at);
            self.sockets.retain(|socket| !gone.sockets.contains(&socket.local));
            self.stun.forget(&gone.sockets);
        }
    }

    /// A server sees a fresh socket at `mapped`: the sessions there tell their viewers. False when
    /// the socket is one of the fixed ones.
    pub(super) fn fresh_told(&mut self, socket: SocketAddr, mapped: SocketAddr, now: Now) -> bool {
        let Some(set) = self.fresh.iter_mut().find(|set| set.sockets.contains(&socket)) else {
            return false;
        };
        let mut hosts = set.candidates.iter().filter(|c| c.kind() == CandidateKind::Host);
        let base = hosts.find(|c| is_from(socket, c.addr())).map(Candidate::addr);
        let known = set.candidates.iter().any(|c| c.addr() == mapped);
        let Some(base) = base.filter(|_| !known) else { return true };
        let number = set.number;
        let Ok(candidate) = Candidate::server_reflexive(mapped, base, Protocol::Udp) else {
            if self.local.nat64.is_some() && !set.translated.contains(&mapped) {
                set.translated.push(mapped);
                for seat in self.seats.values_mut().filter(|seat| seat.fresh == Some(number)) {
                    guarded(seat, &mut self.stats, |session| session.tell_translated(mapped));
                }
            }
            return true;
        };
        set.candidates.push(candidate.clone());
        for seat in self.seats.values_mut().filter(|seat| seat.fresh == Some(number)) {
            guarded(seat, &mut self.stats, |session| {
                session.local_candidate(&candidate, "", now, &mut self.feeds);
            });
        }
        true
    }

    /// All own addresses that viewers know.
    pub(super) fn bases(&self) -> impl Iterator<Item = SocketAddr> + Clone + '_ {
        let fresh = self.fresh.iter().flat_map(|set| &set.candidates);
        self.candidates.iter().map(|(candidate, _)| candidate).chain(fresh).map(Candidate::local)
    }
}

/// Whether what leaves from this address leaves by this socket.
pub(super) fn is_from(socket: SocketAddr, at: SocketAddr) -> bool {
    socket.port() == at.port() && socket.is_ipv4() == at.is_ipv4()
}

#[cfg(test)]
pub(super) mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use sightline_media::ring::Limits;
    use sightline_model::{Capabilities, ChannelId, MediaSessionId, Rights, UnixMicros};
    use sightline_protocol::sc::TokenGrant;
    use tokio::sync::{mpsc, watch};
    use tokio_util::{sync::CancellationToken, task::TaskTracker};

    use super::{super::Parts, *};
    use crate::{
        camera::{Camera, Cameras},
        gate::Admission,
        hub::Hub,
        webrtc::{LocalCandidates, NoTranscoder, OfferRequest, Sources, WebrtcConfig},
    };

    const CHANNEL: ChannelId = ChannelId(1);

    /// The task of an engine, without its loop.
    pub(in super::super) fn task(cameras: Cameras) -> Task {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let parts = Parts {
            config: WebrtcConfig { bind: vec![loopback], ..WebrtcConfig::default() },
            local: LocalCandidates { host: vec![loopback], ..LocalCandidates::default() },
            sources: Sources { cameras, quality: Arc::new(NoTranscoder), archive: None },
            token: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let (commands, inbox) = mpsc::channel(8);
        Task::new(parts, inbox, commands.downgrade()).expect("loopback is there")
    }

    /// One with a camera, and behind a NAT.
    fn behind_a_nat(now: Now) -> Task {
        let (_, main) = Hub::new(Limits::default());
        let camera = Camera { channel: CHANNEL, name: "Yard".into(), main, sub: None };
        let mut task = task(BTreeMap::from([(CHANNEL, camera)]).into());
        let fixed = task.sockets.first().expect("it is bound").local;
        let (server, seen) = (([192, 0, 2, 1], 3_478).into(), ([203, 0, 113, 9], 4_000).into());
        task.told(fixed, server, seen, now);
        task
    }

    /// A browser's offer for picture, sound and data (RFC 9429 section 7.2).
    fn sdp(ufrag: &str) -> String {
        let transport = format!(
            "c=IN IP4 0.0.0.0\na=ice-ufrag:{ufrag}\na=ice-pwd:0123456789abcdef01234567\n\
             a=ice-options:trickle\na=fingerprint:sha-256 {}\na=setup:actpass\n",
            ["AB"; 32].join(":")
        );
        format!(
            "v=0\no=- 4611731400430051336 2 IN IP4 127.0.0.1\ns=-\nt=0 0\n\
             a=group:BUNDLE 0 1 2\na=extmap-allow-mixed\na=msid-semantic: WMS\n\
             m=video 9 UDP/TLS/RTP/SAVPF 103 104\n{transport}a=mid:0\n\
             a=extmap:4 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\n\
             a=recvonly\na=rtcp-mux\na=rtcp-rsize\na=rtpmap:103 H264/90000\n\
             a=rtcp-fb:103 transport-cc\na=rtcp-fb:103 nack\na=rtcp-fb:103 nack pli\n\
             a=fmtp:103 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\n\
             a=rtpmap:104 rtx/90000\na=fmtp:104 apt=103\n\
             m=audio 0 UDP/TLS/RTP/SAVPF 111 0\n{transport}a=mid:1\na=bundle-only\na=recvonly\n\
             a=rtcp-mux\na=rtpmap:111 opus/48000/2\na=rtpmap:0 PCMU/8000\n\
             m=application 0 UDP/DTLS/SCTP webrtc-datachannel\n{transport}a=mid:2\n\
             a=bundle-only\na=sctp-port:5000\na=max-message-size:262144\n"
        )
    }

    fn offer(task: &mut Task, session: &MediaSessionId, ufrag: &str, now: Now) {
        let grant = TokenGrant {
            domain: "example.org".parse().expect("a name"),
            user: "u1".parse().expect("an id"),
            session: session.clone(),
            channel: CHANNEL,
            rights: Rights::default(),
            capabilities: Capabilities::default(),
            expires_at: UnixMicros(i64::MAX),
        };
        let (ended, path) = (watch::channel(None).1, watch::channel(None).0);
        let request = OfferRequest {
            session: session.clone(),
            sdp: sdp(ufrag),
            admission: Admission { grant, ended, path },
            ice_servers: Vec::new(),
            candidate_tx: mpsc::channel(8).0,
        };
        task.offer(request, now).expect("answered");
    }

    /// A viewer restarts ICE: the number of the sockets that it is told.
    fn restart(task: &mut Task, name: &str, now: Now) -> u64 {
        let session = name.parse().expect("an id");
        if !task.seats.contains_key(&session) {
            offer(task, &session, "begin", now);
        }
        offer(task, &session, &format!("u{}", now.unix.0), now);
        let seat = task.seats.get(&session).expect("it has begun");
        seat.fresh.expect("the unit is behind a NAT")
    }

    fn after(start: Now, time: Duration) -> Now {
        Now { instant: start.instant + time, unix: start.unix.plus(time) }
    }

    fn numbers(task: &Task) -> Vec<u64> {
        task.fresh.iter().map(|set| set.number).collect()
    }

    #[tokio::test]
    async fn sockets_that_a_viewer_was_told_stay_while_it_may_go_over() {
        let start = Now::read();
        let mut task = behind_a_nat(start);
        for (name, seconds) in [("a", 0), ("b", 2), ("c", 4)] {
            restart(&mut task, name, after(start, Duration::from_secs(seconds)));
        }
        assert_eq!(numbers(&task), [1, 2, 3]);
        // The first two have not gone over in time.
        let late = after(start, GOING_OVER + Duration::from_secs(3));
        restart(&mut task, "d", late);
        assert_eq!(numbers(&task), [3, 4]);
        assert_eq!(task.sockets.len(), 3, "the fixed one, and one for each set");
        // One that asks again goes by the newer ones alone.
        restart(&mut task, "d", after(late, SHARED));
        restart(&mut task, "d", after(late, SHARED * 2));
        assert!(!numbers(&task).contains(&4), "{:?}", numbers(&task));
    }

    #[tokio::test]
    async fn a_closed_sets_number_is_not_given_to_another_while_a_session_goes_by_it() {
        let start = Now::read();
        let mut task = behind_a_nat(start);
        restart(&mut task, "a", start);
        assert_eq!(restart(&mut task, "b", after(start, SHARED)), 2);
        task.fresh.pop();
        assert_eq!(restart(&mut task, "c", after(start, SHARED * 2)), 3);
    }
}
