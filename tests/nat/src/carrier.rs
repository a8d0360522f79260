//! The NAT whose mappings die of age: they are watched, and ended when their time has come.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{rules::next_life, space::Space};

/// How often mappings are looked for.
const LOOK: Duration = Duration::from_millis(200);

/// An inner address and port.
type Inner = (Ipv4Addr, u16);

/// Ends mappings from a thread of its own.
#[derive(Debug)]
pub(crate) struct Reaper {
    stop: Arc<AtomicBool>,
    deaths: Arc<AtomicU32>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Reaper {
    /// Ends every UDP mapping of this router at that age.
    pub(crate) fn start(router: Arc<Space>, lifetime: Duration) -> Self {
        let (stop, deaths) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&deaths));
        let thread = std::thread::spawn(move || {
            let mut mappings = Mappings::default();
            while !stopped.load(Ordering::Relaxed) {
                let dead = mappings.look(&router, lifetime);
                counted.fetch_add(dead, Ordering::Relaxed);
                std::thread::park_timeout(LOOK);
            }
        });
        Self { stop, deaths, thread: Some(thread) }
    }

    /// How many mappings have died.
    pub(crate) fn deaths(&self) -> u32 {
        self.deaths.load(Ordering::Relaxed)
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

#[derive(Default)]
struct Mappings {
    born: HashMap<Inner, Instant>,
    lives: HashMap<Inner, u32>,
}

impl Mappings {
    /// Notes new mappings, ends old ones; returns how many.
    fn look(&mut self, router: &Space, lifetime: Duration) -> u32 {
        let now = Instant::now();
        let there = listed(router);
        self.born.retain(|inner, _| there.contains(inner));
        let mut dead = 0;
        for inner in there {
            if now - *self.born.entry(inner).or_insert(now) >= lifetime {
                self.born.remove(&inner);
                let life = self.lives.entry(inner).or_insert(0);
                *life = next_life(*life);
                end(router, inner, *life);
                dead += 1;
            }
        }
        dead
    }
}

/// The inner ends that have mappings.
fn listed(router: &Space) -> Vec<Inner> {
    let output = conntrack(router, &["-L", "-p", "udp"]);
    let mut found: Vec<Inner> = output.lines().filter_map(inner).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// `udp 17 29 src=192.168.1.20 dst=… sport=5000 dport=… src=… …`: the first of each is the inner.
fn inner(line: &str) -> Option<Inner> {
    let mut words = line.split_whitespace();
    let address = words.find_map(|word| word.strip_prefix("src="))?;
    let port = words.find_map(|word| word.strip_prefix("sport="))?;
    let address: Ipv4Addr = address.parse().ok()?;
    address.is_private().then_some((address, port.parse().ok()?))
}

/// First the next life's port, then the end: a packet between the two finds either.
fn end(router: &Space, (address, port): Inner, life: u32) {
    let element = format!("ip nat lives {{ {address} . {port}");
    let delete = format!("delete element {element} }}");
    let known = format!("add element {element} : {life} }}");
    // An entry cannot be changed; adding it first makes deleting it always possible.
    let before = if life == 0 { 31 } else { life - 1 };
    let add_before = format!("add element {element} : {before} }}");
    router.nft(&format!("{add_before}\n{delete}\n{known}\n"));
    let (address, port) = (address.to_string(), port.to_string());
    conntrack(router, &["-D", "-p", "udp", "--orig-src", &address, "--orig-port-src", &port]);
}

/// What `conntrack` prints; it fails when there is nothing to list or delete.
fn conntrack(router: &Space, arguments: &[&str]) -> String {
    let Some(program) = e2e::tool("conntrack") else { return String::new() };
    let output = router.command(&program).args(arguments).output();
    output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_end_of_a_line_is_found() {
        let line = "udp      17 29 src=192.168.1.20 dst=192.0.2.1 sport=4000 dport=3478 \
                    src=192.0.2.1 dst=198.51.100.10 sport=3478 dport=23456 mark=0 use=1";
        assert_eq!(inner(line), Some((Ipv4Addr::new(192, 168, 1, 20), 4000)));
        let own = "udp      17 29 src=198.51.100.10 dst=192.0.2.1 sport=1 dport=2 src=3";
        assert_eq!((inner(own), inner("")), (None, None));
    }
}
