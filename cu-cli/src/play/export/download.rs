//! Fetching all segments of a span, over as many connections as it takes.

use std::{ops::Range, sync::Arc, time::Duration};

use indicatif::ProgressBar;
use sightline_model::{QualityChoice, SessionToken, StreamTier, UnixMicros, VideoCodec};
use sightline_protocol::{
    ProblemKind,
    cm::{Camera, Player},
};
use sightline_recording::statement::Subject;

use super::{
    blocking,
    checked::{Checked, check},
    fetch::{Dial, Fetch},
    folder::Folder,
};
use crate::{
    api::SignedInApi,
    error::{CuError, Exit},
    home::Home,
    output,
    play::{
        Figures, quic,
        session::{Session, Wanted},
    },
};

/// A broken connection is made again so often without a single byte in between.
const TRIES: u32 = 5;
/// Between two of them at first; longer after each.
const PAUSE: Duration = Duration::from_secs(1);

/// What is asked for.
pub(super) struct Asked {
    pub camera: Camera,
    pub tier: StreamTier,
    pub span: Range<UnixMicros>,
    pub require_pin: bool,
}

/// A download that goes on until all is there.
pub(super) struct Download<'a> {
    api: &'a SignedInApi,
    home: &'a Home,
    asked: &'a Asked,
    bar: &'a ProgressBar,
    folder: Folder,
    /// Known once the proof has come: connections behind that one need not ask again.
    checked: Option<Checked>,
}

impl<'a> Download<'a> {
    pub const fn new(
        api: &'a SignedInApi,
        home: &'a Home,
        asked: &'a Asked,
        bar: &'a ProgressBar,
        folder: Folder,
    ) -> Self {
        Self { api, home, asked, bar, folder, checked: None }
    }

    /// Fetches all, or says why not; in either case the folder holds what has come.
    pub async fn run(mut self) -> (Folder, Result<Checked, CuError>) {
        let fetched = self.as_often_as_it_takes().await;
        let proven = self.checked.ok_or_else(|| CuError::unreachable("no proof has come"));
        (self.folder, fetched.and(proven))
    }

    async fn as_often_as_it_takes(&mut self) -> Result<(), CuError> {
        let (mut tries, mut pause) = (TRIES, PAUSE);
        loop {
            let before = self.folder.fetched();
            let Err(broken) = self.once().await else { return Ok(()) };
            if !passes(&broken) {
                return Err(broken);
            }
            if self.folder.fetched() > before {
                (tries, pause) = (TRIES, PAUSE);
            }
            tries -= 1;
            if tries == 0 {
                return Err(broken);
            }
            self.bar.set_message(format!("{broken}; going on in {} s", pause.as_secs()));
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    async fn once(&mut self) -> Result<(), CuError> {
        let wanted = Wanted {
            codecs: vec![VideoCodec::H264, VideoCodec::H265],
            quality: QualityChoice::Auto,
            require_pin: self.asked.require_pin,
            player: Player::Client,
        };
        let camera = self.asked.camera.clone();
        let session = Session::ask(self.api, self.home, camera, &wanted).await?;
        if let Some(warning) = session.warning() {
            output::note(&warning);
        }
        self.bar.set_message(format!("connecting to {}", session.camera.name));
        let figures = Arc::new(Figures::since(session.asked));
        let (line, _) = quic::open(&session, &figures).await?;
        let mut done = false;
        let fetching = async {
            self.fetch(line.connection(), &session.answer.token).await?;
            done = true;
            Ok(())
        };
        let result = line.until_ended(fetching).await;
        line.close().await;
        result?;
        if done { Ok(()) } else { Err(CuError::unreachable("the centre has ended the call")) }
    }

    async fn fetch(&mut self, dial: &impl Dial, token: &SessionToken) -> Result<(), CuError> {
        let (asked, bar) = (self.asked, self.bar);
        let camera = &asked.camera.id;
        let mut fetch = Fetch::new(dial, token.clone(), (camera.channel, asked.tier));
        let checked = match self.checked.take() {
            Some(checked) => checked,
            None => {
                let proof = fetch.proof(&asked.span).await?;
                let (recorder, camera) = (camera.pu.clone(), camera.clone());
                let subject = Subject { recorder, camera, tier: asked.tier };
                blocking(move || check(proof, &subject)).await?
            }
        };
        let checked = &*self.checked.insert(checked);
        // Not before: who is refused has nothing to keep.
        self.folder.make()?;
        let all: u64 = checked.parts.iter().map(|part| part.segment.len).sum();
        let mut done = 0;
        for part in &checked.parts {
            let say = |of_this: u64| {
                let (done, all) = (mega(done + of_this), mega(all));
                bar.set_message(format!("fetching: {done:.1} of {all:.1} MB"));
            };
            fetch.segment(part, &mut self.folder, say).await?;
            done += part.segment.len;
        }
        Ok(())
    }
}

/// Whether it may work a little later, on another connection.
fn passes(error: &CuError) -> bool {
    use ProblemKind::{Busy, StaleLease, TokenExpired};
    // A token opens new streams for minutes only, and the next call brings another.
    let soon = matches!(error.problem, Some(Busy | StaleLease | TokenExpired));
    soon || matches!(error.exit, Exit::Unreachable | Exit::Timeout)
}

#[expect(clippy::cast_precision_loss, reason = "for the eye")]
fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use sightline_protocol::Problem;

    use super::*;

    #[test]
    fn what_ends_by_itself_is_tried_again_and_a_no_is_not() {
        let refused = |kind| CuError::from(Problem::new(kind, "a reason"));
        for passing in [
            CuError::unreachable("the connection broke"),
            CuError::timeout("no answer in time"),
            refused(ProblemKind::Busy),
            refused(ProblemKind::StaleLease),
            refused(ProblemKind::TokenExpired),
            refused(ProblemKind::DeviceOffline),
            refused(ProblemKind::Timeout),
        ] {
            assert!(passes(&passing), "{passing}");
        }
        for lasting in [
            CuError::security("other bytes"),
            CuError::other("the disk is full"),
            CuError::not_signed_in(),
            refused(ProblemKind::Forbidden),
            refused(ProblemKind::NotFound),
            refused(ProblemKind::TokenRevoked),
            refused(ProblemKind::WrongKey),
        ] {
            assert!(!passes(&lasting), "{lasting}");
        }
    }
}
