//! What becomes of leases, at a router that speaks PCP and at one that speaks UPnP.

use std::{
    future::pending,
    sync::atomic::{AtomicU8, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
};

use super::{lease::LEASE, terms::Terms, *};

const PATIENCE: Duration = Duration::from_secs(10);
/// RFC 6887 section 7.
const PCP_PORT: u16 = 5_351;
/// What a router's outside looks like.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const HOUR: u32 = 3_600;
/// This machine, for a router that speaks UPnP.
const OWN: Ipv4Addr = Ipv4Addr::new(10, 255, 254, 253);

/// A router that speaks PCP, at a loopback address of its own.
struct Router {
    ip: Ipv4Addr,
    socket: UdpSocket,
    outside: Ipv4Addr,
    /// A request that comes once more was answered before.
    last: Vec<u8>,
}

impl Router {
    async fn start() -> Self {
        static NUMBER: AtomicU8 = AtomicU8::new(1);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let ip = Ipv4Addr::new(127, NUMBER.fetch_add(1, Ordering::Relaxed), high, low);
        let socket = UdpSocket::bind((ip, PCP_PORT)).await.expect("an address of this test's own");
        Self { ip, socket, outside: OUTSIDE, last: Vec::new() }
    }

    /// As this machine sees it. No interface has the address that leads outside, so that nobody
    /// is searched for by UPnP.
    fn place(&self) -> Surroundings {
        Surroundings { outward_v4: Some(OWN), gateway: Some(self.ip), ..Surroundings::default() }
    }

    /// The next request to map a port (RFC 6887 section 11.1).
    async fn hear(&mut self) -> (Request, SocketAddr) {
        let hearing = async {
            loop {
                let mut bytes = [0; 100];
                let (length, from) = self.socket.recv_from(&mut bytes).await.expect("received");
                let bytes = &bytes[..length];
                if self.last != bytes {
                    self.last = bytes.to_vec();
                    return (Request(bytes.try_into().expect("60 bytes")), from);
                }
            }
        };
        tokio::time::timeout(PATIENCE, hearing).await.expect("a request")
    }

    async fn give(&self, request: &Request, to: SocketAddr) {
        self.socket.send_to(&request.granted(self.outside), to).await.expect("sent");
    }

    /// Gives what is asked for next; says for which port and for how long.
    async fn answer(&mut self) -> (u16, u32) {
        let (request, from) = self.hear().await;
        self.give(&request, from).await;
        (request.port(), request.lifetime())
    }
}

/// A request for MAP, all of it.
#[derive(Clone, Copy)]
struct Request([u8; 60]);

impl Request {
    fn lifetime(&self) -> u32 {
        u32::from_be_bytes(self.0[4..8].try_into().expect("four"))
    }

    fn nonce(&self) -> [u8; 12] {
        self.0[24..36].try_into().expect("twelve")
    }

    fn port(&self) -> u16 {
        u16::from_be_bytes([self.0[40], self.0[41]])
    }

    /// The response that gives just that (RFC 6887 sections 7.2 and 11.1).
    fn granted(&self, outside: Ipv4Addr) -> [u8; 60] {
        let mut bytes = self.0;
        bytes[1] |= 0x80;
        bytes[2..4].fill(0);
        bytes[8..24].fill(0);
        bytes[44..60].copy_from_slice(&outside.to_ipv6_mapped().octets());
        bytes
    }
}

/// A router that speaks UPnP: one request on each connection.
struct Igd(TcpListener);

impl Igd {
    async fn start() -> (Self, Arc<Gateway<Tokio>>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let action = |name: &str, arguments: &[&str]| {
            let arguments = arguments.iter().map(|argument| format!("New{argument}"));
            (name.to_owned(), arguments.collect::<Vec<_>>())
        };
        let whole = ["ExternalPort", "Protocol", "InternalPort", "InternalClient", "LeaseDuration"];
        let control_schema = [
            action("AddPortMapping", &whole),
            action("DeletePortMapping", &["ExternalPort", "Protocol"]),
        ];
        let gateway = Gateway {
            addr: listener.local_addr().expect("bound"),
            root_url: String::new(),
            control_url: "/control".to_owned(),
            control_schema_url: String::new(),
            control_schema: control_schema.into_iter().collect(),
            service_type: "urn:schemas-upnp-org:service:WANIPConnection:1".to_owned(),
            provider: Tokio,
        };
        (Self(listener), Arc::new(gateway))
    }

    /// The next request, for that action, and the connection that waits for the answer.
    async fn hear(&self, action: &str) -> (String, TcpStream) {
        let hearing = async {
            let (mut stream, _) = self.0.accept().await.expect("accepted");
            let mut request = String::new();
            while !request.ends_with("</s:Envelope>") {
                let mut bytes = [0; 4_096];
                let length = stream.read(&mut bytes).await.expect("read");
                assert_ne!(length, 0, "cut short: {request}");
                request.push_str(std::str::from_utf8(&bytes[..length]).expect("text"));
            }
            (request, stream)
        };
        let heard = tokio::time::timeout(PATIENCE, hearing).await.expect("a request");
        assert!(heard.0.contains(&format!(":{action} ")), "{}", heard.0);
        heard
    }

    /// Answers the next request, for that action.
    async fn answer(&self, action: &str, values: &str) -> String {
        let (request, mut stream) = self.hear(action).await;
        let body = format!(
            "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>\
             <u:{action}Response xmlns:u=\"urn:x\">{values}</u:{action}Response>\
             </s:Body></s:Envelope>"
        );
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await.expect("sent");
        request
    }
}

/// What a gateway says of a mapping of the first of the wanted ports, to that machine.
fn entry(client: Ipv4Addr) -> String {
    let value = |(name, value): (&str, &str)| format!("<New{name}>{value}</New{name}>");
    let client = client.to_string();
    let values = [
        ("RemoteHost", ""),
        ("ExternalPort", "7000"),
        ("Protocol", "UDP"),
        ("InternalPort", "7000"),
        ("InternalClient", client.as_str()),
        ("Enabled", "1"),
        ("PortMappingDescription", "somebody"),
        ("LeaseDuration", "0"),
    ];
    values.into_iter().map(value).collect()
}

fn wanted() -> Vec<Wanted> {
    let port = |port| NonZeroU16::new(port).expect("a port");
    vec![
        Wanted { protocol: Protocol::Udp, port: port(7_000) },
        Wanted { protocol: Protocol::Tcp, port: port(8_000) },
    ]
}

fn keeper(token: &CancellationToken) -> (Keeper, watch::Receiver<Vec<MappedPort>>) {
    let (sender, mapped) = watch::channel(Vec::new());
    (Keeper::new(wanted(), sender, token.clone()), mapped)
}

#[tokio::test]
async fn what_a_gateway_gives_is_told_at_once() {
    let mut router = Router::start().await;
    let place = router.place();
    let (mut keeper, mut mapped) = keeper(&CancellationToken::new());
    let serving = async {
        assert_eq!(router.answer().await, (7_000, HOUR));
        // The second port is not given before the first is known.
        let (request, from) = router.hear().await;
        let told = mapped.wait_for(|ports| !ports.is_empty());
        let told = tokio::time::timeout(PATIENCE, told).await.expect("in time");
        let outside = SocketAddr::from((OUTSIDE, 7_000));
        assert_eq!(told.expect("alive")[..], [MappedPort { wanted: wanted()[0], outside }]);
        router.give(&request, from).await;
    };
    tokio::join!(keeper.refresh(&place), serving);
    assert_eq!(mapped.borrow().len(), 2);
}

#[tokio::test]
async fn who_has_a_mapping_waits_for_no_search() {
    let search = pending::<Option<()>>();
    let found = tokio::time::timeout(PATIENCE, unless(async { true }, search)).await;
    assert_eq!(found, Ok(None));
    // Whichever of the two comes first.
    for yields in [0, 2] {
        let asking = async {
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
            false
        };
        let searching = async {
            tokio::task::yield_now().await;
            Some(1)
        };
        assert_eq!(unless(asking, searching).await, Some(1));
    }
}

#[tokio::test]
async fn what_is_given_while_everything_ends_is_released_too() {
    let mut router = Router::start().await;
    let place = router.place();
    let token = CancellationToken::new();
    let (mut keeper, _mapped) = keeper(&token);
    let serving = async {
        assert_eq!(router.answer().await, (7_000, HOUR));
        let (request, from) = router.hear().await;
        token.cancel();
        router.give(&request, from).await;
    };
    tokio::join!(run_out(keeper.refresh(&place), &token), serving);
    let serving = async { [router.answer().await, router.answer().await] };
    let ((), released) = tokio::join!(keeper.release(), serving);
    assert_eq!(released, [(7_000, 0), (8_000, 0)]);
}

#[tokio::test]
async fn a_lease_is_renewed_as_what_it_was() {
    let mut router = Router::start().await;
    let place = router.place();
    let (mut keeper, mapped) = keeper(&CancellationToken::new());
    keeper.wanted.truncate(1);
    let serving = async {
        let (request, from) = router.hear().await;
        router.give(&request, from).await;
        request.nonce()
    };
    let ((), nonce) = tokio::join!(keeper.refresh(&place), serving);
    // Nothing is asked for that is not due.
    keeper.refresh(&place).await;
    let given = Instant::now().checked_sub(LEASE / 2).expect("a machine that has run for long");
    keeper.leases[0].terms = Terms::given(given, LEASE);
    let serving = async {
        let (request, from) = router.hear().await;
        router.give(&request, from).await;
        (request.nonce(), request.port(), request.lifetime())
    };
    let ((), renewed) = tokio::join!(keeper.refresh(&place), serving);
    assert_eq!(renewed, (nonce, 7_000, HOUR));
    assert!(keeper.next() > Instant::now());
    assert_eq!(mapped.borrow().len(), 1);
}

/// After a reconnect of the line the router has another address.
#[tokio::test]
async fn a_lease_that_is_renewed_is_where_the_gateway_is_now() {
    let mut router = Router::start().await;
    let place = router.place();
    let (mut keeper, mapped) = keeper(&CancellationToken::new());
    keeper.wanted.truncate(1);
    tokio::join!(keeper.refresh(&place), router.answer());
    assert_eq!(mapped.borrow()[0].outside, SocketAddr::from((OUTSIDE, 7_000)));
    router.outside = Ipv4Addr::new(203, 0, 113, 10);
    let given = Instant::now().checked_sub(LEASE / 2).expect("a machine that has run for long");
    keeper.leases[0].terms = Terms::given(given, LEASE);
    tokio::join!(keeper.refresh(&place), router.answer());
    keeper.tell();
    assert_eq!(mapped.borrow()[0].outside, SocketAddr::from((router.outside, 7_000)));
}

/// A keeper that asks for one port by UPnP when everything ends, while the router does as it is told
/// and is too slow to say so.
async fn ended_while_asking(router: &Igd, gateway: &Arc<Gateway<Tokio>>) -> Keeper {
    let token = CancellationToken::new();
    let (mut keeper, _) = keeper(&token);
    let wanted = wanted();
    let asking = keeper.ask_igd(gateway, OUTSIDE.into(), &wanted[..1], OWN);
    let serving = async {
        let unanswered = router.hear("AddPortMapping").await;
        token.cancel();
        unanswered
    };
    let ((), _unanswered) = tokio::join!(run_out(asking, &token), serving);
    keeper
}

#[tokio::test]
async fn what_upnp_was_asked_for_and_did_not_answer_is_taken_back() {
    let (router, gateway) = Igd::start().await;
    let keeper = ended_while_asking(&router, &gateway).await;
    let serving = async {
        router.answer("GetGenericPortMappingEntry", &entry(OWN)).await;
        router.answer("DeletePortMapping", "").await
    };
    let ((), removed) = tokio::join!(keeper.release(), serving);
    assert!(removed.contains("<NewExternalPort>7000</NewExternalPort>"), "{removed}");
}

#[tokio::test]
async fn another_machines_mapping_at_that_port_is_left_alone() {
    let (router, gateway) = Igd::start().await;
    let keeper = ended_while_asking(&router, &gateway).await;
    let mut releasing = pin!(keeper.release());
    let others = entry(Ipv4Addr::new(10, 255, 254, 1));
    tokio::select! {
        () = &mut releasing => panic!("it removes what it knows nothing of, or nothing at all"),
        _ = router.answer("GetGenericPortMappingEntry", &others) => {}
    }
    tokio::select! {
        biased;
        _ = router.0.accept() => panic!("it asks for more"),
        () = releasing => {}
    }
}

/// A keeper whose mapping at port 7000 has one at 7001 in its place.
fn replaced(gateway: &Arc<Gateway<Tokio>>) -> Keeper {
    let (mut keeper, mapped) = keeper(&CancellationToken::new());
    keeper.wanted.truncate(1);
    let lease = |port| {
        let mut lease = Lease::by_igd(gateway, OUTSIDE.into(), wanted()[0], OWN);
        lease.mapped.outside.set_port(port);
        lease
    };
    // The same mapping once more, which one release would take away, and then another one.
    for port in [7_000, 7_000, 7_001] {
        keeper.add(lease(port));
    }
    assert_eq!(mapped.borrow()[..], [lease(7_001).mapped]);
    keeper
}

#[tokio::test]
async fn a_mapping_that_another_port_has_replaced_is_released() {
    let (router, gateway) = Igd::start().await;
    let mut keeper = replaced(&gateway);
    let place = Surroundings { outward_v4: Some(OWN), ..Surroundings::default() };
    let serving = async {
        router.answer("GetGenericPortMappingEntry", &entry(OWN)).await;
        router.answer("DeletePortMapping", "").await
    };
    let ((), removed) = tokio::join!(keeper.refresh(&place), serving);
    assert!(removed.contains("<NewExternalPort>7000</NewExternalPort>"), "{removed}");
    assert_eq!((keeper.leases.len(), keeper.surplus.len()), (1, 0));
}

/// A gateway that was started anew has given the port to whoever asked first.
#[tokio::test]
async fn where_another_machine_has_the_port_by_now_nothing_is_released() {
    let (router, gateway) = Igd::start().await;
    let mut keeper = replaced(&gateway);
    let place = Surroundings { outward_v4: Some(OWN), ..Surroundings::default() };
    let others = entry(Ipv4Addr::new(10, 255, 254, 1));
    let mut refreshing = pin!(keeper.refresh(&place));
    tokio::select! {
        () = &mut refreshing => panic!("it does not look whose the mapping is"),
        _ = router.answer("GetGenericPortMappingEntry", &others) => {}
    }
    tokio::select! {
        biased;
        _ = router.0.accept() => panic!("it asks for more"),
        () = refreshing => {}
    }
}

#[tokio::test]
async fn what_is_wanted_no_more_is_given_up() {
    let mut router = Router::start().await;
    let place = router.place();
    let (mut keeper, mapped) = keeper(&CancellationToken::new());
    let (one, other) = (vec![wanted()[0]], vec![wanted()[1]]);
    assert!(keeper.want(one.clone()));
    tokio::join!(keeper.refresh(&place), router.answer());
    assert!(!keeper.want(one), "nothing new");
    assert!(keeper.want(other));
    assert!(mapped.borrow().is_empty(), "told although it leads nowhere");
    // The fresh one first: somebody waits for it.
    let serving = async { [router.answer().await, router.answer().await] };
    let ((), asked) = tokio::join!(keeper.refresh(&place), serving);
    assert_eq!(asked, [(8_000, HOUR), (7_000, 0)]);
    assert_eq!(mapped.borrow()[0].wanted, wanted()[1]);
    assert!(keeper.surplus.is_empty());
}

/// A keeper that had a mapping by UPnP, and is in another network, or at another address, now.
fn left(gateway: &Arc<Gateway<Tokio>>) -> Keeper {
    let (mut keeper, mapped) = keeper(&CancellationToken::new());
    keeper.wanted.truncate(1);
    keeper.add(Lease::by_igd(gateway, OUTSIDE.into(), wanted()[0], OWN));
    keeper.begin_anew();
    assert!(mapped.borrow().is_empty());
    keeper
}

fn external(ip: &str) -> String {
    format!("<NewExternalIPAddress>{ip}</NewExternalIPAddress>")
}

#[tokio::test]
async fn a_gateway_that_is_still_there_takes_back_what_it_gave_at_another_address() {
    let (router, gateway) = Igd::start().await;
    let mut keeper = left(&gateway);
    let serving = async {
        router.answer("GetExternalIPAddress", &external("203.0.113.9")).await;
        router.answer("GetGenericPortMappingEntry", &entry(OWN)).await;
        router.answer("DeletePortMapping", "").await
    };
    // Nothing leads outside: nothing is asked for.
    let place = Surroundings::default();
    let ((), removed) = tokio::join!(keeper.refresh(&place), serving);
    assert!(removed.contains("<NewExternalPort>7000</NewExternalPort>"), "{removed}");
    assert!(keeper.surplus.is_empty());
}

/// Every home's gateway has the same address inside: what leads to our old address there is
/// somebody else's.
#[tokio::test]
async fn in_another_network_nothing_is_taken_from_anybody() {
    let (router, gateway) = Igd::start().await;
    let keeper = left(&gateway);
    let mut releasing = pin!(keeper.release());
    let elsewhere = external("203.0.113.77");
    tokio::select! {
        () = &mut releasing => panic!("it does not look which gateway this is"),
        _ = router.answer("GetExternalIPAddress", &elsewhere) => {}
    }
    tokio::select! {
        biased;
        _ = router.0.accept() => panic!("it asks for more"),
        () = releasing => {}
    }
}

#[tokio::test]
async fn what_pcp_gave_in_another_network_is_left_to_end() {
    let mut router = Router::start().await;
    let place = router.place();
    let (mut keeper, mapped) = keeper(&CancellationToken::new());
    keeper.wanted.truncate(1);
    tokio::join!(keeper.refresh(&place), router.answer());
    keeper.begin_anew();
    assert!(mapped.borrow().is_empty());
    // Released, it would be the fresh one that ends: both are this machine's at that port.
    tokio::join!(keeper.refresh(&place), router.answer());
    assert_eq!((mapped.borrow().len(), keeper.surplus.len()), (1, 0));
}
