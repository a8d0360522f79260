//! Which packets are whose, and where they go.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use sightline_p2p::{Path, SocketId};
use tokio::sync::mpsc;

use super::{Wire, session_address};

/// The ladder hears of media on a path at most so often.
const TELL_MEDIA: Duration = Duration::from_millis(20);
/// What a session's task is told and has not heard yet; more is lost, as packets are.
pub(crate) const INBOX: usize = 512;

/// What the task of a session is told by sockets.
#[derive(Debug)]
pub(crate) enum In {
    /// STUN for it.
    Datagram { socket: SocketId, from: SocketAddr, local: Option<IpAddr>, bytes: Bytes },
    /// Media came on this path.
    Media(Path),
}

/// Where a session's packets go now.
#[derive(Clone, Debug)]
pub(crate) struct Active {
    pub(crate) wire: Wire,
    pub(crate) remote: SocketAddr,
    pub(crate) local: Option<IpAddr>,
}

/// A session as the sockets know it.
#[derive(Debug)]
pub(crate) struct SessionRoute {
    pub(crate) number: u64,
    pub(crate) active: Mutex<Option<Active>>,
    inbox: mpsc::Sender<In>,
}

impl SessionRoute {
    pub(super) fn tell(&self, what: In) {
        // Overflow is loss.
        let _ = self.inbox.try_send(what);
    }
}

/// A path on which a session's other end has proven itself.
#[derive(Debug)]
pub(crate) struct PathRoute {
    pub(super) address: SocketAddr,
    path: Path,
    pub(super) session: Arc<SessionRoute>,
    epoch: Instant,
    told_ms: AtomicU64,
}

impl PathRoute {
    pub(super) fn media_came(&self) {
        // The first time is at 1.
        let now = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX) + 1;
        let told = self.told_ms.load(Relaxed);
        let due = told == 0 || now.saturating_sub(told) >= TELL_MEDIA.as_millis() as u64;
        if due && self.told_ms.compare_exchange(told, now, Relaxed, Relaxed).is_ok() {
            self.session.tell(In::Media(self.path));
        }
    }
}

#[derive(Default)]
pub(crate) struct Routes {
    wires: RwLock<HashMap<SocketId, Wire>>,
    paths: RwLock<HashMap<(SocketId, SocketAddr), Arc<PathRoute>>>,
    sessions: RwLock<HashMap<u64, Arc<SessionRoute>>>,
    ufrags: RwLock<HashMap<String, u64>>,
}

impl Routes {
    pub(super) fn wire(&self, id: SocketId) -> Option<Wire> {
        self.wires.read().get(&id).cloned()
    }

    pub(super) fn add_wire(&self, id: SocketId, wire: Wire) {
        self.wires.write().insert(id, wire);
    }

    pub(super) fn remove_wire(&self, id: SocketId) -> Option<Wire> {
        self.wires.write().remove(&id)
    }

    pub(crate) fn path(&self, id: SocketId, from: SocketAddr) -> Option<Arc<PathRoute>> {
        self.paths.read().get(&(id, from)).cloned()
    }

    pub(crate) fn session(&self, number: u64) -> Option<Arc<SessionRoute>> {
        self.sessions.read().get(&number).cloned()
    }

    pub(super) fn by_ufrag(&self, ufrag: &str) -> Option<Arc<SessionRoute>> {
        let number = *self.ufrags.read().get(ufrag)?;
        self.session(number)
    }

    /// A session, under the name that checks for it carry.
    pub(crate) fn add_session(
        &self,
        number: u64,
        ufrag: String,
    ) -> (Arc<SessionRoute>, mpsc::Receiver<In>) {
        let (inbox, receiver) = mpsc::channel(INBOX);
        let route = Arc::new(SessionRoute { number, active: Mutex::new(None), inbox });
        self.sessions.write().insert(number, Arc::clone(&route));
        self.ufrags.write().insert(ufrag, number);
        (route, receiver)
    }

    /// The session is over.
    pub(crate) fn remove_session(&self, number: u64) {
        self.sessions.write().remove(&number);
        self.ufrags.write().retain(|_, n| *n != number);
        self.paths.write().retain(|_, path| path.session.number != number);
    }

    pub(crate) fn path_up(&self, session: &Arc<SessionRoute>, path: Path) {
        let route = PathRoute {
            address: session_address(session.number),
            path,
            session: Arc::clone(session),
            epoch: Instant::now(),
            told_ms: AtomicU64::new(0),
        };
        self.paths.write().insert((path.socket, path.remote), Arc::new(route));
    }

    pub(crate) fn path_down(&self, session: &Arc<SessionRoute>, path: Path) {
        let mut paths = self.paths.write();
        let key = (path.socket, path.remote);
        // Another session of the same other end may have it by now.
        if paths.get(&key).is_some_and(|p| p.session.number == session.number) {
            paths.remove(&key);
        }
    }
}
