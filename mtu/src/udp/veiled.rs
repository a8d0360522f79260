//! Clients under DTLS: the table of one worker, between its sockets and its server.

use std::{sync::Arc, time::Instant};

use arc_swap::ArcSwapOption;
use dimpl::DtlsCertificate;
use mtu_turn::{ClientId, Now, Server, Transport};

use super::io::Io;
use crate::dtls::{Bounds, Peer, Sink, Table};

/// What DTLS needs; it is served while there is a certificate.
#[derive(Clone)]
pub(crate) struct DtlsOptions {
    /// May change at any time.
    pub(crate) certificate: Arc<ArcSwapOption<DtlsCertificate>>,
    /// Of each worker.
    pub(crate) bounds: Bounds,
    /// Random, known to nobody else.
    pub(crate) key: [u8; 32],
}

/// The DTLS clients of one worker.
pub(super) struct Veiled {
    options: DtlsOptions,
    shown: Option<Arc<DtlsCertificate>>,
    table: Option<Table>,
}

/// What came out of the table, but for datagrams, which leave at once.
struct Came<'a> {
    server: &'a mut Server,
    io: &'a mut Io,
    messages: Vec<(Peer, Vec<u8>)>,
    gone: Vec<Peer>,
}

impl<'a> Came<'a> {
    const fn new(server: &'a mut Server, io: &'a mut Io) -> Self {
        Self { server, io, messages: vec![], gone: vec![] }
    }

    /// Hands on what came.
    fn hand_on(self, now: Now) {
        let Self { server, io, messages, gone } = self;
        for (peer, message) in messages {
            server.handle_input(&client(&peer), &message, message.len(), now, io);
        }
        for peer in gone {
            server.handle_gone(&client(&peer), now, io);
        }
    }
}

impl Sink for Came<'_> {
    fn datagram(&mut self, peer: &Peer, bytes: &[u8]) {
        let to = ClientId { transport: Transport::Udp, ..client(peer) };
        self.io.send_datagram(&to, [bytes, &[], &[]]);
    }

    fn message(&mut self, peer: &Peer, bytes: &[u8]) {
        self.messages.push((*peer, bytes.to_vec()));
    }

    fn gone(&mut self, peer: &Peer) {
        self.gone.push(*peer);
    }

    fn has_allocation(&self, peer: &Peer) -> bool {
        self.server.has_allocation(&client(peer))
    }
}

fn client(peer: &Peer) -> ClientId {
    ClientId { transport: Transport::Dtls, address: peer.remote, local: peer.local }
}

impl Veiled {
    pub(super) const fn new(options: DtlsOptions) -> Self {
        Self { options, shown: None, table: None }
    }

    /// Shows the certificate of now; without one, DTLS is not served.
    pub(super) fn reload(&mut self, now: Instant) {
        let current = self.options.certificate.load();
        let same = match (&*current, &self.shown) {
            (Some(current), Some(shown)) => Arc::ptr_eq(current, shown),
            (None, _) => true,
            (Some(_), None) => false,
        };
        if same {
            return;
        }
        self.shown.clone_from(&current);
        let Some(certificate) = self.shown.as_deref().cloned() else { return };
        match &mut self.table {
            Some(table) => table.set_certificate(certificate),
            None => {
                let DtlsOptions { bounds, key, .. } = &self.options;
                self.table = Some(Table::new(certificate, *bounds, key, now));
            }
        }
    }

    pub(super) fn handle_train(
        &mut self,
        client: &ClientId,
        train: &[u8],
        stride: usize,
        (server, io): (&mut Server, &mut Io),
        now: Now,
    ) {
        let Some(table) = &mut self.table else { return };
        let peer = Peer { local: client.local, remote: client.address };
        let mut came = Came::new(server, io);
        for datagram in train.chunks(stride.max(1)) {
            table.handle_datagram(now.instant, peer, datagram, &mut came);
        }
        came.hand_on(now);
    }

    /// Sends what the server has for these clients.
    pub(super) fn send(&mut self, server: &mut Server, io: &mut Io, now: Now) {
        let waiting = std::mem::take(&mut io.veiled);
        let Some(table) = &mut self.table else { return };
        let mut came = Came::new(server, io);
        for (client, message) in waiting {
            let peer = Peer { local: client.local, remote: client.address };
            // Who has gone gets nothing.
            let _ = table.send(now.instant, peer, &message, &mut came);
        }
        came.hand_on(now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.table.as_ref().and_then(Table::poll_timeout)
    }

    pub(super) fn handle_timeout(&mut self, server: &mut Server, io: &mut Io, now: Now) {
        let Some(table) = &mut self.table else { return };
        let mut came = Came::new(server, io);
        table.handle_timeout(now.instant, &mut came);
        came.hand_on(now);
    }

    /// Says goodbye to everybody.
    pub(super) fn close(&mut self, server: &mut Server, io: &mut Io, now: Now) {
        let Some(table) = &mut self.table else { return };
        let mut came = Came::new(server, io);
        table.close(&mut came);
        came.hand_on(now);
    }
}
