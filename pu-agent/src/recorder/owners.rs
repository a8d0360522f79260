//! Whose recordings are whose: a device that changes hands shows nobody what was recorded for another.
//!
//! What was recorded while a user was the owner is shown to that user only, and again when the device
//! comes back to them. What was recorded before anybody was the owner belongs to the first one; what
//! was recorded between two owners is shown to nobody, nor, once there were two, what bears a date at
//! which no clock stood that anybody had set.

use std::{
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sightline_model::{UnixMicros, UserId};
use sightline_service_kit::config::write_private;
use tokio::sync::watch;

/// The file in the unit's data folder.
const FILE: &str = "recording-owners.json";
/// Changes of the owner that are remembered; the oldest are forgotten, and what was recorded then is
/// shown to nobody.
const MOST: usize = 64;

/// No unit recorded before this by a clock that was right: 2020-01-01, in microseconds since 1970.
const CLOCKS_SINCE: UnixMicros = UnixMicros(1_577_836_800_000_000);

/// Somebody's time as the owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Term {
    /// None: nobody.
    owner: Option<UserId>,
    from: UnixMicros,
}

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Owners {
    file: PathBuf,
    terms: Arc<Mutex<Vec<Term>>>,
    visible: watch::Sender<Visible>,
}

/// Spans of time whose recordings may be shown now, in order; no two overlap.
pub type Visible = Arc<[Range<UnixMicros>]>;

impl Owners {
    /// What an earlier run kept. A file that cannot be read hides everything until the owner is known.
    #[must_use]
    pub fn open(data_dir: &Path) -> Self {
        let file = data_dir.join(FILE);
        let terms = match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                tracing::error!(%error, "whose recordings are whose cannot be read: none is shown");
                vec![Term { owner: None, from: UnixMicros(i64::MIN) }]
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::error!(%error, "whose recordings are whose cannot be read: none is shown");
                vec![Term { owner: None, from: UnixMicros(i64::MIN) }]
            }
        };
        let shown = visible(&terms);
        Self { file, terms: Arc::new(Mutex::new(terms)), visible: watch::Sender::new(shown) }
    }

    /// The centre says whose unit it is.
    ///
    /// # Errors
    /// When it cannot be kept; it holds until the next start.
    pub fn owner_is(&self, owner: Option<&UserId>, now: UnixMicros) -> io::Result<()> {
        let mut terms = self.terms.lock();
        if terms.last().map(|term| &term.owner) == Some(&owner.cloned()) {
            return Ok(());
        }
        if terms.is_empty() && owner.is_none() {
            return Ok(());
        }
        // Terms follow each other, also when the clock was set back meanwhile.
        let from = terms.last().map_or(UnixMicros(i64::MIN), |last| now.max(last.from));
        terms.push(Term { owner: owner.cloned(), from });
        if terms.len() > MOST {
            // The first one left would else have what came before it.
            terms.remove(0);
        }
        self.visible.send_replace(visible(&terms));
        write_private(&self.file, &serde_json::to_vec(&*terms)?)
    }

    /// What may be shown, and its changes.
    #[must_use]
    pub fn visible(&self) -> watch::Receiver<Visible> {
        self.visible.subscribe()
    }
}

fn visible(terms: &[Term]) -> Visible {
    let Some(Term { owner: Some(owner), .. }) = terms.last() else {
        // Before anybody is the owner nobody may ask either.
        return Arc::new([]);
    };
    let ends = terms.iter().skip(1).map(|term| term.from).chain([UnixMicros(i64::MAX)]);
    let own = terms.iter().zip(ends).filter(|(term, _)| term.owner.as_ref() == Some(owner));
    let earliest = if terms.len() > 1 { CLOCKS_SINCE } else { UnixMicros(i64::MIN) };
    let spans = own.map(|(term, to)| term.from.max(earliest)..to);
    spans.filter(|span| span.start < span.end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        name.parse().expect("valid")
    }

    /// Seconds after the first moment at which clocks were right.
    fn at(s: i64) -> UnixMicros {
        UnixMicros(CLOCKS_SINCE.0 + s * 1_000_000)
    }

    fn shown(owners: &Owners) -> Vec<Range<UnixMicros>> {
        owners.visible().borrow().to_vec()
    }

    const ALWAYS: UnixMicros = UnixMicros(i64::MAX);

    #[test]
    fn everybody_sees_their_own_time_and_nobody_elses() {
        let dir = tempfile::tempdir().expect("a folder");
        let owners = Owners::open(dir.path());
        let (anna, bert) = (user("anna"), user("bert"));
        let is = |owner, s| owners.owner_is(owner, at(s)).expect("kept");
        is(None, 5);
        assert_eq!(shown(&owners), []);
        // What was recorded before belongs to the first owner.
        is(Some(&anna), 10);
        assert_eq!(shown(&owners), [UnixMicros(i64::MIN)..ALWAYS]);
        is(Some(&anna), 11);
        is(None, 20);
        assert_eq!(shown(&owners), []);
        is(Some(&bert), 30);
        assert_eq!(shown(&owners), [at(30)..ALWAYS]);
        // Through a restart too.
        let owners = Owners::open(dir.path());
        assert_eq!(shown(&owners), [at(30)..ALWAYS]);
        // What was recorded in 1970 may have been so in anybody's time.
        owners.owner_is(Some(&anna), at(40)).expect("kept");
        assert_eq!(shown(&owners), [at(0)..at(20), at(40)..ALWAYS]);
    }

    #[test]
    fn a_clock_that_was_set_back_shows_nobody_what_is_anothers() {
        let dir = tempfile::tempdir().expect("a folder");
        let owners = Owners::open(dir.path());
        owners.owner_is(Some(&user("anna")), at(10)).expect("kept");
        owners.owner_is(None, at(20)).expect("kept");
        owners.owner_is(Some(&user("bert")), at(5)).expect("kept");
        assert_eq!(shown(&owners), [at(20)..ALWAYS]);
    }

    #[test]
    fn what_cannot_be_read_hides_everything_that_was_before() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join(FILE), "[").expect("own folder");
        let owners = Owners::open(dir.path());
        assert_eq!(shown(&owners), []);
        owners.owner_is(Some(&user("anna")), at(40)).expect("kept");
        assert_eq!(shown(&owners), [at(40)..ALWAYS]);
    }
}
