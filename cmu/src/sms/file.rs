//! SMS into a file, for trying things out: one line `TIME NUMBER TEXT` each.

use std::path::{Path, PathBuf};

use sightline_model::PhoneNumber;
use tokio::{io::AsyncWriteExt, sync::Mutex};

use super::{SmsError, SmsGateway};

/// Appends to a file that only its owner may read.
#[derive(Debug)]
pub struct FileGateway {
    path: PathBuf,
    /// One line at a time.
    turn: Mutex<()>,
}

impl FileGateway {
    /// Appends to `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), turn: Mutex::new(()) }
    }

    async fn append(&self, line: &str) -> std::io::Result<()> {
        let mut options = tokio::fs::OpenOptions::new();
        let mut file = options.create(true).append(true).mode(0o600).open(&self.path).await?;
        file.write_all(line.as_bytes()).await?;
        file.flush().await
    }
}

#[async_trait::async_trait]
impl SmsGateway for FileGateway {
    async fn send(&self, phone: &PhoneNumber, text: &str) -> Result<(), SmsError> {
        let time = rfc3339(std::time::SystemTime::now());
        let line = format!("{time} {} {}\n", phone.expose(), text.replace(['\r', '\n'], " "));
        let _turn = self.turn.lock().await;
        self.append(&line).await.map_err(|e| SmsError::Unreachable(e.to_string()))
    }
}

/// RFC 3339 in UTC, whole seconds (days to civil date after Howard Hinnant's algorithm).
fn rfc3339(time: std::time::SystemTime) -> String {
    let seconds = sightline_model::UnixMicros::from(time).as_secs();
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let (era, day_of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        let at = |s| rfc3339(UNIX_EPOCH + Duration::from_secs(s));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_795_219_199), "2026-11-20T23:59:59Z");
    }

    #[tokio::test]
    async fn each_message_is_one_line_that_others_cannot_read() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("sms.log");
        let gateway = FileGateway::new(&path);
        let phone: PhoneNumber = "+8613800138000".parse().expect("valid");
        gateway.send(&phone, "one\ntwo").await.expect("sent");
        gateway.send(&phone, "three").await.expect("sent");
        let text = std::fs::read_to_string(&path).expect("the log");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with(" +8613800138000 one two") && lines.len() == 2, "{text}");
        let mode = std::fs::metadata(&path).expect("the log").permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
}
