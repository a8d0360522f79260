//! Restarts of ICE that fail: the media goes on where it runs, and its CU is still heard.

use std::time::Instant;

use scu_session::{ConnId, Input, Output, PuMedia, Switchboard, viewers::ANSWERED_WITHIN};
use sightline_model::{MediaSessionId, PuId, PublicKey, SessionToken, Signature};
use sightline_protocol::{
    Problem, ProblemKind,
    cs::{CsRequest, MediaOffer, ScuToCu},
    pc::{MediaTransport, PathReport},
    ps::{MediaAnswer, ScuToPu},
};

const PU: ConnId = ConnId(1);
const CU: ConnId = ConnId(2);

fn key() -> PublicKey {
    PublicKey::from_bytes([1; 32])
}

fn device() -> PuId {
    PuId::from_public_key(&key())
}

fn session() -> MediaSessionId {
    "call".parse().expect("valid")
}

fn answer() -> MediaAnswer {
    MediaAnswer { sdp: String::new(), public_key: key(), signature: Signature::from_bytes([0; 64]) }
}

fn busy() -> Problem {
    Problem::new(ProblemKind::Busy, "no")
}

struct Scu {
    board: Switchboard<()>,
    now: Instant,
}

impl Scu {
    fn new() -> Self {
        Self { board: Switchboard::default(), now: Instant::now() }
    }

    fn feed(&mut self, input: Input<()>) -> Vec<Output<()>> {
        self.board.handle_input(self.now, input);
        self.outputs()
    }

    fn outputs(&mut self) -> Vec<Output<()>> {
        std::iter::from_fn(|| self.board.poll_output()).collect()
    }

    fn offer(&mut self) -> Vec<Output<()>> {
        let offer = MediaOffer {
            sdp: String::new(),
            token: SessionToken::new(String::new()),
            client_key: key(),
            signature: Signature::from_bytes([0; 64]),
            ice_servers: vec![],
        };
        let (session, device) = (session(), device());
        self.feed(Input::CuOffer { conn: CU, session, device, offer: Box::new(offer) })
    }

    fn answered(&mut self, result: Result<MediaAnswer, Problem>) -> Vec<Output<()>> {
        let media = PuMedia::Answer { session: session(), result };
        self.feed(Input::PuMedia { conn: PU, media })
    }

    /// A PU and a CU of one SCU, and media that flows.
    fn flowing() -> Self {
        let mut scu = Self::new();
        scu.feed(Input::PuAdmitted { conn: PU, pu: device(), epoch: 1, channels: vec![] });
        scu.offer();
        scu.answered(Ok(answer()));
        let path = Some(PathReport::new(MediaTransport::Webrtc, false, ""));
        let media = PuMedia::Report { session: session(), path };
        scu.feed(Input::PuMedia { conn: PU, media });
        scu
    }

    fn still_ends_with_its_cu(mut self) {
        assert!(self.board.calls().get(&session()).is_some(), "the call is gone");
        let outputs = self.feed(Input::CuEnd { conn: CU, session: session() });
        let ended = |output: &Output<()>| {
            matches!(output, Output::ToPu { conn: PU, message }
                if matches!(&**message, ScuToPu::EndSession { .. }))
        };
        assert!(outputs.iter().any(ended), "{outputs:?}");
    }
}

fn only_refused(outputs: &[Output<()>], kind: ProblemKind) {
    let [Output::ToCu { conn: CU, message: ScuToCu::Refused { problem, .. } }] = outputs else {
        panic!("{outputs:?}");
    };
    assert_eq!(problem.kind, kind);
}

#[test]
fn a_restart_that_the_pu_refuses_leaves_the_call() {
    let mut scu = Scu::flowing();
    scu.offer();
    only_refused(&scu.answered(Err(busy())), ProblemKind::Busy);
    scu.still_ends_with_its_cu();
}

#[test]
fn a_restart_that_nobody_answers_leaves_the_call() {
    let mut scu = Scu::flowing();
    scu.offer();
    scu.now += ANSWERED_WITHIN;
    scu.board.handle_timeout(scu.now);
    only_refused(&scu.outputs(), ProblemKind::Timeout);
    scu.still_ends_with_its_cu();
}

#[test]
fn a_restart_over_another_scu_leaves_the_call() {
    let mut scu = Scu::new();
    scu.offer();
    scu.feed(Input::Delivered { session: session(), result: Ok(()) });
    let message = ScuToCu::Answer { session: session(), answer: answer() };
    scu.feed(Input::ForCu { session: session(), message });
    for undelivered in [false, true] {
        scu.offer();
        let result = if undelivered { Err(busy()) } else { Ok(()) };
        let mut outputs = scu.feed(Input::Delivered { session: session(), result });
        if !undelivered {
            let message = ScuToCu::Refused { session: session(), problem: busy() };
            outputs = scu.feed(Input::ForCu { session: session(), message });
        }
        only_refused(&outputs, ProblemKind::Busy);
    }
    let outputs = scu.feed(Input::CuEnd { conn: CU, session: session() });
    let told = |output: &Output<()>| {
        matches!(output, Output::Elsewhere { request: CsRequest::End { .. }, .. })
    };
    assert!(outputs.iter().any(told), "{outputs:?}");
}

#[test]
fn a_first_offer_that_is_refused_ends_its_session() {
    let mut scu = Scu::new();
    scu.feed(Input::PuAdmitted { conn: PU, pu: device(), epoch: 1, channels: vec![] });
    scu.offer();
    let outputs = scu.answered(Err(busy()));
    assert!(outputs.iter().any(|o| matches!(o, Output::Unlisten { .. })), "{outputs:?}");
    assert!(scu.board.calls().is_empty() && scu.board.viewers().is_empty());
}
