//! What devices have reported of their recordings (decision 0091): how the storage is now, and of
//! every chain the newest entry that was ever told, so that a chain's end cannot be cut off unnoticed.

use sightline_model::{PuId, ReportedHead, StorageState};
use sightline_protocol::ps::RecorderReport;
use tracing::instrument;

use crate::{Devices, StorageError, device::signed, from_json, query, to_json};

/// Most chains that are kept of one device: two encodings of dozens of cameras on several cards. The
/// first ones stay; a device that goes on making up chains cannot push out what it once told.
pub const MAX_CHAINS: usize = 1_000;

/// What was found when a report was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// How the storage was by the report before; absent: there was none that could be read.
    pub before: Option<StorageState>,
    /// Heads that contradict what was told before: a lower number, or another hash for the same one.
    /// What was told before stands.
    pub receded: Vec<ReportedHead>,
    /// New chains beyond [`MAX_CHAINS`], which are not kept.
    pub surplus: usize,
}

impl Devices<'_> {
    /// Keeps what the device reports of its recordings. A chain that was ever told stays, with its
    /// highest number. `None`: `epoch` is not the last one, and nothing has changed.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.device.set_recorder", skip_all)]
    pub async fn set_recorder(
        &self,
        pu: &PuId,
        epoch: u64,
        report: &RecorderReport,
    ) -> Result<Option<Reported>, StorageError> {
        loop {
            let row: Option<(i64, Option<String>)> = query::rows!(
                read,
                one,
                self.0,
                (i64, Option<String>),
                "SELECT epoch, recorder FROM device WHERE domain = $1 AND pu = $2",
                self.0.domain.as_str(),
                pu.as_str(),
            )?;
            let Some((_, text)) = row.filter(|(last, _)| *last == signed(epoch)) else {
                return Ok(None);
            };
            let (kept, reported) = merge(readable(pu, text.as_deref()), report);
            let text = text.unwrap_or_default();
            let changed = query::execute!(
                self.0,
                "UPDATE device SET recorder = $4 WHERE domain = $1 AND pu = $2 AND epoch = $3
                     AND COALESCE(recorder, '') = $5",
                self.0.domain.as_str(),
                pu.as_str(),
                signed(epoch),
                to_json(&kept),
                text.as_str(),
            )?;
            if changed > 0 {
                return Ok(Some(reported));
            }
            // Another CMU has kept a report since, or another registration has taken over.
        }
    }

    /// How the device's storage was by its last report, and the newest entry that was ever told of each
    /// chain; none: it does not record.
    ///
    /// # Errors
    /// [`StorageError`].
    #[instrument(name = "db.device.recorder", skip_all)]
    pub async fn recorder(&self, pu: &PuId) -> Result<Option<RecorderReport>, StorageError> {
        let row: Option<(Option<String>,)> = query::rows!(
            read,
            one,
            self.0,
            (Option<String>,),
            "SELECT recorder FROM device WHERE domain = $1 AND pu = $2",
            self.0.domain.as_str(),
            pu.as_str(),
        )?;
        let report = row.and_then(|(report,)| report);
        report.map(|report| from_json(&report, "report of a recorder")).transpose()
    }
}

/// What was kept. What cannot be read counts as nothing: it would else stand in the way of every later
/// report. The next one replaces it, so that this is said once.
fn readable(pu: &PuId, text: Option<&str>) -> Option<RecorderReport> {
    let kept = from_json::<RecorderReport>(text?, "report of a recorder");
    if let Err(error) = &kept {
        tracing::error!(%pu, %error, "what a device had told of its chains is lost");
    }
    kept.ok()
}

/// What is to be kept after a report, and what was found.
fn merge(kept: Option<RecorderReport>, report: &RecorderReport) -> (RecorderReport, Reported) {
    let before = kept.as_ref().map(|kept| kept.storage.state);
    let mut heads = kept.map(|kept| kept.heads).unwrap_or_default();
    let (mut receded, mut surplus) = (Vec::new(), 0);
    for head in &report.heads {
        match heads.iter().position(|known| known.chain == head.chain) {
            Some(at) if follows(&heads[at], head) => heads[at] = head.clone(),
            Some(_) => receded.push(head.clone()),
            None if heads.len() < MAX_CHAINS => heads.push(head.clone()),
            None => surplus += 1,
        }
    }
    let (recorder, storage) = (report.recorder.clone(), report.storage.clone());
    (RecorderReport { recorder, storage, heads }, Reported { before, receded, surplus })
}

/// Whether a chain whose head was `known` can have come to `now`.
fn follows(known: &ReportedHead, now: &ReportedHead) -> bool {
    now.sequence > known.sequence || (now.sequence == known.sequence && now.hash == known.hash)
}
