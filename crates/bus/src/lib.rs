//! The bus between the services of one centre: requests with replies, and announcements.
//!
//! Two implementations behind one type: [`Bus::in_process`] for one process, [`Bus::nats`] for
//! many. One conformance suite (`tests/conformance.rs`) runs on both.
//!
//! - A request reaches one subscriber of each queue group, or fails with
//!   [`BusError::NoResponder`] at once when nobody subscribes.
//! - A publication reaches every subscriber without a group and one of each group.
//! - Each subscription has a bounded queue ([`QUEUE_LEN`]); when it is full, further messages to
//!   that subscriber are dropped and counted, and a request fails with [`BusError::NoResponder`].
//! - A request that nobody answers fails with [`BusError::Timeout`].
//!
//! ```
//! # tokio_test::block_on(async {
//! use std::time::Duration;
//! let bus = sightline_bus::Bus::in_process();
//! let mut greetings = bus.subscribe("greet", None).await?;
//! tokio::spawn(async move {
//!     while let Some(message) = greetings.next().await {
//!         if let Some(reply) = message.reply {
//!             reply.send(message.payload).await;
//!         }
//!     }
//! });
//! let answer = bus.request("greet", "hello".into(), Duration::from_secs(1)).await?;
//! assert_eq!(answer, "hello");
//! # Ok::<(), sightline_bus::BusError>(()) }).unwrap();
//! ```

mod in_process;
mod nats;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

/// Messages that wait for one subscriber before more are dropped.
pub const QUEUE_LEN: usize = 1_024;

/// Why a bus call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// Nobody subscribes to the subject, or whoever does is overloaded.
    #[error("nobody answers on {0}")]
    NoResponder(String),
    /// The answer did not come in time.
    #[error("no answer on {0} within {1:?}")]
    Timeout(String, Duration),
    /// The bus has been shut down.
    #[error("the bus is closed")]
    Closed,
    /// The bus server cannot be reached or refuses us.
    #[error("the bus fails: {0}")]
    Transport(String),
}

/// Handle to the bus; cheap to clone.
#[derive(Clone, Debug)]
pub struct Bus(Kind);

#[derive(Clone, Debug)]
enum Kind {
    InProcess(Arc<in_process::Broker>),
    Nats(nats::Nats),
}

impl Bus {
    /// A bus within this process.
    #[must_use]
    pub fn in_process() -> Self {
        Self(Kind::InProcess(Arc::default()))
    }

    /// A bus over a NATS server (`nats://host:4222`, or several separated by commas). Reconnects
    /// by itself.
    ///
    /// # Errors
    /// [`BusError::Transport`] when no server can be reached now.
    pub async fn nats(url: &str) -> Result<Self, BusError> {
        Ok(Self(Kind::Nats(nats::Nats::connect(url).await?)))
    }

    /// Sends to whoever listens; nobody may.
    ///
    /// # Errors
    /// [`BusError::Transport`] or [`BusError::Closed`].
    pub async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        match &self.0 {
            Kind::InProcess(broker) => {
                broker.publish(subject, &payload);
                Ok(())
            }
            Kind::Nats(nats) => nats.publish(subject, payload).await,
        }
    }

    /// Sends, and waits for one answer.
    ///
    /// # Errors
    /// Every [`BusError`].
    pub async fn request(
        &self,
        subject: &str,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, BusError> {
        match &self.0 {
            Kind::InProcess(broker) => broker.request(subject, payload, timeout).await,
            Kind::Nats(nats) => nats.request(subject, payload, timeout).await,
        }
    }

    /// Listens from now on. Members of one queue group share the messages.
    ///
    /// # Errors
    /// [`BusError::Transport`] or [`BusError::Closed`].
    pub async fn subscribe(
        &self,
        subject: &str,
        queue_group: Option<&str>,
    ) -> Result<Subscription, BusError> {
        match &self.0 {
            Kind::InProcess(broker) => Ok(Subscription(SubscriptionKind::InProcess(
                broker.subscribe(subject, queue_group),
            ))),
            Kind::Nats(nats) => Ok(Subscription(SubscriptionKind::Nats(
                nats.subscribe(subject, queue_group).await?,
            ))),
        }
    }
}

/// Messages of one subject. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription(SubscriptionKind);

#[derive(Debug)]
enum SubscriptionKind {
    InProcess(in_process::Subscription),
    Nats(nats::Subscription),
}

impl Subscription {
    /// The next message; `None` when the bus is closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Message> {
        match &mut self.0 {
            SubscriptionKind::InProcess(subscription) => subscription.next().await,
            SubscriptionKind::Nats(subscription) => subscription.next().await,
        }
    }
}

/// One message.
#[derive(Debug)]
pub struct Message {
    /// Where it was sent.
    pub subject: String,
    /// What was sent.
    pub payload: Bytes,
    /// How to answer, when an answer is waited for.
    pub reply: Option<Reply>,
}

/// The way back to whoever waits for an answer. Dropping it lets them run into their timeout.
#[derive(Debug)]
pub struct Reply(ReplyKind);

#[derive(Debug)]
enum ReplyKind {
    InProcess(tokio::sync::oneshot::Sender<Bytes>),
    Nats(nats::Reply),
}

impl Reply {
    /// Answers. Whoever asked may have given up; that is no error.
    pub async fn send(self, payload: Bytes) {
        match self.0 {
            ReplyKind::InProcess(sender) => {
                let _ = sender.send(payload);
            }
            ReplyKind::Nats(reply) => reply.send(payload).await,
        }
    }
}
