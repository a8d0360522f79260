//! What the gate must still know after a restart while the centre is away: who may sign play
//! tokens, whose the unit is, who showed which token, and what was taken away.
//!
//! One file, readable by the unit alone, replaced whole, at most one write at a time: changes that
//! come during a write share the next one. What cannot be read counts as not there; then the unit
//! admits nobody until its centre has been reached, so a lost file never lets anybody in.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sightline_model::UnixMicros;
use sightline_service_kit::config::write_private;
use tokio_util::sync::CancellationToken;

use super::{Shared, books::Ledger, token::Authority};

/// The file's name in the unit's data folder.
pub const FILE: &str = "gate.json";
const VERSION: u16 = 1;
/// Longest file that is read: the books, full, take about a third of it.
const MAX_LEN: u64 = 4 << 20;
/// How long after a failed write the next one is tried.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// The file's content.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kept {
    version: u16,
    /// When it was written, by the centre's clock.
    pub at: UnixMicros,
    /// The centre's clock minus the unit's.
    pub clock_offset_us: i64,
    /// Who may sign play tokens.
    pub authority: Authority,
    /// What the gate remembers.
    pub ledger: Ledger,
}

impl Kept {
    /// What is to be kept now.
    #[must_use]
    pub const fn new(
        at: UnixMicros,
        clock_offset_us: i64,
        authority: Authority,
        ledger: Ledger,
    ) -> Self {
        Self { version: VERSION, at, clock_offset_us, authority, ledger }
    }

    /// Reads what an earlier run kept.
    #[must_use]
    pub fn read(path: &Path) -> Option<Self> {
        match read(path) {
            Ok(kept) => kept,
            Err(why) => {
                let path = path.display();
                tracing::warn!(%path, why, "what was kept of tokens and revocations is not used");
                None
            }
        }
    }
}

fn read(path: &Path) -> Result<Option<Kept>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mode = file.metadata().map_err(|e| e.to_string())?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("other users of this machine may have changed it (mode {mode:03o})"));
    }
    let mut text = Vec::new();
    file.take(MAX_LEN + 1).read_to_end(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > MAX_LEN {
        return Err("it is too long".into());
    }
    // Not the parser's own words: they may quote an address.
    let kept: Kept = serde_json::from_slice(&text).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => "it was written by another version".to_owned(),
        _ => "it is damaged".to_owned(),
    })?;
    if kept.version != VERSION {
        return Err("it was written by another version".into());
    }
    Ok(Some(kept))
}

/// Writes what `shared` wants kept, whenever that has changed, and once more at the end.
pub async fn run(shared: Arc<Shared>, path: PathBuf, token: CancellationToken) {
    let mut written = 0;
    let mut failing = false;
    loop {
        let last = tokio::select! {
            () = shared.changed.notified() => false,
            () = tokio::time::sleep(TRY_AGAIN), if failing => false,
            () = token.cancelled() => true,
        };
        if let Some((changes, kept)) = shared.kept(written) {
            let to = path.clone();
            let write = move || write_private(&to, &serde_json::to_vec(&kept)?);
            let result = match tokio::task::spawn_blocking(write).await {
                Ok(result) => result,
                Err(error) => Err(std::io::Error::other(error)),
            };
            match result {
                Ok(()) => (written, failing) = (changes, false),
                Err(error) if !failing => {
                    failing = true;
                    let path = path.display();
                    tracing::error!(%path, %error, "cannot keep tokens and revocations");
                }
                Err(error) => tracing::debug!(%error, "still cannot keep them"),
            }
        }
        if last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::gate::books::Books;

    fn kept() -> Kept {
        let domain = "test.example".parse().expect("domain");
        let authority = Authority { domain, token_keys: Vec::new() };
        Kept::new(UnixMicros(5), -7, authority, Books::default().ledger(UnixMicros(5)))
    }

    #[test]
    fn what_is_damaged_open_to_others_or_of_another_version_is_not_used() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join(FILE);
        assert!(Kept::read(&path).is_none(), "nothing is there");
        let good = serde_json::to_string(&kept()).expect("JSON");
        write_private(&path, good.as_bytes()).expect("written");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let read = Kept::read(&path).expect("good");
        assert_eq!((read.at, read.clock_offset_us), (UnixMicros(5), -7));

        let newer = good.replace("\"version\":1", "\"version\":2");
        let long = format!("{good}{}", " ".repeat(4 << 20));
        for bad in ["", "{}", "null", "\u{0}", &good[..good.len() / 2], &newer, &long] {
            write_private(&path, bad.as_bytes()).expect("written");
            assert!(Kept::read(&path).is_none(), "{bad:.60}");
        }
        write_private(&path, good.as_bytes()).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).expect("own file");
        assert!(Kept::read(&path).is_none(), "others may write it");
        fs::remove_file(&path).expect("own file");
        fs::create_dir(&path).expect("own folder");
        assert!(Kept::read(&path).is_none(), "a folder");
    }
}
