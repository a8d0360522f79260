//! A TURN client's control messages (RFC 8656) on one blocking UDP socket.

use std::{
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use stun::{
    attributes::{ATTR_NONCE, ATTR_REALM, ATTR_USERNAME},
    error_code::ErrorCodeAttribute,
    integrity::MessageIntegrity,
    message::{
        CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, Getter, METHOD_ALLOCATE, METHOD_CHANNEL_BIND,
        METHOD_CREATE_PERMISSION, Message, MessageType, Method, Setter,
    },
    textattrs::TextAttribute,
};
use turn::proto::{
    PROTO_UDP, channum::ChannelNumber, peeraddr::PeerAddress, relayaddr::RelayedAddress,
    reqtrans::RequestedTransport,
};

use crate::credentials::Credentials;

/// Until a request is sent again, and how often. The machine may be busy with something else.
const WAIT: Duration = Duration::from_millis(500);
const TRIES: u32 = 8;

/// How often a server may ask for another nonce (RFC 8489 section 9.2.5, error 438).
const NONCES: u32 = 3;

/// An allocation, as its client sees it.
pub struct Allocation {
    server: SocketAddr,
    credentials: Credentials,
    realm: String,
    nonce: String,
    /// Where peers reach the client.
    pub relayed: SocketAddr,
}

impl Allocation {
    /// Allocates for the 5-tuple of this socket and server.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub fn new(
        socket: &UdpSocket,
        server: SocketAddr,
        credentials: Credentials,
    ) -> anyhow::Result<Self> {
        socket.set_read_timeout(Some(WAIT))?;
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let (realm, nonce) = (String::new(), String::new());
        let mut this = Self { server, credentials, realm, nonce, relayed: unknown };
        let udp = RequestedTransport { protocol: PROTO_UDP };
        let answer = this.ask(socket, METHOD_ALLOCATE, &[&udp]).context("Allocate")?;
        let mut relayed = RelayedAddress::default();
        relayed.get_from(&answer).context("XOR-RELAYED-ADDRESS")?;
        this.relayed = SocketAddr::new(relayed.ip, relayed.port);
        Ok(this)
    }

    /// Lets a peer send (RFC 8656 section 9).
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub fn permit(&mut self, socket: &UdpSocket, peer: SocketAddr) -> anyhow::Result<()> {
        let peer = PeerAddress { ip: peer.ip(), port: peer.port() };
        self.ask(socket, METHOD_CREATE_PERMISSION, &[&peer]).context("CreatePermission").map(drop)
    }

    /// Binds a channel to a peer (RFC 8656 section 12).
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub fn bind(
        &mut self,
        socket: &UdpSocket,
        channel: u16,
        peer: SocketAddr,
    ) -> anyhow::Result<()> {
        let peer = PeerAddress { ip: peer.ip(), port: peer.port() };
        let channel = ChannelNumber(channel);
        self.ask(socket, METHOD_CHANNEL_BIND, &[&channel, &peer]).context("ChannelBind").map(drop)
    }

    /// Asks, with credentials as soon as the server has said in which realm.
    fn ask(
        &mut self,
        socket: &UdpSocket,
        method: Method,
        attributes: &[&dyn Setter],
    ) -> anyhow::Result<Message> {
        for _ in 0..=NONCES {
            let request = self.request(method, attributes)?;
            let answer = exchange(socket, self.server, &request)?;
            if answer.typ.class == CLASS_SUCCESS_RESPONSE {
                return Ok(answer);
            }
            let mut code = ErrorCodeAttribute::default();
            code.get_from(&answer).context("a refusal without ERROR-CODE")?;
            ensure!(matches!(code.code.0, 401 | 438), "refused with {code}");
            self.realm = TextAttribute::get_from_as(&answer, ATTR_REALM)?.text;
            self.nonce = TextAttribute::get_from_as(&answer, ATTR_NONCE)?.text;
        }
        bail!("the credentials are not taken")
    }

    fn request(&self, method: Method, attributes: &[&dyn Setter]) -> anyhow::Result<Message> {
        let mut message = Message::new();
        message.set_type(MessageType::new(method, CLASS_REQUEST));
        message.new_transaction_id()?;
        message.write_header();
        for attribute in attributes {
            attribute.add_to(&mut message)?;
        }
        if !self.nonce.is_empty() {
            let Credentials { username, password } = &self.credentials;
            for (kind, text) in
                [(ATTR_USERNAME, username), (ATTR_REALM, &self.realm), (ATTR_NONCE, &self.nonce)]
            {
                TextAttribute::new(kind, text.clone()).add_to(&mut message)?;
            }
            MessageIntegrity::new_long_term_integrity(
                username.clone(),
                self.realm.clone(),
                password.clone(),
            )
            .add_to(&mut message)?;
        }
        Ok(message)
    }
}

/// Sends a request until its answer comes.
fn exchange(socket: &UdpSocket, server: SocketAddr, request: &Message) -> anyhow::Result<Message> {
    let mut data = [0; 2_048];
    for _ in 0..TRIES {
        socket.send_to(&request.raw, server)?;
        loop {
            let size = match socket.recv_from(&mut data) {
                Ok((size, from)) if from == server => size,
                Ok(_) => continue,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(e) => return Err(e.into()),
            };
            let mut answer = Message::new();
            let decoded = answer.unmarshal_binary(&data[..size]).is_ok();
            if decoded && answer.transaction_id == request.transaction_id {
                return Ok(answer);
            }
        }
    }
    bail!("{server} does not answer")
}
