//! Whose recordings are whose: a device that changes hands shows nobody what was recorded for another.
//!
//! What was recorded while a user was the owner is shown to that user only, and again when the device
//! comes back to them. What was recorded before anybody was the owner belongs to the first one; what
//! was recorded between two owners is shown to nobody, nor, once there were two, what bears a date at
//! which no clock stood that anybody had set.
//!
//! Dates alone do not tell whose a recording is: a clock that ran ahead put an earlier owner's into the
//! time of the present one. So it is kept, too, in which boots of the machine each was the owner, and
//! since when by the boot's monotonic clock, which nobody sets.

use std::{
    collections::HashMap,
    fs, io, iter,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sightline_model::{UnixMicros, UserId};
use sightline_recording::{clock::Moment, statement::BootId};
use sightline_service_kit::config::write_private;

/// The file in the unit's data folder.
const FILE: &str = "recording-owners.json";
/// Changes of the owner that are remembered; the oldest are forgotten, and what was recorded then is
/// shown to nobody.
const MOST: usize = 64;
/// Likewise, boots of each owner's time: eleven years of one a day.
const MOST_BOOTS: usize = 4_096;

/// No unit recorded before this by a clock that was right: 2020-01-01, in microseconds since 1970.
const CLOCKS_SINCE: UnixMicros = UnixMicros(1_577_836_800_000_000);
/// The beginning of the first owner's time, as long as all that no later term has is theirs.
const BEFORE_ALL: UnixMicros = UnixMicros(i64::MIN);

/// All of a boot.
const WHOLE: Range<u64> = 0..u64::MAX;

/// Somebody's time as the owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Term {
    /// None: nobody.
    owner: Option<UserId>,
    from: UnixMicros,
    /// The boots in which it ran, in their order. Of the first term, which has what no other has, only
    /// the one in which it ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    boots: Vec<Since>,
}

/// Since when a term ran in a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Since {
    boot: BootId,
    /// By the boot's monotonic clock.
    monotonic_us: u64,
}

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Owners {
    file: PathBuf,
    boot: BootId,
    terms: Arc<Mutex<Vec<Term>>>,
}

/// Spans of time whose recordings may be shown now, in order; no two overlap.
pub type Visible = Arc<[Range<UnixMicros>]>;

/// Which recordings are the present owner's, by when they were begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Stretches of the monotonic clock, in order, of each boot that is known.
    known: HashMap<BootId, Vec<Range<u64>>>,
    /// Whether all of the other boots is theirs.
    others: bool,
}

impl Own {
    /// Whether nothing is anybody else's.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.others && self.known.is_empty()
    }

    /// The stretches of a boot's monotonic clock in which what was begun is not the present owner's.
    #[must_use]
    pub fn foreign(&self, boot: BootId) -> Vec<Range<u64>> {
        let Some(own) = self.known.get(&boot) else {
            return if self.others { Vec::new() } else { vec![WHOLE] };
        };
        let from = iter::once(WHOLE.start).chain(own.iter().map(|stretch| stretch.end));
        let to = own.iter().map(|stretch| stretch.start).chain(iter::once(WHOLE.end));
        from.zip(to).map(|(from, to)| from..to).filter(|part| part.start < part.end).collect()
    }
}

impl Owners {
    /// What an earlier run kept. A file that cannot be read hides everything until the owner is known.
    /// `boot`: the one that runs.
    #[must_use]
    pub fn open(data_dir: &Path, boot: BootId) -> Self {
        let file = data_dir.join(FILE);
        let nobodys = || vec![Term { owner: None, from: BEFORE_ALL, boots: Vec::new() }];
        let mut terms: Vec<Term> = match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                tracing::error!(%error, "whose recordings are whose cannot be read: none is shown");
                nobodys()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::error!(%error, "whose recordings are whose cannot be read: none is shown");
                nobodys()
            }
        };
        let is_new = go_on(&mut terms, boot);
        let owners = Self { file, boot, terms: Arc::new(Mutex::new(terms)) };
        if is_new && let Err(error) = owners.keep(&owners.terms.lock()) {
            tracing::error!(%error, "whose recordings of this start are whose cannot be kept");
        }
        owners
    }

    /// The centre says whose unit it is.
    ///
    /// # Errors
    /// When it cannot be kept; it holds until the next start.
    pub fn owner_is(&self, owner: Option<&UserId>, now: &Moment) -> io::Result<()> {
        let mut terms = self.terms.lock();
        if terms.last().map(|term| &term.owner) == Some(&owner.cloned()) {
            return Ok(());
        }
        if terms.is_empty() && owner.is_none() {
            return Ok(());
        }
        if let [only] = &mut terms[..] {
            only.boots = vec![Since { boot: self.boot, monotonic_us: 0 }];
        }
        // Terms follow each other, also when the clock was set back meanwhile.
        let from = terms.last().map_or(BEFORE_ALL, |last| now.time.max(last.from));
        let since = Since { boot: self.boot, monotonic_us: now.monotonic_us };
        let boots = if terms.is_empty() { Vec::new() } else { vec![since] };
        terms.push(Term { owner: owner.cloned(), from, boots });
        if terms.len() > MOST {
            // The first one left would else have what came before it.
            terms.remove(0);
        }
        self.keep(&terms)
    }

    /// What may be shown now: by its dates, and by when it was begun. Both must say so.
    #[must_use]
    pub fn present(&self) -> (Visible, Own) {
        let terms = self.terms.lock();
        (visible(&terms), own(&terms))
    }

    fn keep(&self, terms: &[Term]) -> io::Result<()> {
        write_private(&self.file, &serde_json::to_vec(terms)?)
    }
}

/// The last term goes on in this boot; whether that is new. What is in no term is the first one's: where
/// there is no other, nothing needs to be noted.
fn go_on(terms: &mut [Term], boot: BootId) -> bool {
    let [first, .., last] = terms else { return false };
    if last.boots.last().is_some_and(|newest| newest.boot == boot) {
        return false;
    }
    last.boots.push(Since { boot, monotonic_us: 0 });
    if last.boots.len() > MOST_BOOTS {
        // The first one tells where the term before ended.
        last.boots.remove(1);
        // Else what is forgotten would be the first one's.
        first.from = first.from.max(CLOCKS_SINCE);
    }
    true
}

fn visible(terms: &[Term]) -> Visible {
    let Some(Term { owner: Some(owner), .. }) = terms.last() else {
        // Before anybody is the owner nobody may ask either.
        return Arc::new([]);
    };
    let ends = terms.iter().skip(1).map(|term| term.from).chain([UnixMicros(i64::MAX)]);
    let own = terms.iter().zip(ends).filter(|(term, _)| term.owner.as_ref() == Some(owner));
    let earliest = if terms.len() > 1 { CLOCKS_SINCE } else { BEFORE_ALL };
    let spans = own.map(|(term, to)| term.from.max(earliest)..to);
    spans.filter(|span| span.start < span.end).collect()
}

fn own(terms: &[Term]) -> Own {
    let [first, later @ ..] = terms else { return Own { known: HashMap::new(), others: true } };
    let owner = later.last().unwrap_or(first).owner.as_ref();
    let is_own = |term: &Term| owner.is_some() && term.owner.as_ref() == owner;
    let noted = |term: &Term| !term.boots.is_empty();
    let others = is_own(first) && first.from == BEFORE_ALL && later.iter().all(noted);
    let mut known: HashMap<_, Vec<_>> = HashMap::new();
    let mut stretches =
        terms.iter().flat_map(|term| term.boots.iter().map(move |since| (term, since))).peekable();
    while let Some((term, since)) = stretches.next() {
        let next = stretches.peek().filter(|(_, next)| next.boot == since.boot);
        let end = next.map_or(WHOLE.end, |(_, next)| next.monotonic_us);
        let of_boot = known.entry(since.boot).or_default();
        if is_own(term) {
            of_boot.push(since.monotonic_us..end);
        }
    }
    Own { known, others }
}

#[cfg(test)]
mod tests {
    use sightline_recording::statement::Authority;

    use super::*;

    fn user(name: &str) -> UserId {
        name.parse().expect("valid")
    }

    /// Seconds after the first moment at which clocks were right.
    fn at(s: i64) -> UnixMicros {
        UnixMicros(CLOCKS_SINCE.0 + s * 1_000_000)
    }

    /// That, so many microseconds after the machine's start.
    fn moment(s: i64, monotonic_us: u64) -> Moment {
        Moment { monotonic_us, time: at(s), authority: Authority::Unconfirmed }
    }

    fn open(dir: &Path) -> Owners {
        Owners::open(dir, BootId(1))
    }

    fn shown(owners: &Owners) -> Vec<Range<UnixMicros>> {
        owners.present().0.to_vec()
    }

    const ALWAYS: UnixMicros = UnixMicros(i64::MAX);
    const END: u64 = u64::MAX;

    /// What of each of these boots is not the present owner's.
    fn foreign<const N: usize>(owners: &Owners, boots: [u64; N]) -> [Vec<(u64, u64)>; N] {
        let own = owners.present().1;
        let pair = |part: Range<u64>| (part.start, part.end);
        boots.map(|boot| own.foreign(BootId(boot)).into_iter().map(pair).collect())
    }

    #[test]
    fn everybody_sees_their_own_time_and_nobody_elses() {
        let dir = tempfile::tempdir().expect("a folder");
        let owners = open(dir.path());
        let (anna, bert) = (user("anna"), user("bert"));
        let is = |owner, s| owners.owner_is(owner, &moment(s, 0)).expect("kept");
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
        let owners = open(dir.path());
        assert_eq!(shown(&owners), [at(30)..ALWAYS]);
        // What was recorded in 1970 may have been so in anybody's time.
        owners.owner_is(Some(&anna), &moment(40, 0)).expect("kept");
        assert_eq!(shown(&owners), [at(0)..at(20), at(40)..ALWAYS]);
    }

    #[test]
    fn a_clock_that_was_set_back_shows_nobody_what_is_anothers() {
        let dir = tempfile::tempdir().expect("a folder");
        let owners = open(dir.path());
        owners.owner_is(Some(&user("anna")), &moment(10, 0)).expect("kept");
        owners.owner_is(None, &moment(20, 0)).expect("kept");
        owners.owner_is(Some(&user("bert")), &moment(5, 0)).expect("kept");
        assert_eq!(shown(&owners), [at(20)..ALWAYS]);
    }

    #[test]
    fn what_cannot_be_read_hides_everything_that_was_before() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join(FILE), "[").expect("own folder");
        let owners = open(dir.path());
        assert_eq!(shown(&owners), []);
        owners.owner_is(Some(&user("anna")), &moment(40, 0)).expect("kept");
        assert_eq!(shown(&owners), [at(40)..ALWAYS]);
    }

    #[test]
    fn whose_it_is_does_not_depend_on_what_the_clock_said() {
        let dir = tempfile::tempdir().expect("a folder");
        let (anna, bert) = (user("anna"), user("bert"));
        let boot = |n| Owners::open(dir.path(), BootId(n));
        let is = |owners: &Owners, owner, us| {
            owners.owner_is(Some(owner), &moment(9, us)).expect("kept");
        };
        let first = boot(1);
        is(&first, &anna, 10);
        assert!(first.present().1.is_all(), "there was nobody else");
        assert_eq!(foreign(&first, [0, 1]), [vec![], vec![]]);
        // She rebooted it twice; then it was sold.
        drop(boot(2));
        let sold = boot(3);
        is(&sold, &bert, 50);
        assert!(!sold.present().1.is_all());
        let whole = vec![(0, END)];
        let expected = [whole.clone(), whole.clone(), vec![(0, 50)], whole.clone()];
        assert_eq!(foreign(&sold, [1, 2, 3, 9]), expected);
        // The same boot goes on; then come two more.
        assert_eq!(foreign(&boot(3), [3]), [vec![(0, 50)]]);
        drop(boot(4));
        let his = boot(5);
        let expected = [whole.clone(), vec![(0, 50)], vec![], vec![], whole.clone()];
        assert_eq!(foreign(&his, [1, 3, 4, 5, 9]), expected);
        // Back to her: all but what was his.
        is(&his, &anna, 7);
        let expected = [vec![], vec![], vec![(50, END)], whole.clone(), vec![(0, 7)], vec![]];
        assert_eq!(foreign(&his, [1, 2, 3, 4, 5, 9]), expected);
        assert_eq!(foreign(&boot(6), [3, 5, 6]), [vec![(50, END)], vec![(0, 7)], vec![]]);
        // To nobody, and to him again, in one boot.
        let last = boot(6);
        last.owner_is(None, &moment(9, 20)).expect("kept");
        assert_eq!(foreign(&last, [4, 6]), [whole.clone(), whole.clone()]);
        is(&last, &bert, 30);
        assert_eq!(foreign(&last, [4, 5, 6]), [vec![], vec![(7, END)], vec![(0, 30)]]);
    }

    #[test]
    fn what_is_forgotten_is_nobodys() {
        let dir = tempfile::tempdir().expect("a folder");
        let owners = Owners::open(dir.path(), BootId(0));
        owners.owner_is(Some(&user("anna")), &moment(9, 1)).expect("kept");
        owners.owner_is(Some(&user("bert")), &moment(9, 2)).expect("kept");
        let last = MOST_BOOTS as u64;
        let mut terms = owners.terms.lock().clone();
        for boot in 1..=last {
            assert!(go_on(&mut terms, BootId(boot)));
        }
        assert!(!go_on(&mut terms, BootId(last)), "noted twice");
        owners.keep(&terms).expect("kept");
        let owners = Owners::open(dir.path(), BootId(last));
        let whole = vec![(0, END)];
        let expected = [vec![(0, 2)], whole.clone(), vec![], vec![]];
        assert_eq!(foreign(&owners, [0, 1, 2, last]), expected);
        // Boot 1 was his: that nobody knows it any more does not make it hers.
        owners.owner_is(Some(&user("anna")), &moment(9, 3)).expect("kept");
        let expected = [vec![(2, END)], whole.clone(), whole, vec![(0, 3)]];
        assert_eq!(foreign(&owners, [0, 1, 2, last]), expected);
    }

    #[test]
    fn of_what_was_kept_without_boots_nothing_is_shown() {
        let dir = tempfile::tempdir().expect("a folder");
        let terms = [("anna", i64::MIN), ("bert", 7), ("anna", 9)];
        let terms = terms.map(|(owner, from)| serde_json::json!({ "owner": owner, "from": from }));
        let kept = serde_json::to_vec(&terms).expect("JSON");
        std::fs::write(dir.path().join(FILE), kept).expect("own folder");
        let owners = Owners::open(dir.path(), BootId(3));
        assert_eq!(foreign(&owners, [2, 3]), [vec![(0, END)], vec![]]);
    }
}
