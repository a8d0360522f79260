//! How many connections there may be, in all and of one address.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;
use sightline_model::subscriber;

/// Counts connections.
#[derive(Debug)]
pub(crate) struct Admission {
    max: u32,
    max_per_ip: u32,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: u32,
    by_ip: HashMap<IpAddr, u32>,
}

/// The right to be connected; dropping it gives the place free.
#[derive(Debug)]
pub(crate) struct Place {
    of: Arc<Admission>,
    ip: IpAddr,
}

impl Admission {
    pub(crate) fn new(max: u32, max_per_ip: u32) -> Arc<Self> {
        Arc::new(Self { max, max_per_ip, counts: Mutex::default() })
    }

    /// A place for a connection from this address, if there is one.
    pub(crate) fn admit(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let ip = subscriber(ip);
        let mut counts = self.counts.lock();
        let of_ip = counts.by_ip.get(&ip).copied().unwrap_or(0);
        if counts.all >= self.max || of_ip >= self.max_per_ip {
            metrics::counter!("sightline_scu_connections_refused_total").increment(1);
            return None;
        }
        counts.all += 1;
        counts.by_ip.insert(ip, of_ip + 1);
        metrics::gauge!("sightline_scu_connections").set(f64::from(counts.all));
        Some(Place { of: self.clone(), ip })
    }

    /// Whether new addresses should prove themselves before the SCU spends memory on them.
    pub(crate) fn is_crowded(&self) -> bool {
        self.counts.lock().all > self.max / 2
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.of.counts.lock();
        counts.all = counts.all.saturating_sub(1);
        metrics::gauge!("sightline_scu_connections").set(f64::from(counts.all));
        if let Some(of_ip) = counts.by_ip.get_mut(&self.ip) {
            *of_ip -= 1;
            if *of_ip == 0 {
                counts.by_ip.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let admission = Admission::new(3, 2);
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let first = admission.admit(ip("2001:db8::1")).expect("free");
        let _second = admission.admit(ip("2001:db8::2")).expect("free");
        assert!(admission.admit(ip("2001:db8::3")).is_none(), "the same /64");
        let _third = admission.admit(ip("192.0.2.1")).expect("another address");
        assert!(admission.admit(ip("192.0.2.2")).is_none(), "full");
        drop(first);
        assert!(admission.admit(ip("::ffff:192.0.2.1")).is_some());
    }
}
