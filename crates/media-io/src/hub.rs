//! One stream, held once, read by many.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use sightline_media::{
    AccessUnit, StreamDescription,
    ring::{Cursor, Limits, Read, Ring},
};
use tokio::sync::watch;

/// State of a stream's source.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceState {
    /// Not connected yet, or lost; why, in words for the person.
    Offline(String),
    /// Giving media of this form.
    Online(Arc<StreamDescription>),
}

impl SourceState {
    /// The description, when online.
    #[must_use]
    pub const fn description(&self) -> Option<&Arc<StreamDescription>> {
        match self {
            Self::Online(description) => Some(description),
            Self::Offline(_) => None,
        }
    }
}

/// What a reader gets from [`Reader::next`].
#[derive(Debug, Clone)]
pub enum Next {
    /// The next unit.
    Unit(Arc<AccessUnit>),
    /// The reader was too slow and goes on at a keyframe; so many units were left out.
    Skipped(u64),
    /// The source went away, came back, or changed its form; the reader goes on at the next
    /// keyframe.
    State(SourceState),
}

struct Shared {
    ring: Mutex<Ring>,
    /// Rises with every unit and every change of `state`: the wake-up of readers.
    newest: watch::Sender<u64>,
    state: watch::Sender<SourceState>,
    /// Whether the source has ever been reached, or was found out of reach.
    tried: AtomicBool,
    keyframe_wanted: tokio::sync::Notify,
    /// Somebody has begun to read: the wake-up of a writer on demand.
    subscribed: tokio::sync::Notify,
}

/// Handle to a stream; cheap to clone.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

/// The one writer of a [`Hub`]. Dropping it takes the stream offline.
pub struct Publisher {
    shared: Arc<Shared>,
}

impl Hub {
    /// A hub and its writer.
    #[must_use]
    pub fn new(limits: Limits) -> (Publisher, Self) {
        let hub = Self::unwritten(limits);
        (hub.publisher(), hub)
    }

    /// A hub whose source is only about to start: its first writer is made by [`Self::publisher`].
    #[must_use]
    pub fn unwritten(limits: Limits) -> Self {
        let shared = Arc::new(Shared {
            ring: Mutex::new(Ring::new(limits, true)),
            newest: watch::Sender::new(0),
            state: watch::Sender::new(SourceState::Offline("not connected yet".into())),
            tried: AtomicBool::new(false),
            keyframe_wanted: tokio::sync::Notify::new(),
            subscribed: tokio::sync::Notify::new(),
        });
        Self { shared }
    }

    /// A new writer, for a source that starts again after the last writer is gone: a hub has one
    /// writer at a time.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher { shared: Arc::clone(&self.shared) }
    }

    /// The source's state now.
    #[must_use]
    pub fn state(&self) -> SourceState {
        self.shared.state.borrow().clone()
    }

    /// Whether it is not known yet if the source can be reached at all. Once it is false,
    /// [`Self::state`] says what was found: ask this first.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        !self.shared.tried.load(Ordering::Acquire)
    }

    /// Changes of the source's state.
    #[must_use]
    pub fn watch_state(&self) -> watch::Receiver<SourceState> {
        self.shared.state.subscribe()
    }

    /// A reader that starts at the newest keyframe, at once if there is one.
    #[must_use]
    pub fn subscribe(&self) -> Reader {
        // The receivers come first: what is pushed in between is seen twice rather than never.
        let mut newest = self.shared.newest.subscribe();
        newest.mark_changed();
        let mut state = self.shared.state.subscribe();
        state.borrow_and_update();
        let cursor = self.shared.ring.lock().cursor();
        self.shared.subscribed.notify_one();
        Reader { shared: Arc::clone(&self.shared), cursor, newest, state }
    }

    /// Asks the source for a keyframe, where it can make one.
    pub fn request_keyframe(&self) {
        self.shared.keyframe_wanted.notify_one();
    }

    /// Whether both are handles to the same stream.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Bytes that the hub holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shared.ring.lock().bytes()
    }

    /// Readers now.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.shared.newest.receiver_count()
    }

    /// Resolves when nobody reads. Cancel-safe.
    pub async fn unwanted(&self) {
        self.shared.newest.closed().await;
    }
}

impl Publisher {
    /// The source is connected and gives this form of media.
    pub fn online(&self, description: StreamDescription) {
        let changed = self.shared.state.borrow().description().is_none_or(|d| **d != description);
        if changed {
            self.shared.ring.lock().clear(description.video.is_some());
            self.shared.state.send_replace(SourceState::Online(Arc::new(description)));
            self.shared.tried.store(true, Ordering::Release);
            self.shared.newest.send_modify(|n| *n += 1);
        }
    }

    /// The source is gone; `reason` in words for the person.
    pub fn offline(&self, reason: impl Into<String>) {
        // What the camera showed before it went is no live picture any more.
        self.shared.ring.lock().forget();
        self.shared.state.send_replace(SourceState::Offline(reason.into()));
        self.shared.tried.store(true, Ordering::Release);
        self.shared.newest.send_modify(|n| *n += 1);
    }

    /// Gives a unit to all readers.
    pub fn publish(&self, unit: AccessUnit) {
        self.shared.ring.lock().push(Arc::new(unit));
        self.shared.newest.send_modify(|n| *n += 1);
    }

    /// Resolves when a reader wants a keyframe.
    pub async fn keyframe_wanted(&self) {
        self.shared.keyframe_wanted.notified().await;
    }

    /// Resolves when somebody reads. Cancel-safe.
    pub async fn wanted(&self) {
        while self.readers() == 0 {
            self.shared.subscribed.notified().await;
        }
    }

    /// Resolves when nobody reads. Cancel-safe.
    pub async fn unwanted(&self) {
        self.shared.newest.closed().await;
    }

    /// A handle for readers.
    #[must_use]
    pub fn hub(&self) -> Hub {
        Hub { shared: Arc::clone(&self.shared) }
    }

    /// Readers now; a source on demand may pause at zero.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.shared.newest.receiver_count()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.offline("the source has ended");
    }
}

/// One reader's place in a [`Hub`].
pub struct Reader {
    shared: Arc<Shared>,
    cursor: Cursor,
    newest: watch::Receiver<u64>,
    state: watch::Receiver<SourceState>,
}

impl Reader {
    /// The next thing, without waiting; `None` when there is nothing new.
    pub fn try_next(&mut self) -> Option<Next> {
        if self.state.has_changed().unwrap_or(false) {
            let state = self.state.borrow_and_update().clone();
            self.cursor = self.shared.ring.lock().cursor();
            return Some(Next::State(state));
        }
        match self.shared.ring.lock().read(&mut self.cursor) {
            Read::Unit(unit) => Some(Next::Unit(unit)),
            Read::Skipped(count) => Some(Next::Skipped(count)),
            Read::Empty => None,
        }
    }

    /// The next thing. Cancel-safe.
    pub async fn next(&mut self) -> Next {
        loop {
            // Seen before reading, so that a unit pushed meanwhile wakes the wait below.
            self.newest.borrow_and_update();
            if let Some(next) = self.try_next() {
                return next;
            }
            // Cannot fail: this reader itself keeps the sender alive.
            let _ = self.newest.changed().await;
        }
    }

    /// Leaves out everything before the newest keyframe.
    pub fn skip_to_newest_keyframe(&mut self) {
        self.shared.ring.lock().skip_to_newest_keyframe(&mut self.cursor);
    }

    /// Units waiting to be read.
    #[must_use]
    pub fn behind(&self) -> u64 {
        self.shared.ring.lock().behind(&self.cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sightline_media::{ParameterSets, VideoTrack};
    use sightline_model::UnixMicros;

    fn keyframe() -> AccessUnit {
        AccessUnit::Video {
            timestamp: 0,
            captured_at: UnixMicros(0),
            keyframe: true,
            disposable: false,
            codec: sightline_model::VideoCodec::H264,
            data: bytes::Bytes::from_static(&[0, 0, 0, 1, 0x65]),
        }
    }

    #[tokio::test]
    async fn a_writer_on_demand_is_woken_by_the_first_reader_and_let_go_by_the_last() {
        let (publisher, hub) = Hub::new(Limits::default());
        publisher.unwanted().await;
        drop(hub.subscribe());
        // The notice of a reader that has gone again wakes nobody for good.
        let woken = std::sync::atomic::AtomicBool::new(false);
        let writing = async {
            publisher.wanted().await;
            woken.store(true, std::sync::atomic::Ordering::SeqCst);
            publisher.unwanted().await;
        };
        let reading = async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert!(!woken.load(std::sync::atomic::Ordering::SeqCst), "nobody reads");
            let readers = [hub.subscribe(), hub.subscribe()];
            while !woken.load(std::sync::atomic::Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
            drop(readers);
        };
        tokio::join!(writing, reading);
    }

    #[tokio::test]
    async fn a_camera_that_went_away_leaves_no_old_picture() {
        let (publisher, hub) = Hub::new(Limits::default());
        let sps = bytes::Bytes::from_static(&[0x67]);
        let parameter_sets = ParameterSets::H264 { sps: sps.clone(), pps: sps };
        let video = VideoTrack { width: 16, height: 16, fps: 25.0, parameter_sets };
        publisher.online(StreamDescription { video: Some(video), audio: None });
        publisher.publish(keyframe());
        let mut reader = hub.subscribe();
        assert!(matches!(reader.next().await, Next::Unit(_)));
        publisher.offline("unplugged");
        assert!(matches!(reader.next().await, Next::State(SourceState::Offline(_))));
        assert!(reader.try_next().is_none(), "an old picture was shown again");
        assert!(hub.subscribe().try_next().is_none(), "an old picture was shown to a newcomer");
    }
}
