//! What every bus promises, run on each of them.

mod nats_server;

use std::time::Duration;

use nats_server::NatsServer;
use sightline_bus::{Bus, BusError, QUEUE_LEN, Subscription};

const PATIENCE: Duration = Duration::from_secs(20);

macro_rules! conformance {
    ($($test:ident),* $(,)?) => {
        mod in_process {
            $(#[tokio::test]
            async fn $test() {
                super::$test(sightline_bus::Bus::in_process()).await;
            })*
        }

        mod nats {
            $(#[tokio::test]
            async fn $test() {
                let Some(server) = super::NatsServer::start().await else { return };
                super::$test(sightline_bus::Bus::nats(&server.url).await.expect("connected")).await;
            })*
        }
    };
}

conformance!(
    a_request_is_answered,
    a_request_that_nobody_hears_fails_at_once,
    a_request_that_nobody_answers_times_out,
    a_publication_reaches_every_single_and_one_of_each_group,
    messages_of_one_sender_stay_in_order,
    an_ended_subscription_hears_nothing,
    a_publication_that_nobody_hears_is_no_error,
    a_subscriber_that_does_not_listen_harms_nobody,
    large_messages_pass,
    subjects_do_not_mix,
);

#[tokio::test]
async fn a_nats_server_that_restarts_is_found_again() {
    let Some(mut server) = NatsServer::start().await else { return };
    let bus = Bus::nats(&server.url).await.expect("connected");
    let subscription = bus.subscribe("back", Some("g")).await.expect("subscribed");
    let echo = echo(subscription, "!");
    server.restart();
    tokio::time::timeout(PATIENCE, async {
        while bus.request("back", "x".into(), Duration::from_millis(500)).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the subscription works again");
    echo.abort();
}

async fn next(subscription: &mut Subscription) -> sightline_bus::Message {
    tokio::time::timeout(PATIENCE, subscription.next())
        .await
        .expect("a message comes")
        .expect("the bus is open")
}

/// Answers every request with its own payload and this mark.
fn echo(mut subscription: Subscription, mark: &'static str) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        while let Some(message) = subscription.next().await {
            if let Some(reply) = message.reply {
                let payload = [&message.payload[..], mark.as_bytes()].concat();
                reply.send(payload.into()).await;
            }
        }
    })
}

async fn a_request_is_answered(bus: Bus) {
    let subscription = bus.subscribe("a.b", Some("group")).await.expect("subscribed");
    let echo = echo(subscription, "!");
    let answer = bus.request("a.b", "hello".into(), PATIENCE).await;
    assert_eq!(answer.as_deref(), Ok(&b"hello!"[..]));
    echo.abort();
}

async fn a_request_that_nobody_hears_fails_at_once(bus: Bus) {
    let answer = bus.request("nobody", "hello".into(), Duration::from_secs(3_600)).await;
    assert_eq!(answer, Err(BusError::NoResponder("nobody".to_owned())));
}

async fn a_request_that_nobody_answers_times_out(bus: Bus) {
    let mut subscription = bus.subscribe("mute", None).await.expect("subscribed");
    let timeout = Duration::from_millis(100);
    let request = bus.request("mute", "hello".into(), timeout);
    // The request is held, so that it is neither answered nor dropped.
    let (answer, held) = tokio::join!(request, next(&mut subscription));
    assert_eq!(answer, Err(BusError::Timeout("mute".to_owned(), timeout)));
    drop(held);
}

async fn a_publication_reaches_every_single_and_one_of_each_group(bus: Bus) {
    let mut singles = [
        bus.subscribe("news", None).await.expect("ok"),
        bus.subscribe("news", None).await.expect("ok"),
    ];
    let mut members = [
        bus.subscribe("news", Some("g")).await.expect("ok"),
        bus.subscribe("news", Some("g")).await.expect("ok"),
    ];
    for n in 0..10u8 {
        bus.publish("news", vec![n].into()).await.expect("published");
    }
    for single in &mut singles {
        for n in 0..10u8 {
            assert_eq!(next(single).await.payload[..], [n]);
        }
    }
    let [first, second] = &mut members;
    let mut heard = Vec::new();
    while heard.len() < 10 {
        tokio::select! {
            message = next(first) => heard.push(message.payload[0]),
            message = next(second) => heard.push(message.payload[0]),
        }
    }
    heard.sort_unstable();
    assert_eq!(heard, (0..10).collect::<Vec<u8>>(), "each once");
}

async fn messages_of_one_sender_stay_in_order(bus: Bus) {
    let mut subscription = bus.subscribe("order", None).await.expect("subscribed");
    for n in 0..500u16 {
        bus.publish("order", n.to_be_bytes().to_vec().into()).await.expect("published");
    }
    for n in 0..500u16 {
        assert_eq!(next(&mut subscription).await.payload[..], n.to_be_bytes());
    }
}

async fn an_ended_subscription_hears_nothing(bus: Bus) {
    let first = bus.subscribe("gone", None).await.expect("subscribed");
    drop(first);
    // Ending may take a moment; then nobody answers.
    tokio::time::timeout(PATIENCE, async {
        let brief = Duration::from_millis(20);
        while !matches!(bus.request("gone", "x".into(), brief).await, Err(BusError::NoResponder(_)))
        {
        }
    })
    .await
    .expect("the subscription ends");
}

async fn a_publication_that_nobody_hears_is_no_error(bus: Bus) {
    assert_eq!(bus.publish("nobody", "x".into()).await, Ok(()));
}

async fn a_subscriber_that_does_not_listen_harms_nobody(bus: Bus) {
    let _deaf = bus.subscribe("flood", None).await.expect("subscribed");
    let mut good = bus.subscribe("flood", None).await.expect("subscribed");
    let mut other = bus.subscribe("other", None).await.expect("subscribed");
    let messages = u32::try_from(QUEUE_LEN).expect("small") * 2;
    for n in 0..messages {
        bus.publish("flood", n.to_be_bytes().to_vec().into()).await.expect("published");
        assert_eq!(next(&mut good).await.payload[..], n.to_be_bytes());
    }
    bus.publish("other", "x".into()).await.expect("published");
    assert_eq!(next(&mut other).await.payload, "x");
}

async fn large_messages_pass(bus: Bus) {
    let subscription = bus.subscribe("large", None).await.expect("subscribed");
    let echo = echo(subscription, "");
    let large = vec![7; 256 * 1024];
    let answer = bus.request("large", large.clone().into(), PATIENCE).await.expect("answered");
    assert!(answer == large);
    echo.abort();
}

async fn subjects_do_not_mix(bus: Bus) {
    let mut here = bus.subscribe("room.one", None).await.expect("subscribed");
    for subject in ["room", "room.two", "room.one.more"] {
        bus.publish(subject, "wrong".into()).await.expect("published");
    }
    bus.publish("room.one", "right".into()).await.expect("published");
    let message = next(&mut here).await;
    assert_eq!((message.subject.as_str(), &message.payload[..]), ("room.one", &b"right"[..]));
    assert!(message.reply.is_none());
}
