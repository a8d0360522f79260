//! Looks after the storage: sees that it is there and well, probes it when it is not, and takes it up
//! again when it is back.

use std::sync::{Arc, atomic::Ordering};

use crate::{
    State, StoreError,
    files::{give_up_ballast, lay_ballast, probe},
    index::Index,
    layout::{Layout, is_mount_point},
    state::Health,
    store::{Inner, blocking, prepare},
};

pub(crate) async fn run(inner: Arc<Inner>) {
    loop {
        tokio::select! {
            () = inner.stop.cancelled() => return,
            () = inner.look.notified() => {}
            () = tokio::time::sleep(inner.limits.probe_every) => {}
        }
        let found = match look(&inner).await {
            Ok(()) if inner.slow.swap(false, Ordering::Relaxed) => {
                Health { state: State::Slow, detail: StoreError::Behind.to_string().into() }
            }
            Ok(()) => Health::ok(),
            Err(StoreError::Closed) => return,
            Err(error) => Health {
                state: error.state().unwrap_or(State::Failing),
                detail: error.to_string().into(),
            },
        };
        inner.health.send_if_modified(|health| {
            let changed = health.state != found.state;
            if changed {
                tracing::warn!(before = ?health.state, now = ?found.state, detail = %found.detail,
                    "the storage of the recordings");
                *health = found;
            }
            changed
        });
    }
}

/// Whether the storage is well now. One that is away is taken up again when it is back.
async fn look(inner: &Arc<Inner>) -> Result<(), StoreError> {
    let is_there = inner.clone();
    let is_there = blocking(move || {
        let root = is_there.layout.root();
        root.is_dir() && (!is_there.was_mount_point || is_mount_point(root))
    });
    if !is_there.await? {
        leave(inner).await;
        return Err(StoreError::Unavailable(State::Away));
    }
    let index = inner.index.borrow().clone();
    match index {
        Some(index) if inner.index_is_in_place(&index).await.unwrap_or(false) => {}
        Some(_) | None => return take_up(inner).await,
    }
    match inner.state() {
        State::Ok => {}
        State::Slow => probe_now(inner).await?,
        // Somebody else may have taken the last block. What may go makes room, and takes a little to go.
        State::Full => {
            with_layout(inner, give_up_ballast)
                .await?
                .map_err(StoreError::io("giving the ballast up"))?;
            inner.make_room().await?;
            probe_now(inner).await?;
        }
        // A connection that saw the disk fail may take the index for damaged from then on.
        State::ReadOnly | State::Away | State::Failing => {
            probe_now(inner).await?;
            return take_up(inner).await;
        }
    }
    inner.make_room().await?;
    if let Err(error) = with_layout(inner, lay_ballast).await? {
        tracing::debug!(%error, "there is no ballast");
    }
    Ok(())
}

async fn with_layout(
    inner: &Inner,
    work: fn(&Layout) -> std::io::Result<()>,
) -> Result<std::io::Result<()>, StoreError> {
    let layout = inner.layout.clone();
    blocking(move || work(&layout)).await
}

/// What is open belongs to a storage that is not there.
async fn leave(inner: &Arc<Inner>) {
    let Some(index) = inner.index.send_replace(None) else { return };
    // Closing may wait for a disk that never answers.
    let closing = async move { index.close().await };
    if tokio::time::timeout(inner.limits.probe_every, closing).await.is_err() {
        tracing::warn!("the index of a storage that is away could not be closed");
    }
}

/// Opens whatever index is there now: the same as before, or that of another card.
async fn take_up(inner: &Arc<Inner>) -> Result<(), StoreError> {
    leave(inner).await;
    let layout = inner.layout.clone();
    blocking(move || prepare(&layout))
        .await?
        .map_err(StoreError::io("opening the folder of the recordings"))?;
    probe_now(inner).await?;
    let index = Arc::new(Index::open(&inner.layout).await?);
    inner.epoch.fetch_add(1, Ordering::AcqRel);
    inner.index.send_replace(Some(index));
    if let Err(error) = inner.take_stock().await {
        leave(inner).await;
        return Err(error);
    }
    Ok(())
}

async fn probe_now(inner: &Arc<Inner>) -> Result<(), StoreError> {
    let (layout, steps) = (inner.layout.clone(), inner.steps.clone());
    blocking(move || {
        steps.take("probe")?;
        probe(&layout)
    })
    .await?
    .map_err(StoreError::io("trying the storage"))
}
