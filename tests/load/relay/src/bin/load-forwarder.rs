//! `load-forwarder`: moves bytes between sockets, in trains where they come so, and looks at none.
//! No relay on this machine can cost less and still go through the kernel's UDP sockets.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::ExitCode,
    sync::{Arc, Mutex},
};

use anyhow::{Context, bail};
use clap::Parser;
use load_relay::{
    forward::PREFIX,
    train::{Buffers, Train},
};
use rustix::event::epoll;
use socket2::{Domain, Socket, Type};

#[derive(Parser)]
#[command(
    name = "load-forwarder",
    about = "A bare forwarder: the least that a relay can cost",
    long_about = "A bare forwarder: the least that a relay can cost. Each thread waits for one socket for \
                  all its clients and one socket for each of them, and sends what comes on to a fixed \
                  place, whole trains at a time. `load-relay flows --forwarder` speaks to it."
)]
struct Cli {
    /// Where clients come to; printed, so that port 0 will do
    #[arg(long, value_name = "IP:PORT")]
    listen: SocketAddr,
    /// Threads; the kernel spreads clients over them (SO_REUSEPORT)
    #[arg(long, default_value_t = 1)]
    threads: u16,
}

/// In epoll: the socket of all clients. Others have the number of their leg.
const CLIENTS: u64 = u64::MAX;

/// Whose each relayed address is, of all threads.
type Relayed = Arc<Mutex<HashMap<SocketAddr, SocketAddr>>>;

/// One client's way.
struct Leg {
    client: SocketAddr,
    socket: Train,
    target: Option<Target>,
}

/// Where what a client sends goes.
#[derive(Clone, Copy)]
enum Target {
    /// Out of the client's own socket.
    Peer(SocketAddr),
    /// To another client of this forwarder.
    Client(SocketAddr),
}

struct Forwarder {
    epoll: std::os::fd::OwnedFd,
    clients: Train,
    legs: Vec<Leg>,
    by_client: HashMap<SocketAddr, usize>,
    relayed: Relayed,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let mut listen = cli.listen;
    let relayed = Relayed::default();
    let mut forwarders = vec![];
    for _ in 0..cli.threads.max(1) {
        let clients = Train::new(shared(listen)?)?;
        // Port 0 is the same for all.
        listen = clients.local_addr()?;
        forwarders.push(Forwarder::new(clients, relayed.clone())?);
    }
    println!("{listen}");
    let threads: Vec<_> =
        forwarders.into_iter().map(|forwarder| std::thread::spawn(|| forwarder.run())).collect();
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a thread has ended"))??;
    }
    Ok(())
}

/// A socket that others of this process share the port with.
fn shared(listen: SocketAddr) -> anyhow::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, None)?;
    socket.set_reuse_port(true)?;
    socket.bind(&listen.into()).context("cannot listen")?;
    Ok(socket.into())
}

impl Forwarder {
    fn new(clients: Train, relayed: Relayed) -> anyhow::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &clients, epoll::EventData::new_u64(CLIENTS), epoll::EventFlags::IN)?;
        Ok(Self { epoll, clients, legs: vec![], by_client: HashMap::new(), relayed })
    }

    fn run(mut self) -> anyhow::Result<()> {
        let mut buffers = Buffers::default();
        let mut events = Vec::with_capacity(64);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                // Taken out of the packed structure.
                let data = event.data;
                match data.u64() {
                    CLIENTS => self.clients_sent(&mut buffers)?,
                    leg => self.peer_sent(leg as usize, &mut buffers)?,
                }
            }
        }
    }

    fn clients_sent(&mut self, buffers: &mut Buffers) -> anyhow::Result<()> {
        let mut words = None;
        let this = &*self;
        this.clients.receive(buffers, |meta, data| {
            if data.starts_with(PREFIX) {
                words = Some((meta.addr, data[PREFIX.len()..].to_vec()));
            } else if let Some(leg) = this.by_client.get(&meta.addr).map(|at| &this.legs[*at])
                && let Some(target) = leg.target
            {
                let _ = match target {
                    Target::Client(client) => this.clients.send(client, data, meta.stride),
                    Target::Peer(peer) => leg.socket.send(peer, data, meta.stride),
                };
            }
        })?;
        match words {
            Some((client, words)) => self.obey(client, &String::from_utf8_lossy(&words)),
            None => Ok(()),
        }
    }

    fn peer_sent(&self, leg: usize, buffers: &mut Buffers) -> anyhow::Result<()> {
        let Leg { client, socket, .. } = &self.legs[leg];
        socket.receive(buffers, |meta, data| {
            let _ = self.clients.send(*client, data, meta.stride);
        })?;
        Ok(())
    }

    fn obey(&mut self, client: SocketAddr, words: &str) -> anyhow::Result<()> {
        let answer = match words.split_once(' ') {
            None => self.open(client)?.to_string(),
            Some((_, target)) => {
                let leg = *self.by_client.get(&client).context("a target before its leg")?;
                let target = target.parse()?;
                let owner = self.relayed.lock().ok().and_then(|all| all.get(&target).copied());
                self.legs[leg].target = Some(owner.map_or(Target::Peer(target), Target::Client));
                "done".into()
            }
        };
        if !self.clients.send(client, answer.as_bytes(), answer.len())? {
            bail!("no room for an answer");
        }
        Ok(())
    }

    fn open(&mut self, client: SocketAddr) -> anyhow::Result<SocketAddr> {
        let socket = Train::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?)?;
        let relayed = socket.local_addr()?;
        let number = self.legs.len();
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)?;
        self.by_client.insert(client, number);
        if let Ok(mut all) = self.relayed.lock() {
            all.insert(relayed, client);
        }
        self.legs.push(Leg { client, socket, target: None });
        Ok(relayed)
    }
}
