//! Connections of one client that follow each other at the same addresses.

#[path = "../turn/tests/common/mod.rs"]
mod common;

use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use common::{Client, Outcome, SECRET};
use mtu::udp::{Options, RelayAddress, StreamHandle, StreamOut, WorkerHandle, Workers};
use mtu_turn::Transport;
use stun_rs::{MessageMethod, StunAttribute, attributes::turn::LifeTime, methods};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(20);

struct Out(mpsc::UnboundedSender<Vec<u8>>);

impl StreamOut for Out {
    fn send(&mut self, head: &[u8], payload: &[u8], tail: &[u8]) {
        // The test may have lost interest.
        let _ = self.0.send([head, payload, tail].concat());
    }

    fn released(&mut self) {}
}

/// One connection of a client.
struct Connection {
    stream: StreamHandle,
    answers: mpsc::UnboundedReceiver<Vec<u8>>,
}

impl Connection {
    async fn new(worker: &WorkerHandle, client: &Client) -> Self {
        let (out, answers) = mpsc::unbounded_channel();
        let stream = worker.open(client.id, Box::new(Out(out))).await.expect("running");
        Self { stream, answers }
    }

    async fn ask(
        &mut self,
        client: &mut Client,
        method: MessageMethod,
        attributes: Vec<StunAttribute>,
    ) -> Outcome {
        let transaction = client.transaction();
        let request = client.sign(method, transaction, attributes);
        self.stream.frame(request).await.expect("running");
        let answer = tokio::time::timeout(PATIENCE, self.answers.recv()).await;
        client.understand(&answer.expect("an answer in time").expect("an answer"), transaction)
    }
}

#[tokio::test]
async fn the_end_of_a_connection_is_not_that_of_the_next_one() {
    let local = [127, 0, 0, 1].into();
    let options = Options {
        listen: vec![(local, 0).into()],
        relays: vec![RelayAddress { bind: local, announced: local }],
        workers: NonZeroUsize::MIN,
        ..Default::default()
    };
    let settings = Arc::new(ArcSwap::from_pointee(common::settings()));
    let (workers, mut ended) = Workers::start(options, settings).expect("started");
    let worker = &workers.handles()[0];
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let user = format!("{}:call", unix_s + 3_600);
    let mut client = Client::with("192.0.2.9:1", &user, SECRET).over(Transport::Tcp);
    client.nonce = "none yet".to_owned();

    let mut first = Connection::new(worker, &client).await;
    let stale = first.ask(&mut client, methods::ALLOCATE, vec![common::udp()]).await;
    assert_eq!(stale.err(), Some(438));
    first.ask(&mut client, methods::ALLOCATE, vec![common::udp()]).await.expect("allocated");

    // The client has come back before the end of its first connection was told.
    let mut second = Connection::new(worker, &client).await;
    let usage = tokio::time::timeout(PATIENCE, ended.recv()).await.expect("ended in time");
    assert!(usage.is_some(), "the allocation has outlived its connection");
    second.ask(&mut client, methods::ALLOCATE, vec![common::udp()]).await.expect("allocated");
    let transaction = client.transaction();
    let end = vec![LifeTime::from(0).into()];
    first.stream.frame(client.sign(methods::REFRESH, transaction, end)).await.expect("running");
    first.stream.close().await.expect("running");
    second.ask(&mut client, methods::REFRESH, vec![]).await.expect("it goes on");
    assert_eq!(workers.shared().allocations(), 1);
    second.stream.close().await.expect("running");
    let usage = tokio::time::timeout(PATIENCE, ended.recv()).await.expect("ended in time");
    assert!(usage.is_some());
}
