//! What a connection waits for. Nothing, where there is nothing to wait for.

use std::{collections::BTreeMap, future::poll_fn, task::Poll, time::Instant};

use sightline_protocol::Problem;
use sightline_rtsp::{TrackKind, rtp};

use super::{
    connection::Playing,
    playback::{Looking, Playback},
    udp::Pair,
};
use crate::{
    archive::{ArchiveError, Event, Look},
    gate::{Admission, BoxFuture},
    hub::Next,
};

pub(super) async fn ended(admission: &mut Option<Admission>) -> Problem {
    match admission {
        Some(admission) => admission.wait_ended().await,
        None => std::future::pending().await,
    }
}

pub(super) async fn checked(
    pending: &mut Option<BoxFuture<'static, Result<Admission, Problem>>>,
) -> Result<Admission, Problem> {
    match pending {
        Some(pending) => pending.await,
        None => std::future::pending().await,
    }
}

pub(super) async fn next_of(playing: Option<&mut Playing>) -> Next {
    match playing {
        Some(playing) => playing.reader.next().await,
        None => std::future::pending().await,
    }
}

/// Resolves when a player over UDP shows that it listens; whether it did so with valid RTCP.
pub(super) async fn heard(pairs: &BTreeMap<TrackKind, Pair>) -> bool {
    let mut buffer = [0; 1_500];
    poll_fn(|cx| {
        for pair in pairs.values() {
            if let Poll::Ready(length) = pair.poll_heard(cx, &mut buffer) {
                return Poll::Ready(!rtp::parse_rtcp(&buffer[..length]).is_empty());
            }
        }
        Poll::Pending
    })
    .await
}

pub(super) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

pub(super) async fn looked(looking: &mut Option<Looking>) -> Result<Look, ArchiveError> {
    match looking {
        Some(looking) => looking.found.as_mut().await,
        None => std::future::pending().await,
    }
}

pub(super) async fn recorded(playback: Option<&mut Playback>) -> Event {
    match playback {
        Some(playback) => playback.player.next().await,
        None => std::future::pending().await,
    }
}
