//! What viewers of a simulated world do.

use std::{collections::HashMap, time::Duration};

use scu_session::{ConnId, CuPath, Input};
use sightline_model::{Capabilities, ChannelId, MediaSessionId, UserId};
use sightline_protocol::{
    pc::{MediaTransport, PathReport},
    sm::SmRequest,
};

use crate::{PUS, SCUS, World, bus::Wire, offer, pu};

impl World {
    pub fn cu_step(&mut self) {
        let Some(conn) = Self::any(&mut self.rng, &self.cus) else {
            let conn = self.conn();
            let scu = self.rng.below(SCUS);
            self.cus.insert(conn, (scu, HashMap::new()));
            return;
        };
        let scu = self.cus[&conn].0;
        let n = self.rng.below(6);
        // A session belongs to one viewer; its device never changes.
        let session: MediaSessionId = format!("{}-{n}", conn.0).parse().expect("valid");
        let device = pu(n % PUS);
        self.sessions.insert(session.clone(), device.clone());
        match self.rng.below(11) {
            0..=4 => {
                let watches = &mut self.cus.get_mut(&conn).expect("just chosen").1;
                let watch = watches.entry(session.clone()).or_default();
                watch.open_offers += 1;
                watch.device = Some(device.clone());
                if self.rng.chance(50) {
                    let request = SmRequest::PrepareMedia {
                        device: device.clone(),
                        session: session.clone(),
                        user: UserId::from_random([1; 16]),
                        channel: ChannelId(0),
                        capabilities: Capabilities::default(),
                    };
                    self.wires.push(Wire::Sm(device.clone(), request));
                }
                self.feed(scu, Input::CuOffer { conn, session, device, offer: offer() });
            }
            5..=7 => {
                let candidate = "c".to_owned();
                self.feed(scu, Input::CuCandidate { conn, session, candidate });
            }
            8 => self.report_path(scu, conn, &session),
            9 => {
                if let Some(watch) =
                    self.cus.get_mut(&conn).and_then(|(_, watches)| watches.get_mut(&session))
                {
                    watch.open_offers = 0;
                }
                self.feed(scu, Input::CuEnd { conn, session });
            }
            _ => {
                self.cus.remove(&conn);
                let until = self.now + Duration::from_secs(self.rng.next() % 30);
                self.feed(scu, Input::CuGone { conn, until });
            }
        }
    }

    /// Of this viewer's own session, or of another's.
    fn report_path(&mut self, scu: usize, conn: ConnId, own: &MediaSessionId) {
        let mut all: Vec<_> = self.sessions.keys().cloned().collect();
        all.sort_unstable();
        let foreign = self.rng.below(all.len());
        let session = if self.rng.chance(50) { own.clone() } else { all.swap_remove(foreign) };
        let path = PathReport::new(MediaTransport::Webrtc, self.rng.chance(50), "");
        let report = Box::new(CuPath { path, stages: None, nat: None });
        self.reporting = Some(conn);
        self.feed(scu, Input::CuPath { conn, session, report });
        self.reporting = None;
    }
}
