//! Looking back over a session's data channel (decision 0094).
//!
//! A task of its own plays the recording ([`crate::archive::Player`]); the session only carries its
//! units, as far as the channel takes them. While it does, no live pictures are sent.

mod frames;
mod task;

use std::sync::Arc;

use sightline_model::{Right, Rights, StreamTier};
use sightline_protocol::{
    Problem, ProblemKind,
    pc::{CuToPuReplay, PuToCuReplay},
};
use str0m::{Rtc, channel::ChannelId};
use tokio::sync::{broadcast, mpsc};

use self::{
    frames::Frames,
    task::{Order, Said},
};
use super::{budget::Window, feed::Feeds, session::Now};
use crate::archive::Recording;

/// Messages of the viewer per second; scrubbing makes many.
const PER_SECOND: u32 = 60;
/// Longest message that is read, in bytes.
const MAX_BYTES: usize = 1_024;
/// Orders that may wait for the task; of more, the oldest are lost: a later jump makes them void.
const ORDERS: usize = 16;
/// Units that may wait for the channel.
const UNITS: usize = 8;
/// So much may wait in the library before more is handed in, in bytes: control messages must fit.
const MOST_BUFFERED: usize = 40 * 1_024;

/// A viewer's looking back.
#[derive(Debug)]
pub(super) struct Replay {
    channel: ChannelId,
    window: Window,
    /// Tells the task; none before the first order, or when it may not be.
    orders: Option<broadcast::Sender<Order>>,
    said: Option<mpsc::Receiver<Said>>,
    /// What is being written.
    frames: Option<Frames>,
    /// Whether recordings are shown instead of live pictures.
    pub(super) is_on: bool,
    pub(super) ignored: u64,
}

impl Replay {
    pub(super) fn open(channel: ChannelId, rtc: &mut Rtc, now: Now) -> Self {
        if let Some(mut channel) = rtc.channel(channel) {
            channel.set_buffered_amount_low_threshold(MOST_BUFFERED / 2);
        }
        Self {
            channel,
            window: Window::new(PER_SECOND, now.instant),
            orders: None,
            said: None,
            frames: None,
            is_on: false,
            ignored: 0,
        }
    }

    pub(super) fn is(&self, channel: ChannelId) -> bool {
        self.channel == channel
    }

    /// Whether there is something to write.
    pub(super) fn has_news(&self) -> bool {
        self.said.as_ref().is_some_and(|said| !said.is_empty())
    }

    /// Takes a message of the viewer.
    pub(super) fn read(
        &mut self,
        data: &[u8],
        (camera, rights): (sightline_model::ChannelId, &Rights),
        rtc: &mut Rtc,
        (now, feeds): (Now, &Feeds),
    ) {
        let within = self.window.take(now.instant) && data.len() <= MAX_BYTES;
        let message = within.then(|| serde_json::from_slice(data).ok()).flatten();
        let Some(message) = message else {
            self.ignored += 1;
            return;
        };
        if let CuToPuReplay::Live = message {
            self.is_on = false;
            self.frames = None;
            // Whoever goes back to live pictures misses nothing of a recording that broke down.
            let _ = self.order(Order::Pause);
            return;
        }
        let order = match order(message) {
            Ok(order) => order,
            Err(problem) => return self.tell(rtc, &PuToCuReplay::Failed { problem }),
        };
        if self.orders.is_none()
            && let Err(problem) = self.start(camera, rights, feeds)
        {
            return self.tell(rtc, &PuToCuReplay::Failed { problem });
        }
        self.is_on = true;
        if let Err(problem) = self.order(order) {
            self.tell(rtc, &PuToCuReplay::Failed { problem });
        }
    }

    fn start(
        &mut self,
        camera: sightline_model::ChannelId,
        rights: &Rights,
        feeds: &Feeds,
    ) -> Result<(), Problem> {
        if !rights.allows(Right::Playback) {
            let why = "you have no right to this camera's recordings";
            return Err(Problem::new(ProblemKind::Forbidden, why));
        }
        let Some(archive) = &feeds.archive else {
            return Err(Problem::new(ProblemKind::NotFound, "this unit does not record"));
        };
        let of = Recording { channel: camera, tier: StreamTier::Main };
        let of = (of, rights.allows(Right::Listen));
        let (orders, waiting) = broadcast::channel(ORDERS);
        let (say, said) = mpsc::channel(UNITS);
        feeds.spawn(task::run(Arc::clone(archive), of, waiting, say, feeds.waker()));
        (self.orders, self.said) = (Some(orders), Some(said));
        Ok(())
    }

    /// Hands it to the task. Where that has broken down, live pictures are shown again, and the next
    /// order starts another.
    fn order(&mut self, order: Order) -> Result<(), Problem> {
        let Some(orders) = &self.orders else { return Ok(()) };
        if orders.send(order).is_ok() {
            return Ok(());
        }
        (self.orders, self.said, self.frames) = (None, None, None);
        self.is_on = false;
        let why = "the unit could not play the recording; try again";
        Err(Problem::new(ProblemKind::Internal, why))
    }

    fn tell(&self, rtc: &mut Rtc, message: &PuToCuReplay) {
        let Some(mut channel) = rtc.channel(self.channel) else { return };
        let Ok(text) = serde_json::to_vec(message) else { return };
        if !matches!(channel.write(false, &text), Ok(true)) {
            tracing::debug!("replay message not sent: the viewer does not read");
        }
    }

    /// Writes what the channel takes; whether anything was written.
    pub(super) fn pump(&mut self, rtc: &mut Rtc) -> bool {
        let mut any = false;
        loop {
            let room = {
                let Some(mut channel) = rtc.channel(self.channel) else { return any };
                MOST_BUFFERED.saturating_sub(channel.buffered_amount())
            };
            if room < sightline_protocol::pc::MAX_REPLAY_MESSAGE {
                return any;
            }
            let Some(frame) = self.next_message() else { return any };
            let Some(mut channel) = rtc.channel(self.channel) else { return any };
            let (binary, bytes) = frame;
            if !matches!(channel.write(binary, &bytes), Ok(true)) {
                tracing::debug!("a unit of a replay is lost: the channel takes nothing");
                self.frames = None;
                return any;
            }
            any = true;
        }
    }

    fn next_message(&mut self) -> Option<(bool, Vec<u8>)> {
        loop {
            if let Some(message) = self.frames.as_mut().and_then(Iterator::next) {
                return Some((true, message));
            }
            self.frames = None;
            match self.said.as_mut()?.try_recv().ok()? {
                Said::Unit(due, sent_us) => self.frames = Some(Frames::new(&due, sent_us)),
                Said::Text(text) => match serde_json::to_vec(&text) {
                    Ok(bytes) => return Some((false, bytes)),
                    Err(error) => tracing::error!(%error, "a replay message has no JSON"),
                },
            }
            // What was under way when the viewer went back to live pictures is not sent any more.
            if !self.is_on {
                self.frames = None;
            }
        }
    }
}

fn order(message: CuToPuReplay) -> Result<Order, Problem> {
    use sightline_recording::replay::{Play, Scale, Selection, Way};
    Ok(match message {
        CuToPuReplay::Play { at, until, scale_permille, pictures, tier } => {
            let Some(scale) = Scale::from_thousandths(scale_permille) else {
                let why = "the scale is 125 to 16000 thousandths, or the same below zero";
                return Err(Problem::new(ProblemKind::InvalidRequest, why));
            };
            use sightline_protocol::pc::ReplayPictures;
            let selection = match pictures {
                ReplayPictures::Fitting => Selection::Budget,
                ReplayPictures::All => Selection::All,
                ReplayPictures::Keyframes => Selection::Keyframes { interval_us: 0 },
                ReplayPictures::EachSecond => Selection::EachSecond,
            };
            Order::Play(Play { at, until, selection, ..Play::on(scale) }, tier)
        }
        CuToPuReplay::Pause | CuToPuReplay::Live => Order::Pause,
        CuToPuReplay::Show { at } => Order::Show(at),
        CuToPuReplay::Step { backwards, from } => {
            Order::Step(if backwards { Way::Backwards } else { Way::Forwards }, from)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use str0m::channel::ChannelConfig;

    use super::*;

    #[test]
    fn where_the_task_has_broken_down_that_is_said_and_the_next_order_starts_another() {
        let now = Now::read();
        let mut rtc = Rtc::new(Instant::now());
        let channel = rtc.direct_api().create_data_channel(ChannelConfig::default());
        let mut replay = Replay::open(channel, &mut rtc, now);
        let (orders, waiting) = broadcast::channel(ORDERS);
        let (say, said) = mpsc::channel(UNITS);
        (replay.orders, replay.said, replay.is_on) = (Some(orders), Some(said), true);
        replay.order(Order::Pause).expect("it plays");
        assert!(replay.is_on && replay.orders.is_some());
        // As a panic leaves it.
        drop((waiting, say));
        let problem = replay.order(Order::Pause).expect_err("nobody hears it");
        assert_eq!(problem.kind, ProblemKind::Internal);
        assert!(!replay.is_on, "neither a recording nor live pictures are shown");
        assert!(replay.orders.is_none() && replay.said.is_none());
        assert_eq!(replay.ignored, 0);
    }
}
