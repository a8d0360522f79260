//! The bus of a simulated world: it loses, duplicates and reorders.

use scu_session::{Input, Request};
use sightline_model::{MediaSessionId, PuId};
use sightline_protocol::{
    Problem, ProblemKind,
    cs::{CsRequest, MediaOffer, ScuToCu},
    sm::SmRequest,
};

use crate::{SCUS, World};

/// A message between SCUs, or from the CMU.
pub enum Wire {
    ToDevice(PuId, CsRequest),
    ToSession(MediaSessionId, ScuToCu),
    Offer(usize, MediaSessionId, PuId, Box<MediaOffer>),
    Delivered(usize, MediaSessionId, Result<(), Problem>),
    Granted(PuId, u64),
    Sm(PuId, SmRequest),
}

impl World {
    /// Carries one message over the bus, if it is not lost.
    pub fn carry(&mut self, wire: Wire) {
        match wire {
            Wire::ToDevice(device, request) => {
                for scu in 0..SCUS {
                    if let Some(conn) = self.holder(scu, &device) {
                        let request = Request::Cs(request.clone());
                        self.feed(scu, Input::Device { conn, request, from: () });
                    }
                }
            }
            Wire::Offer(from, session, device, offer) => {
                let holder = (0..SCUS).find_map(|s| Some((s, self.holder(s, &device)?)));
                let result = match holder {
                    Some((scu, conn)) => {
                        let request = CsRequest::Offer { session: session.clone(), offer };
                        let request = Request::Cs(request);
                        self.feed(scu, Input::Device { conn, request, from: () });
                        Ok(())
                    }
                    None => Err(Problem::new(ProblemKind::DeviceOffline, "nobody")),
                };
                self.wires.push(Wire::Delivered(from, session, result));
            }
            Wire::Delivered(scu, session, result) => {
                self.feed(scu, Input::Delivered { session, result });
            }
            Wire::ToSession(session, message) => {
                for scu in 0..SCUS {
                    if self.listening[scu].contains(&session) {
                        let (session, message) = (session.clone(), message.clone());
                        self.feed(scu, Input::ForCu { session, message });
                    }
                }
            }
            Wire::Granted(device, epoch) => {
                for scu in 0..SCUS {
                    let device = device.clone();
                    self.feed(scu, Input::LeaseGranted { device, epoch });
                }
            }
            Wire::Sm(device, request) => {
                for scu in 0..SCUS {
                    if let Some(conn) = self.holder(scu, &device) {
                        let request = Request::Sm(request.clone());
                        self.feed(scu, Input::Device { conn, request, from: () });
                    }
                }
            }
        }
    }

    pub fn bus_step(&mut self) {
        if self.wires.is_empty() {
            return;
        }
        let at = self.rng.below(self.wires.len());
        let wire = self.wires.swap_remove(at);
        // The answer to a request is never lost without a word: it becomes a timeout.
        let wire = match wire {
            Wire::Offer(from, session, ..) if self.rng.chance(15) => {
                let problem = Problem::new(ProblemKind::Timeout, "lost");
                Wire::Delivered(from, session, Err(problem))
            }
            answered @ (Wire::Offer(..) | Wire::Delivered(..)) => answered,
            _ if self.rng.chance(15) => return,
            other => other,
        };
        if self.rng.chance(10) {
            match &wire {
                Wire::ToDevice(d, r) => self.wires.push(Wire::ToDevice(d.clone(), r.clone())),
                Wire::ToSession(s, m) => self.wires.push(Wire::ToSession(s.clone(), m.clone())),
                Wire::Granted(d, e) => self.wires.push(Wire::Granted(d.clone(), *e)),
                Wire::Sm(d, r) => self.wires.push(Wire::Sm(d.clone(), r.clone())),
                Wire::Offer(..) | Wire::Delivered(..) => {}
            }
        }
        self.carry(wire);
    }
}
