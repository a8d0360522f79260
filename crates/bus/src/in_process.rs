//! The bus of the all-in-one: subjects in a map, subscribers behind bounded channels.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::{BusError, Message, QUEUE_LEN, Reply, ReplyKind};

#[derive(Debug, Default)]
pub(crate) struct Broker {
    subjects: Mutex<HashMap<String, Subject>>,
    next_id: AtomicUsize,
}

#[derive(Debug, Default)]
struct Subject {
    /// Subscribers without a group: each gets every message.
    single: Vec<Subscriber>,
    /// Groups: one member gets a message, in turn.
    groups: BTreeMap<String, Group>,
}

#[derive(Debug, Default)]
struct Group {
    members: Vec<Subscriber>,
    turn: usize,
}

#[derive(Debug, Clone)]
struct Subscriber {
    id: usize,
    queue: mpsc::Sender<Message>,
}

impl Subject {
    /// Who gets the next message.
    fn receivers(&mut self) -> Vec<Subscriber> {
        let mut receivers = self.single.clone();
        for group in self.groups.values_mut().filter(|g| !g.members.is_empty()) {
            group.turn = (group.turn + 1) % group.members.len();
            receivers.push(group.members[group.turn].clone());
        }
        receivers
    }

    fn remove(&mut self, id: usize) {
        self.single.retain(|s| s.id != id);
        for group in self.groups.values_mut() {
            group.members.retain(|s| s.id != id);
        }
        self.groups.retain(|_, group| !group.members.is_empty());
    }

    fn is_empty(&self) -> bool {
        self.single.is_empty() && self.groups.is_empty()
    }
}

impl Broker {
    fn receivers(&self, subject: &str) -> Vec<Subscriber> {
        self.subjects.lock().get_mut(subject).map(Subject::receivers).unwrap_or_default()
    }

    pub(crate) fn publish(&self, subject: &str, payload: &Bytes) {
        for receiver in self.receivers(subject) {
            let message =
                Message { subject: subject.to_owned(), payload: payload.clone(), reply: None };
            if receiver.queue.try_send(message).is_err() {
                tracing::warn!(subject, "a subscriber is too slow; dropped a message to it");
            }
        }
    }

    pub(crate) async fn request(
        &self,
        subject: &str,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, BusError> {
        let no_responder = || BusError::NoResponder(subject.to_owned());
        let receiver = self.receivers(subject).into_iter().next().ok_or_else(no_responder)?;
        let (answer, answered) = oneshot::channel();
        let reply = Some(Reply(ReplyKind::InProcess(answer)));
        receiver
            .queue
            .try_send(Message { subject: subject.to_owned(), payload, reply })
            .map_err(|_| no_responder())?;
        let late = || BusError::Timeout(subject.to_owned(), timeout);
        match tokio::time::timeout(timeout, answered).await {
            Ok(Ok(payload)) => Ok(payload),
            // The subscriber went away with the message in its queue.
            Ok(Err(_)) => Err(no_responder()),
            Err(_) => Err(late()),
        }
    }

    pub(crate) fn subscribe(self: &Arc<Self>, subject: &str, group: Option<&str>) -> Subscription {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (queue, messages) = mpsc::channel(QUEUE_LEN);
        let subscriber = Subscriber { id, queue };
        let mut subjects = self.subjects.lock();
        let entry = subjects.entry(subject.to_owned()).or_default();
        match group {
            None => entry.single.push(subscriber),
            Some(group) => {
                entry.groups.entry(group.to_owned()).or_default().members.push(subscriber)
            }
        }
        Subscription { broker: Arc::clone(self), subject: subject.to_owned(), id, messages }
    }
}

#[derive(Debug)]
pub(crate) struct Subscription {
    broker: Arc<Broker>,
    subject: String,
    id: usize,
    messages: mpsc::Receiver<Message>,
}

impl Subscription {
    pub(crate) async fn next(&mut self) -> Option<Message> {
        self.messages.recv().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut subjects = self.broker.subjects.lock();
        if let Some(subject) = subjects.get_mut(&self.subject) {
            subject.remove(self.id);
            if subject.is_empty() {
                subjects.remove(&self.subject);
            }
        }
    }
}
