//! Candidates of both ends, and which pair of them carries the media.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use sightline_model::Rung;
use sightline_p2p_net::p2p::is_usable;
use str0m::{Candidate, CandidateKind, net::Transmit};

use super::{
    super::feed::Feeds,
    Now, Session,
    follow::{Pair, Sign},
    path::{self, Around},
};

/// Candidates of the viewer that are taken.
const REMOTE_CANDIDATES: usize = 64;

impl Session {
    /// A candidate that the viewer found later.
    pub(in crate::webrtc) fn remote_candidate(&mut self, line: &str, now: Now, feeds: &mut Feeds) {
        let line = line.trim().trim_start_matches("a=");
        if let Ok(candidate) = Candidate::from_sdp_string(line)
            && self.note(&candidate)
        {
            self.translate(line);
            self.rtc.add_remote_candidate(candidate);
            self.step(now, feeds);
        }
    }

    /// A candidate of an offer, which the library has read itself.
    pub(super) fn offered_candidate(&mut self, line: &str) {
        if let Ok(candidate) = Candidate::from_sdp_string(line)
            && self.note(&candidate)
        {
            self.translate(line);
        }
    }

    fn note(&mut self, candidate: &Candidate) -> bool {
        let taken = self.remotes.len() < REMOTE_CANDIDATES
            && is_usable(candidate.addr())
            && !self.remotes.contains(candidate);
        if taken {
            self.remotes.push(candidate.clone());
        }
        taken
    }

    /// On a network that has IPv6 alone, a viewer's address of IPv4 is reached through the NAT64.
    fn translate(&mut self, line: &str) {
        let Some(nat64) = self.around.nat64 else { return };
        let mut words: Vec<String> = line.split(' ').map(ToOwned::to_owned).collect();
        let Some(word) = words.get_mut(4) else { return };
        let Ok(IpAddr::V4(ip)) = word.parse() else { return };
        *word = nat64.synthesize(ip).to_string();
        if let Ok(candidate) = Candidate::from_sdp_string(&words.join(" "))
            && self.note(&candidate)
        {
            self.rtc.add_remote_candidate(candidate);
        }
    }

    /// A further address of ours; `extension` is told to the viewer with it.
    pub(in crate::webrtc) fn local_candidate(
        &mut self,
        candidate: &Candidate,
        extension: &str,
        now: Now,
        feeds: &mut Feeds,
    ) {
        if !self.locals.contains(candidate) {
            self.locals.push(candidate.clone());
        }
        if let Some(candidate) = self.rtc.add_local_candidate(candidate.clone()) {
            // A candidate of more than a full queue is lost, as RFC 8838 allows.
            let line = candidate.to_sdp_string();
            let line = path::told(&line, self.restarts);
            let _ = self.candidate_tx.try_send(line.into_owned() + extension);
        }
        self.step(now, feeds);
    }

    /// Where a NAT64 shows a socket of ours. The library does not know of it.
    pub(in crate::webrtc) fn tell_translated(&mut self, address: SocketAddr) {
        let ufrag = self.rtc.direct_api().local_ice_credentials().ufrag;
        let line = path::translated(address, &ufrag);
        let _ = self.candidate_tx.try_send(path::told(&line, self.restarts).into_owned());
    }

    /// An address of ours that is no more.
    pub(in crate::webrtc) fn drop_local(
        &mut self,
        candidate: &Candidate,
        now: Now,
        feeds: &mut Feeds,
    ) {
        self.locals.retain(|known| known != candidate);
        self.relays.remove(&candidate.addr());
        self.rtc.direct_api().invalidate_candidate(candidate);
        self.step(now, feeds);
    }

    /// Other sockets for the restart of ICE that follows at once; what is being sent goes on over
    /// the old ones until a new pair works.
    pub(super) fn move_to(&mut self, candidates: &[Candidate]) {
        let old = self.locals.extract_if(.., |own| own.kind() != CandidateKind::Relayed);
        for own in old.collect::<Vec<_>>() {
            self.rtc.direct_api().invalidate_candidate(&own);
        }
        for own in candidates {
            self.rtc.add_local_candidate(own.clone());
            self.locals.push(own.clone());
        }
    }

    /// From where media is sent.
    pub(in crate::webrtc) fn sends_from(&self) -> Option<SocketAddr> {
        self.sending.map(|(from, _)| from)
    }

    /// To where media is sent.
    #[cfg(test)]
    pub(in crate::webrtc) fn sends_to(&self) -> Option<SocketAddr> {
        self.sending.map(|(_, to)| to)
    }

    /// A place of ours at a relay.
    pub(in crate::webrtc) fn relayed(
        &mut self,
        candidate: &Candidate,
        rung: Rung,
        now: Now,
        feeds: &mut Feeds,
    ) {
        self.relays.insert(candidate.addr(), rung);
        self.local_candidate(candidate, path::via(rung), now, feeds);
    }

    /// What has become known of the network.
    pub(in crate::webrtc) fn set_around(&mut self, around: &Arc<Around>) {
        self.around = Arc::clone(around);
    }

    /// Whether ICE has a pair that works.
    pub(in crate::webrtc) const fn has_path(&self) -> bool {
        self.has_path
    }

    /// Notes what came over which pair, and leaves the one in use when the viewer has.
    pub(super) fn heard(&mut self, pair: Pair, sign: Sign, now: Now) {
        let leave = self.follow.heard(pair, sign, self.sending, now.instant);
        if sign == Sign::Answer {
            self.detour(pair, now);
        }
        if !leave {
            return;
        }
        let Some(old) = self.sending else { return };
        tracing::debug!(session = %self.id, "the viewer has gone over to another path");
        if !self.has_path {
            // ICE has just started over and knows the old pair no more. It will come to the new one
            // with its next check, which may take as long as a browser's patience.
            self.detour = Some(pair);
            return;
        }
        if pair.1 == old.1 {
            self.forget_local(old);
        } else {
            self.forget_remote(old);
        }
    }

    /// While a restarted ICE waits for the viewer's choice and the old way is silent, media goes
    /// where a check was answered: any valid pair may carry it (RFC 8445 section 12.1), and browsers
    /// take seconds to choose. A direct pair takes the place of a relayed one.
    fn detour(&mut self, pair: Pair, now: Now) {
        let restarted = !self.has_path && self.video.is_some() && self.is_connected();
        let Some(old) = self.sending.filter(|_| restarted) else { return };
        let better = match self.detour {
            Some(taken) => self.is_relayed(taken) && !self.is_relayed(pair),
            None => self.follow.is_silent(old, now.instant),
        };
        if better {
            self.detour = Some(pair);
            // The viewer has missed pictures, and cannot say so yet.
            if let Some(video) = &mut self.video {
                video.keyframe_requested(now);
            }
        }
    }

    fn is_relayed(&self, pair: Pair) -> bool {
        self.relays.contains_key(&pair.0) || self.kind_of(pair) == Some(CandidateKind::Relayed)
    }

    /// Whether media leaves by a place of ours at a relay.
    pub(in crate::webrtc) fn is_over_own_relay(&self) -> bool {
        self.sending.is_some_and(|(from, _)| self.relays.contains_key(&from))
    }

    /// Whether the viewer is still heard over the way that media takes, so that a restarted ICE can
    /// take its time.
    pub(in crate::webrtc) fn is_carried(&self, now: Now) -> bool {
        self.sending.is_some_and(|pair| !self.follow.is_silent(pair, now.instant))
    }

    /// Where a datagram is to go.
    pub(super) fn route(&mut self, mut transmit: Transmit) -> Transmit {
        let media = transmit.contents.first().is_some_and(|first| *first >= 20);
        if let Some((from, to)) = self.detour.filter(|_| media && !self.has_path) {
            (transmit.source, transmit.destination) = (from, to);
        }
        self.note_path(&transmit);
        transmit
    }

    /// Takes all pairs with the viewer's address of this one from the library, and gives them back
    /// as untried.
    fn forget_remote(&mut self, (_, remote): Pair) {
        // One that the library has found by itself; RFC 8445 section 7.3.1.3.
        let reflexive = format!("candidate:1 1 udp 1 {} {} typ prflx", remote.ip(), remote.port());
        let reflexive = Candidate::from_sdp_string(&reflexive).ok();
        let known = self.remotes.iter().filter(|c| c.addr() == remote).cloned();
        let known: Vec<Candidate> = known.chain(reflexive).collect();
        let mut is_known = false;
        for candidate in &known {
            is_known |= self.rtc.direct_api().invalidate_candidate(candidate);
        }
        if let Some(candidate) = known.into_iter().next().filter(|_| is_known) {
            self.rtc.add_remote_candidate(candidate);
        }
    }

    /// The same with our own address of this pair.
    fn forget_local(&mut self, (local, _): Pair) {
        let known: Vec<Candidate> =
            self.locals.iter().filter(|c| c.addr() == local).cloned().collect();
        for candidate in known {
            if self.rtc.direct_api().invalidate_candidate(&candidate) {
                self.rtc.add_local_candidate(candidate);
            }
        }
    }

    /// Learns from what is sent which path the media takes.
    fn note_path(&mut self, transmit: &Transmit) {
        // RFC 9443: below 20 is STUN, which goes everywhere.
        let media = transmit.contents.first().is_some_and(|first| *first >= 20);
        let pair = (transmit.source, transmit.destination);
        if !media || self.sending == Some(pair) {
            return;
        }
        self.sending = Some(pair);
        let kind = self.kind_of(pair);
        let report = path::report(pair, kind, &self.relays, &self.around);
        self.admission.path.send_replace(Some(report));
    }

    fn kind_of(&self, (_, remote): Pair) -> Option<CandidateKind> {
        self.remotes.iter().find(|c| c.addr() == remote).map(Candidate::kind)
    }
}
