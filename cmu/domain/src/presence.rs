//! Whether a camera can be watched (A7.2).

use sightline_model::{Presence, UnixMicros};
use sightline_protocol::ps::ChannelStatus;

use crate::lease::LeaseState;

/// The state of one camera: `channel` is what the device last said of it, `watched` whether a
/// session runs.
#[must_use]
pub fn presence(
    lease: LeaseState,
    channel: &ChannelStatus,
    watched: bool,
    now: UnixMicros,
) -> Presence {
    match (lease.is_live(now), channel.online, watched) {
        (false, _, _) => Presence::Offline,
        (true, false, _) => Presence::Inactive,
        (true, true, true) => Presence::Active,
        (true, true, false) => Presence::Online,
    }
}

#[cfg(test)]
mod tests {
    use sightline_model::ChannelId;

    use super::*;

    #[test]
    fn every_state_has_its_cause() {
        let lease = LeaseState { epoch: 1, expires_at: UnixMicros(10) };
        let mut channel = ChannelStatus {
            channel: ChannelId(0),
            name: "Yard".into(),
            online: true,
            fault: None,
            streams: Vec::new(),
            audio: None,
        };
        let now = UnixMicros(1);
        assert_eq!(presence(lease, &channel, false, now), Presence::Online);
        assert_eq!(presence(lease, &channel, true, now), Presence::Active);
        assert_eq!(presence(lease, &channel, true, UnixMicros(10)), Presence::Offline);
        channel.online = false;
        assert_eq!(presence(lease, &channel, true, now), Presence::Inactive);
    }
}
