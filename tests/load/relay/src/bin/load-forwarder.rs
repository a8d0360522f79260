//! `load-forwarder`: moves bytes between sockets, in trains where they come so, and looks at none.
//! No relay on this machine can cost less and still go through the kernel's UDP sockets.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::Parser;
use load_relay::{
    forward::PREFIX,
    train::{Buffers, Train},
};
use rustix::event::epoll;

#[derive(Parser)]
#[command(
    name = "load-forwarder",
    about = "A bare forwarder: the least that a relay can cost",
    long_about = "A bare forwarder: the least that a relay can cost. One thread waits for one socket \
                  for all clients and one socket for each of them, and sends what comes on to a \
                  fixed place, whole trains at a time. `load-relay flows --forwarder` speaks to it."
)]
struct Cli {
    /// Where clients come to; printed, so that port 0 will do
    #[arg(long, value_name = "IP:PORT")]
    listen: SocketAddr,
}

/// In epoll: the socket of all clients. Others have the number of their leg.
const CLIENTS: u64 = u64::MAX;

/// One client's way.
struct Leg {
    client: SocketAddr,
    relayed: SocketAddr,
    socket: Train,
    target: Option<SocketAddr>,
}

struct Forwarder {
    epoll: std::os::fd::OwnedFd,
    clients: Train,
    legs: Vec<Leg>,
    by_client: HashMap<SocketAddr, usize>,
    by_relayed: HashMap<SocketAddr, usize>,
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
    let clients = Train::new(UdpSocket::bind(cli.listen).context("cannot listen")?)?;
    println!("{}", clients.local_addr()?);
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &clients, epoll::EventData::new_u64(CLIENTS), epoll::EventFlags::IN)?;
    let (by_client, by_relayed) = (HashMap::new(), HashMap::new());
    let mut forwarder = Forwarder { epoll, clients, legs: vec![], by_client, by_relayed };
    let mut buffers = Buffers::default();
    let mut events = Vec::with_capacity(64);
    loop {
        events.clear();
        match epoll::wait(&forwarder.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            // Taken out of the packed structure.
            let data = event.data;
            match data.u64() {
                CLIENTS => forwarder.clients_sent(&mut buffers)?,
                leg => forwarder.peer_sent(leg as usize, &mut buffers)?,
            }
        }
    }
}

impl Forwarder {
    fn clients_sent(&mut self, buffers: &mut Buffers) -> anyhow::Result<()> {
        let mut words = None;
        let this = &*self;
        this.clients.receive(buffers, |meta, data| {
            if data.starts_with(PREFIX) {
                words = Some((meta.addr, data[PREFIX.len()..].to_vec()));
            } else if let Some(leg) = this.by_client.get(&meta.addr).map(|at| &this.legs[*at])
                && let Some(target) = leg.target
            {
                let _ = match this.by_relayed.get(&target).map(|at| &this.legs[*at]) {
                    Some(other) => this.clients.send(other.client, data, meta.stride),
                    None => leg.socket.send(target, data, meta.stride),
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
                let leg = self.by_client.get(&client).context("a target before its leg")?;
                self.legs[*leg].target = Some(target.parse()?);
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
        self.by_relayed.insert(relayed, number);
        self.legs.push(Leg { client, relayed, socket, target: None });
        Ok(self.legs[number].relayed)
    }
}
