//! A switch with the centre and one person who watches from wherever.

use std::{collections::BTreeMap, path::Path};

use crate::{
    camera::Camera,
    cell::{Seen, watch},
    centre::Centre,
    kind::Kind,
    network::Network,
    rung::Cell,
    viewer::Person,
    wan::{End, Wan},
};

/// The centre is up, a person has signed in.
#[derive(Debug)]
pub struct World {
    viewers: BTreeMap<Kind, Network>,
    /// So often; names logs.
    watched: usize,
    /// Where the person is when nothing is watched.
    pub desk: Network,
    /// The person.
    pub person: Person,
    /// CMU, SCU, MTUs.
    pub centre: Centre,
    /// Where everything hangs.
    pub wan: Wan,
    /// Configurations, data, logs.
    pub folder: tempfile::TempDir,
}

impl World {
    /// Starts it; `None` when there is no NATS server.
    ///
    /// # Panics
    /// When the centre does not come up.
    #[must_use]
    pub fn start() -> Option<Self> {
        let wan = Wan::new();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let centre = Centre::start(&wan.centre, folder.path())?;
        let desk = Network::new(&wan, Kind::Public, End::Viewer);
        let person = Person::login(&centre, &desk.host, folder.path());
        Some(Self { viewers: BTreeMap::new(), watched: 0, desk, person, centre, wan, folder })
    }

    /// Starts a camera and takes possession of it; gives its id, too.
    #[must_use]
    pub fn camera(&self, kind: Kind) -> (Camera, String) {
        self.camera_in(Network::new(&self.wan, kind, End::Camera))
    }

    /// Starts a camera in a network and takes possession of it.
    #[must_use]
    pub fn camera_in(&self, network: Network) -> (Camera, String) {
        let camera = Camera::start(network, self.folder.path());
        let id = self.person.bind(&self.desk.host, &camera);
        (camera, id)
    }

    /// Starts a camera's agent anew, and waits until it can be watched; not until it has measured.
    pub fn restart(&self, camera: &mut Camera) {
        camera.restart();
        let _ = self.person.wait_online(&self.desk.host, camera);
    }

    /// Goes through one cell.
    #[must_use]
    pub fn cell(&mut self, cell: Cell, place: &Camera, id: &str) -> Seen {
        let log = self.folder.path().join(format!("{}.log", cell.via.name()));
        let seen = if cell.viewer == Kind::OneHome {
            let guest = place.network.another_host(&self.wan);
            watch(cell, &self.person, &guest, id, &log)
        } else {
            let network = self.viewers.entry(cell.viewer);
            let network =
                network.or_insert_with(|| Network::new(&self.wan, cell.viewer, End::Viewer));
            watch(cell, &self.person, &network.host, id, &log)
        };
        if let Some(folder) = std::env::var_os("TEST_KEEP_LOGS") {
            let Cell { via, camera, viewer } = cell;
            self.watched += 1;
            let name = format!("{:03}-{}-{camera}-{viewer}", self.watched, via.name());
            let _ = std::fs::create_dir_all(&folder);
            let _ = std::fs::copy(&log, Path::new(&folder).join(format!("{name}.log")));
            let agent = Path::new(&folder).join(format!("{name}-pu.log"));
            let _ = std::fs::write(agent, place.log());
            for unit in ["cmu", "scu", "mtu1", "mtu2"] {
                let log = self.folder.path().join(format!("{unit}.log"));
                let _ = std::fs::copy(log, Path::new(&folder).join(format!("{unit}.log")));
            }
        }
        seen
    }
}
