//! Where this machine is: its addresses, which of them leads outside, and a name for the network.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::Path,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use sightline_p2p::NetworkId;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// More are of no use to another end that races them.
const MAX_ADDRESSES: usize = 12;

/// How often the network is looked at while there are sessions.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The machine's place in the network, now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Own addresses, the ones that lead outside first.
    pub addresses: Vec<IpAddr>,
    /// What packets of IPv4 to the Internet leave from.
    pub outward_v4: Option<Ipv4Addr>,
    /// And those of IPv6.
    pub outward_v6: Option<Ipv6Addr>,
    /// The router of IPv4.
    pub gateway: Option<Ipv4Addr>,
}

impl Surroundings {
    /// Looks. Blocks for a few system calls only.
    #[must_use]
    pub fn look(loopback: bool) -> Self {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let outward_v4 = match outward((Ipv4Addr::new(192, 0, 2, 1), 9).into()) {
            Some(IpAddr::V4(ip)) => Some(ip),
            Some(IpAddr::V6(_)) | None => None,
        };
        let documentation = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        let outward_v6 = match outward((documentation, 9).into()) {
            Some(IpAddr::V6(ip)) => Some(ip),
            Some(IpAddr::V4(_)) | None => None,
        };
        let mut addresses: Vec<IpAddr> = interfaces
            .iter()
            .filter(|interface| interface.is_oper_up() || interface.is_loopback())
            .map(if_addrs::Interface::ip)
            .filter(|ip| is_useful(*ip, loopback))
            .collect();
        let leads_outside = |ip: &IpAddr| {
            outward_v4.is_some_and(|o| IpAddr::V4(o) == *ip)
                || outward_v6.is_some_and(|o| IpAddr::V6(o) == *ip)
        };
        addresses.sort_unstable_by_key(|ip| (!leads_outside(ip), *ip));
        addresses.dedup();
        addresses.truncate(MAX_ADDRESSES);
        Self { addresses, outward_v4, outward_v6, gateway: default_gateway() }
    }

    /// A number for this network that is the same the next time: nothing of it is sent anywhere.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        // A home network keeps its router and its prefix; a carrier's changes with the address.
        let prefix_v4 = self.outward_v4.map(|ip| u32::from(ip) >> 8);
        let prefix_v6 = self.outward_v6.map(|ip| u128::from(ip) >> 64);
        let text = format!("{:?} {prefix_v4:?} {prefix_v6:?}", self.gateway);
        // FNV-1a: steady between versions, which the standard library's hasher is not.
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        NetworkId(hash)
    }

    /// Whether nothing leads outside.
    #[must_use]
    pub const fn is_cut_off(&self) -> bool {
        self.outward_v4.is_none() && self.outward_v6.is_none()
    }

    /// Whether packets would leave from elsewhere than they did at `before`.
    #[must_use]
    pub fn has_moved(&self, before: &Self) -> bool {
        let gone = |ip: Option<IpAddr>| ip.is_some_and(|ip| !self.addresses.contains(&ip));
        gone(before.outward_v4.map(IpAddr::V4))
            || gone(before.outward_v6.map(IpAddr::V6))
            || (before.outward_v4.is_some() && before.outward_v4 != self.outward_v4)
    }
}

/// Looks at the machine's network for all sessions together, while there are any.
#[derive(Debug, Default)]
pub(crate) struct Lookout {
    running: Mutex<Option<watch::Sender<Surroundings>>>,
}

impl Lookout {
    /// What is seen, and its changes. Whoever comes first starts the task, which belongs to `tasks`
    /// and ends with `token` or with the last who looks.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        loopback: bool,
        token: &CancellationToken,
        tasks: &TaskTracker,
    ) -> watch::Receiver<Surroundings> {
        let mut running = self.running.lock();
        if let Some(sender) = &*running {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(Surroundings::look(loopback));
        *running = Some(sender.clone());
        let (lookout, token) = (Arc::clone(self), token.clone());
        tasks.spawn(async move { lookout.look_out(&sender, loopback, &token).await });
        receiver
    }

    async fn look_out(
        &self,
        sender: &watch::Sender<Surroundings>,
        loopback: bool,
        token: &CancellationToken,
    ) {
        loop {
            tokio::select! {
                () = token.cancelled() => break,
                () = sender.closed() => {
                    let mut running = self.running.lock();
                    // Somebody may have come at the last moment.
                    if sender.receiver_count() == 0 {
                        *running = None;
                        return;
                    }
                }
                () = tokio::time::sleep(LOOK_EVERY) => {
                    let place = Surroundings::look(loopback);
                    sender.send_if_modified(|known| {
                        let changed = *known != place;
                        *known = place;
                        changed
                    });
                }
            }
        }
        *self.running.lock() = None;
    }
}

fn is_useful(ip: IpAddr, loopback: bool) -> bool {
    let link_local = match ip {
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
        IpAddr::V4(ip) => ip.is_link_local(),
    };
    (loopback || !ip.is_loopback()) && !ip.is_unspecified() && !link_local
}

/// The address that the system would choose: connecting a datagram socket sends nothing.
fn outward(to: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr =
        if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    is_useful(ip, false).then_some(ip)
}

fn default_gateway() -> Option<Ipv4Addr> {
    gateway_in(&std::fs::read_to_string(Path::new("/proc/net/route")).ok()?)
}

/// The route of destination and mask 0 with the lowest metric.
fn gateway_in(routes: &str) -> Option<Ipv4Addr> {
    let best = routes.lines().skip(1).filter_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (destination, gateway) = (words.next()?, words.next()?);
        let metric: u32 = words.nth(3)?.parse().ok()?;
        let mask = words.next()?;
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        let is_default = destination == "00000000" && mask == "00000000" && gateway != 0;
        is_default.then_some((metric, gateway))
    });
    // As it lies in memory.
    best.min().map(|(_, gateway)| Ipv4Addr::from(gateway.to_ne_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_with_the_lowest_metric_counts() {
        let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n\
             eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\n\
             wlan0\t00000000\t0201A8C0\t0003\t0\t0\t600\t00000000\t0\n\
             eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\n";
        let expected =
            if cfg!(target_endian = "little") { [192, 168, 1, 1] } else { [1, 1, 168, 192] };
        assert_eq!(gateway_in(routes), Some(expected.into()));
        assert_eq!(gateway_in("Iface\nrubbish\n"), None);
    }

    #[tokio::test]
    async fn one_task_looks_for_all() {
        let (lookout, token) = (Arc::new(Lookout::default()), CancellationToken::new());
        let tasks = TaskTracker::new();
        let many: Vec<_> = (0..64).map(|_| lookout.subscribe(true, &token, &tasks)).collect();
        assert_eq!(tasks.len(), 1);
        assert!(many.iter().all(|seen| *seen.borrow() == *many[0].borrow()));
        drop(many);
        tasks.close();
        tokio::time::timeout(Duration::from_secs(10), tasks.wait()).await.expect("it ends");
        assert!(lookout.running.lock().is_none());
    }

    #[test]
    fn a_move_is_the_loss_of_what_led_outside() {
        let home = Surroundings {
            addresses: vec!["192.168.1.7".parse().expect("address")],
            outward_v4: Some([192, 168, 1, 7].into()),
            ..Surroundings::default()
        };
        let mut more = home.clone();
        more.addresses.push("10.0.0.1".parse().expect("address"));
        assert!(!more.has_moved(&home) && more.network() == home.network());
        let mobile = Surroundings {
            addresses: vec!["10.9.0.7".parse().expect("address")],
            outward_v4: Some([10, 9, 0, 7].into()),
            ..Surroundings::default()
        };
        assert!(mobile.has_moved(&home) && mobile.network() != home.network());
        assert!(!mobile.has_moved(&Surroundings::default()));
    }
}
