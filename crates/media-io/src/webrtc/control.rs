//! The data channel [`CONTROL_CHANNEL`](sightline_protocol::pc::CONTROL_CHANNEL): what viewer and
//! unit tell each other. Bad messages are counted and ignored; there is nobody to answer.

mod message;

use std::time::Instant;

use sightline_protocol::pc::{CuToPu, PuToCu};
use str0m::{Rtc, channel::ChannelId};

use super::budget::Window;

/// Messages read per second; a viewer that sends more is ignored for the rest of it.
const PER_SECOND: u32 = 20;

#[derive(Debug)]
pub(super) struct Control {
    channel: Option<ChannelId>,
    window: Window,
    /// Messages that were malformed, too long or too many.
    pub(super) ignored: u64,
}

impl Control {
    pub(super) const fn new(now: Instant) -> Self {
        Self { channel: None, window: Window::new(PER_SECOND, now), ignored: 0 }
    }

    pub(super) const fn open(&mut self, channel: ChannelId) {
        self.channel = Some(channel);
    }

    pub(super) fn close(&mut self, channel: ChannelId) {
        if self.channel == Some(channel) {
            self.channel = None;
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.channel.is_some()
    }

    /// Sends, unless the viewer does not read: then the message is lost.
    pub(super) fn send(&self, rtc: &mut Rtc, message: &PuToCu) {
        let Some(mut channel) = self.channel.and_then(|id| rtc.channel(id)) else { return };
        let Ok(text) = serde_json::to_vec(message) else { return };
        if !matches!(channel.write(false, &text), Ok(true)) {
            tracing::debug!("control message not sent: the viewer does not read");
        }
    }

    /// Reads a message of the viewer.
    pub(super) fn read(&mut self, from: ChannelId, data: &[u8], now: Instant) -> Option<CuToPu> {
        let message = self.try_read(from, data, now);
        self.ignored += u64::from(message.is_none());
        message
    }

    fn try_read(&mut self, from: ChannelId, data: &[u8], now: Instant) -> Option<CuToPu> {
        if self.channel != Some(from) {
            return None;
        }
        if !self.window.take(now) {
            return None;
        }
        message::read(data)
    }
}
