//! Relays for a stream that outlasts its credentials: those of the play answer end after a few
//! hours, and no allocation outlives its own (RFC 8656 leaves both to the server).

use std::time::Duration;

use sightline_model::UnixMicros;
use sightline_p2p_net::server::Servers;
use sightline_protocol::cm::IceServer;
use tokio::task::JoinHandle;

use super::super::session::{ServerSource, Session};

/// The CMU is not asked again before, whatever it has answered.
const AGAIN: Duration = Duration::from_secs(60);

/// Asks for fresh credentials in time.
pub(super) struct Renewal {
    source: ServerSource,
    schedule: Schedule,
    asking: Option<JoinHandle<Option<Vec<IceServer>>>>,
}

impl Renewal {
    pub(super) fn new(session: &Session) -> Self {
        let servers = Servers::read(&session.answer.ice_servers);
        let schedule = Schedule::new(servers.expires_at());
        Self { source: session.servers.clone(), schedule, asking: None }
    }

    /// The centre has told its time, by which credentials end.
    pub(super) fn clock(&mut self, now: UnixMicros) {
        if self.asking.is_some() || !self.schedule.is_due(now) {
            return;
        }
        let source = self.source.clone();
        self.asking = Some(tokio::spawn(async move {
            match source.ask().await {
                Ok(servers) => Some(servers),
                Err(error) => {
                    tracing::debug!(error = %error.message, "no fresh credentials for relays");
                    None
                }
            }
        }));
    }

    /// Resolves when there are servers with fresh credentials. Cancel-safe.
    pub(super) async fn next(&mut self) -> Servers {
        loop {
            let Some(asking) = &mut self.asking else { return std::future::pending().await };
            let list = asking.await.ok().flatten().unwrap_or_default();
            self.asking = None;
            let servers = Servers::read(&list);
            if !servers.relays.is_empty() {
                self.schedule.renewed(servers.expires_at());
                return servers;
            }
        }
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        if let Some(asking) = self.asking.take() {
            asking.abort();
        }
    }
}

/// When credentials are asked for, by the centre's clock: this machine's may be wrong.
#[derive(Debug)]
struct Schedule {
    /// The end of those that there are; `None` when they do not tell.
    ends: Option<UnixMicros>,
    /// Half of what they had left when the centre first told its time.
    due: Option<UnixMicros>,
    asked: Option<UnixMicros>,
}

impl Schedule {
    const fn new(ends: Option<UnixMicros>) -> Self {
        Self { ends, due: None, asked: None }
    }

    /// Whether they are to be asked for now.
    fn is_due(&mut self, now: UnixMicros) -> bool {
        let Some(ends) = self.ends else { return false };
        let due = *self.due.get_or_insert_with(|| now.plus(ends.since(now) / 2));
        if now < due || self.asked.is_some_and(|asked| now.since(asked) < AGAIN) {
            return false;
        }
        self.asked = Some(now);
        true
    }

    /// Others have come.
    const fn renewed(&mut self, ends: Option<UnixMicros>) {
        self.ends = ends;
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixMicros = UnixMicros(1_700_000_000_000_000);

    fn at(seconds: u64) -> UnixMicros {
        START.plus(Duration::from_secs(seconds))
    }

    /// When it asks within so long, if the centre tells its time every ten seconds.
    fn asks(schedule: &mut Schedule, from: u64, to: u64) -> Vec<u64> {
        (from..to).step_by(10).filter(|seconds| schedule.is_due(at(*seconds))).collect()
    }

    #[test]
    fn credentials_are_asked_for_when_half_of_their_time_is_over() {
        let six_hours = 6 * 3_600;
        let mut schedule = Schedule::new(Some(at(six_hours)));
        assert_eq!(asks(&mut schedule, 0, six_hours / 2), Vec::<u64>::new());
        assert!(schedule.is_due(at(six_hours / 2)));
        schedule.renewed(Some(at(six_hours / 2 + six_hours)));
        let next = asks(&mut schedule, six_hours / 2, six_hours * 2);
        assert_eq!(next.first(), Some(&six_hours));
    }

    #[test]
    fn a_centre_that_answers_nothing_is_asked_once_a_minute() {
        let mut schedule = Schedule::new(Some(at(600)));
        assert_eq!(asks(&mut schedule, 0, 600), [300, 360, 420, 480, 540]);
        // Nor is it asked more often where what it gives ends at once.
        schedule.renewed(Some(at(600)));
        assert_eq!(asks(&mut schedule, 600, 700), [600, 660]);
    }

    #[test]
    fn who_has_no_credential_that_ends_asks_for_none() {
        assert_eq!(asks(&mut Schedule::new(None), 0, 100_000), Vec::<u64>::new());
    }
}
