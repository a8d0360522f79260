//! The cameras of one unit, as sinks see them.

use std::{collections::BTreeMap, sync::Arc};

use sightline_model::{ChannelId, StreamTier};
use tokio::sync::watch;

use crate::hub::Hub;

/// One camera and its encodings.
#[derive(Clone)]
pub struct Camera {
    /// Its place on the unit.
    pub channel: ChannelId,
    /// What the unit calls it.
    pub name: Arc<str>,
    /// Its best encoding.
    pub main: Hub,
    /// Its small encoding, if it has one.
    pub sub: Option<Hub>,
}

impl Camera {
    /// The hub of `tier`; the main one when the camera has no sub stream.
    #[must_use]
    pub fn hub(&self, tier: StreamTier) -> &Hub {
        match tier {
            StreamTier::Main => &self.main,
            StreamTier::Sub => self.sub.as_ref().unwrap_or(&self.main),
        }
    }
}

/// A table of cameras at one moment.
pub type Table = Arc<BTreeMap<ChannelId, Camera>>;

/// All cameras of one unit; cheap to clone. They may come and go while it runs: whoever plays one that
/// goes sees its source go.
#[derive(Clone)]
pub struct Cameras {
    table: Arc<watch::Sender<Table>>,
}

impl Cameras {
    /// The camera of this number now.
    #[must_use]
    pub fn get(&self, channel: &ChannelId) -> Option<Camera> {
        self.table.borrow().get(channel).cloned()
    }

    /// Whether there is such a camera now.
    #[must_use]
    pub fn contains_key(&self, channel: &ChannelId) -> bool {
        self.table.borrow().contains_key(channel)
    }

    /// All of them now.
    #[must_use]
    pub fn all(&self) -> Table {
        Arc::clone(&self.table.borrow())
    }

    /// All of them, and their coming and going.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Table> {
        self.table.subscribe()
    }

    /// Puts a camera at its number, in the place of the one that was there.
    pub fn put(&self, camera: Camera) {
        self.table.send_modify(|table| {
            Arc::make_mut(table).insert(camera.channel, camera);
        });
    }

    /// Takes a camera out.
    pub fn remove(&self, channel: ChannelId) {
        self.table.send_if_modified(|table| {
            table.contains_key(&channel) && Arc::make_mut(table).remove(&channel).is_some()
        });
    }
}

impl Default for Cameras {
    fn default() -> Self {
        BTreeMap::new().into()
    }
}

impl From<BTreeMap<ChannelId, Camera>> for Cameras {
    fn from(table: BTreeMap<ChannelId, Camera>) -> Self {
        Self { table: Arc::new(watch::Sender::new(Arc::new(table))) }
    }
}

impl FromIterator<(ChannelId, Camera)> for Cameras {
    fn from_iter<T: IntoIterator<Item = (ChannelId, Camera)>>(cameras: T) -> Self {
        cameras.into_iter().collect::<BTreeMap<_, _>>().into()
    }
}

#[cfg(test)]
mod tests {
    use sightline_media::ring::Limits;

    use super::*;

    fn camera(channel: u16) -> Camera {
        let main = Hub::unwritten(Limits::default());
        Camera { channel: ChannelId(channel), name: "Yard".into(), main, sub: None }
    }

    #[test]
    fn cameras_come_and_go_and_who_watches_the_table_is_told() {
        let cameras = Cameras::default();
        let mut watched = cameras.watch();
        cameras.remove(ChannelId(1));
        assert!(!watched.has_changed().expect("alive"), "nothing has changed");
        cameras.put(camera(1));
        let before = watched.borrow_and_update().clone();
        assert!(cameras.contains_key(&ChannelId(1)) && before.len() == 1);
        let again = camera(1);
        cameras.put(again.clone());
        let now = cameras.get(&ChannelId(1)).expect("there");
        assert!(now.main.is_same(&again.main), "the one before is still there");
        cameras.remove(ChannelId(1));
        assert!(cameras.get(&ChannelId(1)).is_none() && cameras.all().is_empty());
        assert_eq!(before.len(), 1, "what somebody holds changes under their hands");
    }
}
