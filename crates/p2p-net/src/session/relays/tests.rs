//! Which relays are asked, and what becomes of allocations whose credentials end.

use sightline_model::SessionToken;

use super::*;
use crate::server::{Place, RelayTransport};

fn server(host: &str, transport: RelayTransport, username: &str) -> RelayServer {
    RelayServer {
        place: Place { host: host.into(), port: 1 },
        transport,
        entry: usize::from(host.as_bytes()[0]),
        username: username.into(),
        credential: SessionToken::new(String::new()),
    }
}

/// With this credential.
fn servers_for(username: &str) -> Vec<RelayServer> {
    vec![
        server("a", RelayTransport::Udp, username),
        server("b", RelayTransport::Udp, username),
        server("a", RelayTransport::Tcp, username),
        server("b", RelayTransport::Tcp, username),
    ]
}

fn servers() -> Vec<RelayServer> {
    servers_for("")
}

fn place_of(asked: &RelayServer) -> usize {
    servers().iter().position(|server| server.is_same(asked)).expect("one of these")
}

fn asks(relays: &mut Relays, now: Instant) -> Vec<usize> {
    std::iter::from_fn(|| relays.next(now).map(|server| place_of(&server))).collect()
}

#[test]
fn a_spare_is_on_another_server() {
    let now = Instant::now();
    let mut relays = Relays::new(servers(), 2);
    assert_eq!(asks(&mut relays, now), [0, 1]);
    assert!(relays.up_is(&servers()[0], SocketId(1), now));
    assert!(relays.up_is(&servers()[1], SocketId(2), now));
    assert_eq!(relays.due(now), None);
    relays.gone(SocketId(1), now);
    // The other transport of the server that is left is no spare.
    assert_eq!(asks(&mut relays, now + STAGGER), [2]);
}

/// Whoever waits until then would never sleep.
#[test]
fn what_failed_at_the_only_mtu_that_serves_makes_nothing_due() {
    let now = Instant::now();
    let only = [RelayTransport::Udp, RelayTransport::Tcp].map(|over| server("a", over, ""));
    let mut relays = Relays::new(only.to_vec(), 2);
    for _ in &only {
        assert!(relays.next(now).is_some());
    }
    relays.failed(&only[0], now);
    assert!(relays.up_is(&only[1], SocketId(1), now));
    for later in [now, now + AGAIN, now + AGAIN * 2] {
        assert_eq!(relays.due(later).filter(|due| *due <= later), None);
        assert!(relays.ask(later, None).is_none());
    }
    // Once it serves no more, everything is worth a try again.
    relays.gone(SocketId(1), now + AGAIN * 2);
    assert!(relays.next(now + AGAIN * 2).is_some_and(|again| again.is_same(&only[0])));
}

#[test]
fn two_mtus_at_one_address_are_each_others_spare_and_two_addresses_of_one_are_not() {
    let now = Instant::now();
    let with = |entry: usize, host: &str, port: u16| RelayServer {
        place: Place { host: host.into(), port },
        entry,
        ..server("a", RelayTransport::Udp, "")
    };
    let all = [with(0, "192.0.2.1", 3_478), with(0, "2001:db8::1", 3_478), with(1, "192.0.2.1", 9)];
    let mut relays = Relays::new(all.to_vec(), 2);
    let asked: Vec<_> = std::iter::from_fn(|| relays.next(now)).collect();
    assert!(asked.len() == 2 && asked[0].is_same(&all[0]) && asked[1].is_same(&all[2]));
    assert!(relays.up_is(&all[0], SocketId(1), now) && relays.up_is(&all[2], SocketId(2), now));
    assert_eq!(relays.due(now + AGAIN), None);
    relays.gone(SocketId(1), now);
    assert!(relays.next(now + STAGGER).is_some_and(|next| next.is_same(&all[1])));
}

#[test]
fn where_udp_is_silent_tcp_is_asked_soon() {
    let now = Instant::now();
    let mut relays = Relays::new(servers(), 1);
    assert_eq!(asks(&mut relays, now), [0]);
    assert_eq!(asks(&mut relays, now), Vec::<usize>::new());
    assert_eq!(asks(&mut relays, now + STAGGER), [1]);
    assert_eq!(asks(&mut relays, now + STAGGER * 2), [2]);
    assert!(relays.up_is(&servers()[2], SocketId(7), now));
    assert!(!relays.up_is(&servers()[0], SocketId(8), now), "one is enough");
    assert_eq!(relays.due(now + STAGGER * 3), None);
}

#[test]
fn nothing_is_asked_that_is_not_wanted() {
    let now = Instant::now();
    let mut relays = Relays::new(servers(), 0);
    assert_eq!(relays.due(now), None);
    relays.want_one(now);
    assert_eq!(asks(&mut relays, now), [0]);
    relays.failed(&servers()[0], now);
    assert_eq!(asks(&mut relays, now), [1], "at once when the last one has failed");
}

/// Two allocations stand, the first of which carries media.
fn two_up(now: Instant) -> Relays {
    let mut relays = Relays::new(servers_for("old"), 2);
    assert_eq!(asks(&mut relays, now), [0, 1]);
    for (at, id) in [(0, ACTIVE), (1, SPARE)] {
        assert!(relays.up_is(&servers_for("old")[at], id, now));
    }
    relays
}

const ACTIVE: SocketId = SocketId(1);
const SPARE: SocketId = SocketId(2);

#[test]
fn allocations_get_successors_with_the_new_credential_the_spare_first() {
    let now = Instant::now();
    let mut relays = two_up(now);
    relays.renew(servers_for("new"), now);
    assert_eq!(relays.due(now), Some(now));
    let (old, server) = relays.next_renewal(now, Some(ACTIVE)).expect("the spare");
    assert_eq!((old, place_of(&server), server.username.as_str()), (SPARE, 1, "new"));
    // One after the other.
    assert!(relays.next_renewal(now, Some(ACTIVE)).is_none());
    assert_eq!(relays.due(now), None);
    relays.replaced(&server, SPARE, SocketId(3), now);
    let (old, server) = relays.next_renewal(now, Some(ACTIVE)).expect("the active one");
    assert_eq!((old, place_of(&server), server.username.as_str()), (ACTIVE, 0, "new"));
    relays.replaced(&server, ACTIVE, SocketId(4), now);
    assert_eq!((relays.due(now), relays.up()), (None, 2));
    // The old ones may go now, and nothing is asked for in their place.
    relays.gone(ACTIVE, now);
    relays.gone(SPARE, now);
    assert_eq!((relays.due(now), relays.up()), (None, 2));
}

#[test]
fn a_server_that_refuses_the_successor_is_asked_again_while_the_old_one_lives() {
    let now = Instant::now();
    let mut relays = two_up(now);
    relays.renew(servers_for("new"), now);
    let (old, server) = relays.next_renewal(now, Some(ACTIVE)).expect("the spare");
    relays.not_replaced(&server, old, now);
    let (old, _) = relays.next_renewal(now, Some(ACTIVE)).expect("the other meanwhile");
    assert_eq!((old, relays.up()), (ACTIVE, 2));
    relays.not_replaced(&server, old, now);
    assert!(relays.next_renewal(now, Some(ACTIVE)).is_none());
    assert_eq!(relays.due(now), Some(now + AGAIN));
    assert!(relays.next_renewal(now + AGAIN, Some(ACTIVE)).is_some());
    // The end of an outdated one is no fault of its server.
    relays.gone(ACTIVE, now + AGAIN);
    assert_eq!(asks(&mut relays, now + AGAIN), [0]);
}

#[test]
fn a_server_that_is_named_no_more_is_replaced_by_another() {
    let now = Instant::now();
    let mut relays = two_up(now);
    let others = ["b", "c"].map(|host| server(host, RelayTransport::Udp, "new"));
    relays.renew(others.to_vec(), now);
    // Of the server that is named no more the allocation counts, too, while it lives.
    assert_eq!(relays.up(), 2);
    assert_eq!(succeeds(&mut relays, now), [(SPARE, "b".to_owned()), (ACTIVE, "c".to_owned())]);
    assert_eq!((relays.up(), relays.due(now)), (2, None));
}

/// Asks until nothing is due; each server gives what it is asked for.
fn succeeds(relays: &mut Relays, now: Instant) -> Vec<(SocketId, String)> {
    let mut successors = Vec::new();
    while let Some((server, replaces)) = relays.ask(now, Some(ACTIVE)) {
        let old = replaces.expect("nothing is asked for beside successors");
        relays.replaced(&server, old, SocketId(old.0 + 10), now);
        successors.push((old, server.place.host));
    }
    successors
}

#[test]
fn where_all_servers_are_others_each_allocation_has_a_successor() {
    let now = Instant::now();
    let mut relays = two_up(now);
    let others = ["c", "d"].map(|host| server(host, RelayTransport::Udp, "new"));
    relays.renew(others.to_vec(), now);
    assert_eq!(succeeds(&mut relays, now), [(SPARE, "c".to_owned()), (ACTIVE, "d".to_owned())]);
    assert_eq!((relays.up(), relays.due(now)), (2, None));
    // What they replace ends, and nothing is asked for in its place.
    relays.gone(ACTIVE, now);
    relays.gone(SPARE, now);
    assert_eq!((relays.up(), relays.due(now)), (2, None));
}

#[test]
fn where_all_servers_are_others_and_refuse_they_are_asked_again() {
    let now = Instant::now();
    let mut relays = two_up(now);
    let others = ["c", "d"].map(|host| server(host, RelayTransport::Udp, "new"));
    relays.renew(others.to_vec(), now);
    for (wanted, host) in [(SPARE, "c"), (ACTIVE, "d")] {
        let (server, replaces) = relays.ask(now, Some(ACTIVE)).expect("one that is free");
        assert_eq!((replaces, server.place.host.as_str()), (Some(wanted), host));
        relays.not_replaced(&server, wanted, now);
    }
    assert!(relays.ask(now, Some(ACTIVE)).is_none());
    assert_eq!(relays.due(now), Some(now + AGAIN));
    let (_, replaces) = relays.ask(now + AGAIN, Some(ACTIVE)).expect("once more");
    assert_eq!(replaces, Some(SPARE));
    // One that ends without a successor is made up for elsewhere.
    relays.gone(ACTIVE, now + AGAIN);
    let (server, replaces) = relays.ask(now + AGAIN + STAGGER, None).expect("another");
    assert_eq!((replaces, server.place.host.as_str()), (None, "d"));
}

#[test]
fn no_second_successor_is_asked_for_while_one_is() {
    let now = Instant::now();
    let mut relays = two_up(now);
    // The ladder wants one, and then the centre names servers anew.
    let asked = relays.successor_of(SPARE).expect("it is named");
    assert!(relays.successor_of(SPARE).is_none());
    relays.renew(servers_for("new"), now);
    assert!(relays.ask(now, Some(ACTIVE)).is_none(), "one after the other");
    relays.not_replaced(&asked, SPARE, now);
    let (server, replaces) = relays.ask(now, Some(ACTIVE)).expect("the other meanwhile");
    assert_eq!(replaces, Some(ACTIVE));
    // Nor does the ladder get one beside that.
    assert!(relays.successor_of(ACTIVE).is_none());
    relays.not_replaced(&server, ACTIVE, now);
    assert!(relays.successor_of(ACTIVE).is_some(), "it may try once more");
}

#[test]
fn what_was_asked_with_the_old_credential_is_replaced_too() {
    let now = Instant::now();
    let mut relays = Relays::new(servers_for("old"), 1);
    let asked = relays.next(now).expect("one is wanted");
    relays.renew(servers_for("new"), now);
    assert!(relays.up_is(&asked, ACTIVE, now));
    let (old, server) = relays.next_renewal(now, None).expect("outdated already");
    assert_eq!((old, server.username.as_str()), (ACTIVE, "new"));
    // A list with the same credential changes nothing.
    relays.replaced(&server, old, SPARE, now);
    relays.renew(servers_for("new"), now);
    assert_eq!(relays.due(now), None);
}

#[test]
fn however_often_servers_are_named_allocations_are_replaced_now_and_then() {
    let start = Instant::now();
    let mut relays = two_up(start);
    let (mut asked, mut id) = (0, 10);
    for second in 0..600_u32 {
        let now = start + Duration::from_secs(1) * second;
        relays.renew(servers_for(&format!("{second}")), now);
        while let Some((old, server)) = relays.next_renewal(now, Some(ACTIVE)) {
            id += 1;
            asked += 1;
            relays.replaced(&server, old, SocketId(id), now);
        }
    }
    // Both, at once and then each minute.
    assert_eq!(asked, 2 * 10);
}
