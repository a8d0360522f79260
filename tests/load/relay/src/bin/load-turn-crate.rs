//! `load-turn-crate`: the `turn` crate's server with nothing around it, to be compared with.
//! It filters no peers and keeps state for strangers: never open it to a network.

use std::{
    net::{IpAddr, SocketAddr},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use async_trait::async_trait;
use clap::Parser;
use load_relay::{credentials::password, train::BUFFER};
use socket2::SockRef;
use tokio::net::UdpSocket;
use turn::{
    auth::{AuthHandler, generate_auth_key},
    relay::RelayAddressGenerator,
    server::{
        Server,
        config::{ConnConfig, ServerConfig},
    },
};
use webrtc_util::Conn;

#[derive(Parser)]
#[command(
    name = "load-turn-crate",
    about = "The `turn` crate's server, only to be compared with; it filters no peers"
)]
struct Cli {
    /// Where clients come to; printed, so that port 0 will do
    #[arg(long, value_name = "IP:PORT")]
    listen: SocketAddr,
    /// Address of relays; several are taken in turn
    #[arg(long = "relay", value_name = "IP", required = true)]
    relays: Vec<IpAddr>,
    /// The secret that signs credentials
    #[arg(long)]
    secret: String,
    /// Realm of the credentials
    #[arg(long, default_value = "bench")]
    realm: String,
}

struct Secret {
    secret: String,
    realm: String,
}

impl AuthHandler for Secret {
    fn auth_handle(
        &self,
        username: &str,
        _realm: &str,
        _from: SocketAddr,
    ) -> Result<Vec<u8>, turn::Error> {
        let expiry = username.split(':').next().and_then(|word| word.parse::<u64>().ok());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if expiry.is_none_or(|expiry| expiry < now) {
            return Err(turn::Error::ErrNoSuchUser);
        }
        Ok(generate_auth_key(username, &self.realm, &password(&self.secret, username)))
    }
}

struct Relays {
    addresses: Vec<IpAddr>,
    next: AtomicUsize,
}

#[async_trait]
impl RelayAddressGenerator for Relays {
    fn validate(&self) -> Result<(), turn::Error> {
        Ok(())
    }

    async fn allocate_conn(
        &self,
        _use_ipv4: bool,
        port: u16,
    ) -> Result<(Arc<dyn Conn + Send + Sync>, SocketAddr), turn::Error> {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.addresses.len();
        let other = |e: std::io::Error| turn::Error::Other(e.to_string());
        let socket = UdpSocket::bind((self.addresses[next], port)).await.map_err(other)?;
        let relayed = socket.local_addr().map_err(other)?;
        Ok((Arc::new(socket), relayed))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let socket = UdpSocket::bind(cli.listen).await.context("cannot listen")?;
    println!("{}", socket.local_addr()?);
    SockRef::from(&socket).set_recv_buffer_size(BUFFER)?;
    let relays = Relays { addresses: cli.relays, next: AtomicUsize::new(0) };
    let conn = ConnConfig { conn: Arc::new(socket), relay_addr_generator: Box::new(relays) };
    let server = Server::new(ServerConfig {
        conn_configs: vec![conn],
        realm: cli.realm.clone(),
        auth_handler: Arc::new(Secret { secret: cli.secret, realm: cli.realm }),
        channel_bind_timeout: Duration::from_secs(600),
        alloc_close_notify: None,
    });
    let server = server.await.context("the server does not start")?;
    tokio::signal::ctrl_c().await?;
    server.close().await.context("the server does not end")
}
