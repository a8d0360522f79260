//! The bus of a centre with many processes: NATS.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;

use crate::{BusError, Message, ReplyKind};

fn transport(error: impl std::fmt::Display) -> BusError {
    BusError::Transport(error.to_string())
}

#[derive(Clone, Debug)]
pub(crate) struct Nats {
    client: async_nats::Client,
}

impl Nats {
    pub(crate) async fn connect(url: &str) -> Result<Self, BusError> {
        let options = async_nats::ConnectOptions::new()
            .name("sightline")
            .subscription_capacity(crate::QUEUE_LEN);
        let servers: Vec<&str> = url.split(',').map(str::trim).collect();
        Ok(Self { client: options.connect(servers).await.map_err(transport)? })
    }

    pub(crate) async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        self.client.publish(subject.to_owned(), payload).await.map_err(transport)
    }

    pub(crate) async fn request(
        &self,
        subject: &str,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, BusError> {
        let request = async_nats::Request::new().payload(payload).timeout(Some(timeout));
        match self.client.send_request(subject.to_owned(), request).await {
            Ok(message) => Ok(message.payload),
            Err(error) => Err(match error.kind() {
                async_nats::RequestErrorKind::NoResponders => {
                    BusError::NoResponder(subject.to_owned())
                }
                async_nats::RequestErrorKind::TimedOut => {
                    BusError::Timeout(subject.to_owned(), timeout)
                }
                _ => transport(error),
            }),
        }
    }

    pub(crate) async fn subscribe(
        &self,
        subject: &str,
        group: Option<&str>,
    ) -> Result<Subscription, BusError> {
        let subject = subject.to_owned();
        let inner = match group {
            None => self.client.subscribe(subject).await,
            Some(group) => self.client.queue_subscribe(subject, group.to_owned()).await,
        };
        let inner = inner.map_err(transport)?;
        // Until the server has seen the subscription, a request of ours would find nobody.
        self.client.flush().await.map_err(transport)?;
        Ok(Subscription { inner, client: self.client.clone() })
    }
}

#[derive(Debug)]
pub(crate) struct Subscription {
    inner: async_nats::Subscriber,
    client: async_nats::Client,
}

impl Subscription {
    pub(crate) async fn next(&mut self) -> Option<Message> {
        let message = self.inner.next().await?;
        let reply = message
            .reply
            .map(|to| crate::Reply(ReplyKind::Nats(Reply { client: self.client.clone(), to })));
        Some(Message { subject: message.subject.to_string(), payload: message.payload, reply })
    }
}

#[derive(Debug)]
pub(crate) struct Reply {
    client: async_nats::Client,
    to: async_nats::Subject,
}

impl Reply {
    pub(crate) async fn send(self, payload: Bytes) {
        if let Err(error) = self.client.publish(self.to, payload).await {
            tracing::warn!(%error, "could not answer over the bus");
        }
    }
}
