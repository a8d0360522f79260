//! Offers and answers: how a session begins and is renewed.

use std::{collections::HashMap, fmt::Display, time::Duration};

use super::{
    super::{
        Answer,
        control::Control,
        feed::Feeds,
        media::VideoOut,
        negotiate::{self, VideoPts, invalid},
        offer_text,
        serve::Serve,
    },
    Now, Origin, PathState, Phase, Renewal, Session,
    follow::Follow,
    path::{Own, annotate},
};
use sightline_protocol::{Problem, ProblemKind, ps};
use str0m::{
    Candidate, RtcConfig, RtcError,
    change::SdpOffer,
    media::{MediaKind, Mid},
};

fn unreadable(error: impl Display) -> Problem {
    invalid(format!("the SDP offer cannot be read: {error}"))
}

fn unanswerable(error: RtcError) -> Problem {
    invalid(format!("the SDP offer cannot be answered: {error}"))
}

impl Session {
    /// A session from its first offer, and the answer.
    pub(in crate::webrtc) fn new(
        origin: Origin<'_>,
        sdp: &str,
        now: Now,
        feeds: &mut Feeds,
    ) -> Result<(Self, Answer), Problem> {
        let channel = origin.admission.grant.channel;
        if !feeds.cameras.contains_key(&channel) {
            return Err(Problem::new(ProblemKind::NotFound, "this unit has no such camera"));
        }
        let mut rtc = negotiate::peer(origin.cert, origin.config.initial_estimate_bps, now.instant);
        for candidate in origin.candidates {
            rtc.add_local_candidate(candidate.clone());
        }
        let locals = origin.candidates.to_vec();
        let capabilities = origin.admission.grant.capabilities.clone();
        let on_demand = origin.config.live_on_demand_from.is_some_and(|first| channel >= first);
        let mut session = Self {
            id: origin.id,
            generation: origin.generation,
            rtc,
            admission: origin.admission,
            candidate_tx: origin.candidate_tx,
            offered_fingerprint: String::new(),
            offered_ufrag: String::new(),
            restarts: 0,
            phase: Phase::Connecting { until: now.instant + origin.config.connect_timeout },
            disconnect_grace: origin.config.disconnect_grace,
            initial_estimate_bps: origin.config.initial_estimate_bps,
            locals,
            remotes: Vec::new(),
            relays: HashMap::new(),
            around: origin.around,
            mapped_since: origin.mapped_since,
            sending: None,
            follow: Follow::default(),
            has_path: false,
            detour: None,
            video: None,
            audio: None,
            audio_mid: None,
            control: Control::new(now.instant),
            replay: None,
            serve: Serve::new(channel, capabilities, now, (feeds, on_demand)),
            path: PathState::default(),
            next_policy: now.instant,
            next_second: now.instant + Duration::from_secs(1),
            sent_before: 0,
            next_rtc: now.instant,
            faults: 0,
            out: Vec::new(),
        };
        let answer = session.accept(sdp, None, now, feeds)?;
        session.require_decodable()?;
        Ok((session, answer))
    }

    /// A further offer of the same viewer: ICE restart or renegotiation.
    pub(in crate::webrtc) fn renew(
        &mut self,
        renewal: Renewal<'_>,
        now: Now,
        feeds: &mut Feeds,
    ) -> Result<Answer, Problem> {
        if matches!(self.phase, Phase::Ending { .. } | Phase::Closed) {
            return Err(Problem::new(ProblemKind::NotFound, "the session is over"));
        }
        let Renewal { sdp, admission, candidate_tx, fresh, mapped_since } = renewal;
        let before = std::mem::replace(&mut self.mapped_since, mapped_since);
        let answer = match self.accept(sdp, fresh, now, feeds) {
            Ok(answer) => answer,
            Err(problem) => {
                self.mapped_since = before;
                return Err(problem);
            }
        };
        self.generation += 1;
        self.candidate_tx = candidate_tx;
        let path = self.admission.path.borrow().clone();
        self.admission = admission;
        self.admission.path.send_replace(path);
        Ok(answer)
    }

    /// Whether this offer restarts ICE (RFC 8839 section 4.4.1.1).
    pub(in crate::webrtc) fn is_restart(&self, sdp: &str) -> bool {
        offer_text::ufrag(sdp).is_some_and(|ufrag| ufrag != self.offered_ufrag)
    }

    fn accept(
        &mut self,
        sdp: &str,
        fresh: Option<&[Candidate]>,
        now: Now,
        feeds: &mut Feeds,
    ) -> Result<Answer, Problem> {
        let offered_fingerprint = ps::dtls_fingerprint(sdp)
            .ok_or_else(|| invalid("the SDP offer has no single SHA-256 DTLS fingerprint"))?;
        // DTLS runs once; another certificate would never be checked against it.
        if !self.offered_fingerprint.is_empty() && self.offered_fingerprint != offered_fingerprint {
            return Err(invalid("the DTLS certificate must stay the same within a session"));
        }
        let clean = offer_text::clean(sdp);
        let offer = SdpOffer::from_sdp_string(&clean).map_err(unreadable)?;
        if !self.offered_ufrag.is_empty() {
            self.rehearse(&clean, now)?;
        }
        if self.is_restart(sdp) {
            self.start_over(fresh);
        }
        let answer = self.rtc.sdp_api().accept_offer(offer).map_err(unanswerable)?.to_sdp_string();
        for line in clean.lines().filter_map(|line| line.strip_prefix("a=")) {
            self.offered_candidate(line);
        }
        offer_text::ufrag(&clean).unwrap_or_default().clone_into(&mut self.offered_ufrag);
        let own = Own {
            offered_ufrag: &self.offered_ufrag,
            mapped_for: self.mapped_since.map(|at| now.instant.saturating_duration_since(at)),
            relays: &self.relays,
            restarts: self.restarts,
        };
        let answer = annotate(&answer, &self.around, &own);
        self.offered_fingerprint.clone_from(&offered_fingerprint);
        // The library tells of new media only when keys are there; what can be shown has to be
        // known for the answer.
        for mid in answer.lines().filter_map(|line| line.strip_prefix("a=mid:")) {
            let mid = Mid::from(mid.trim());
            if let Some(kind) = self.rtc.media(mid).map(str0m::media::Media::kind) {
                self.media_added(mid, kind, now);
            }
        }
        let answered_fingerprint = ps::dtls_fingerprint(&answer)
            .ok_or_else(|| Problem::new(ProblemKind::Internal, "the answer has no fingerprint"))?;
        self.step(now, feeds);
        Ok(Answer { sdp: answer, offered_fingerprint, answered_fingerprint })
    }

    /// ICE begins anew, with what the new offer brings.
    fn start_over(&mut self, fresh: Option<&[Candidate]>) {
        self.restarts = self.restarts.wrapping_add(u32::from(!self.offered_ufrag.is_empty()));
        self.remotes.clear();
        self.detour = None;
        self.follow.restarted();
        if let Some(fresh) = fresh {
            self.move_to(fresh);
        }
    }

    /// Refuses what the library would refuse of a further offer. It starts ICE over before it looks at
    /// the sections, and never takes that back; so a stand-in that has agreed to the same sections as
    /// this session is asked first.
    fn rehearse(&mut self, offer: &str, now: Now) -> Result<(), Problem> {
        // An offer of our own names what has been agreed to; it is made, and not used.
        let mut api = self.rtc.sdp_api();
        api.ice_restart(true);
        let Some((agreed, _)) = api.apply() else { return Ok(()) };
        let mut stand_in = RtcConfig::new().build(now.instant);
        if let Err(error) = stand_in.sdp_api().accept_offer(agreed) {
            tracing::debug!(session = %self.id, %error, "no stand-in");
            return Ok(());
        }
        let offer = SdpOffer::from_sdp_string(offer).map_err(unreadable)?;
        stand_in.sdp_api().accept_offer(offer).map_err(unanswerable)?;
        Ok(())
    }

    fn require_decodable(&self) -> Result<(), Problem> {
        let Some(video) = &self.video else {
            return Err(invalid("the offer asks for no picture"));
        };
        if video.pts.codecs().is_empty() {
            return Err(Problem::new(
                ProblemKind::NotDecodable,
                "this viewer takes neither H.264 nor H.265, and the camera sends nothing else",
            ));
        }
        match self.serve.not_decodable() {
            Some(text) => Err(Problem::new(ProblemKind::NotDecodable, text)),
            None => Ok(()),
        }
    }

    fn media_added(&mut self, mid: Mid, kind: MediaKind, now: Now) {
        // Congestion is our own affair: pictures are paced before they are written, so that what
        // is too old can still be left out.
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(mid, None) {
            stream.set_unpaced(true);
        } else {
            return;
        }
        match kind {
            MediaKind::Video if self.video.is_none() => {
                let pts = VideoPts::read(&self.rtc, mid);
                self.serve.set_decodable(pts.codecs());
                self.video = Some(VideoOut::new(mid, pts, now));
            }
            MediaKind::Audio if self.audio_mid.is_none() => self.audio_mid = Some(mid),
            MediaKind::Video | MediaKind::Audio => {}
        }
    }
}
