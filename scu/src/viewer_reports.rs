//! What CUs report of their paths, on its way to the CMU: in order for each session, and without
//! anybody waiting for it.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use sightline_model::MediaSessionId;
use sightline_protocol::{Named, sc::ScReply, sc::ScRequest};
use tokio::sync::mpsc;
use tracing::{Instrument, Span};

use crate::unit::Unit;

/// Reports go to the CMU at most so many at a time.
const LANES: usize = 8;
/// Reports that may wait in a lane; more are dropped: the next change of the path brings another.
const QUEUE: usize = 256;

type Report = (Box<ScRequest>, Span);

/// The way in.
#[derive(Debug)]
pub(crate) struct ViewerReports {
    lanes: Vec<mpsc::Sender<Report>>,
}

impl ViewerReports {
    pub(crate) fn new() -> (Self, Vec<mpsc::Receiver<Report>>) {
        let (lanes, ends) = (0..LANES).map(|_| mpsc::channel(QUEUE)).unzip();
        (Self { lanes }, ends)
    }

    /// Sends in the current span; a full lane drops it.
    pub(crate) fn send(&self, session: &MediaSessionId, request: Box<ScRequest>) {
        let mut hasher = DefaultHasher::new();
        session.hash(&mut hasher);
        let lane = usize::try_from(hasher.finish() % LANES as u64).unwrap_or(0);
        if self.lanes[lane].try_send((request, Span::current())).is_err() {
            metrics::counter!("sightline_scu_viewer_reports_dropped_total").increment(1);
        }
    }
}

/// Starts the lanes' tasks.
pub(crate) fn start(unit: &Arc<Unit>, lanes: Vec<mpsc::Receiver<Report>>) {
    for mut reports in lanes {
        let unit = unit.clone();
        unit.lifecycle.clone().spawn(async move {
            while let Some((request, span)) = reports.recv().await {
                match unit.ask_cmu(&request).instrument(span).await {
                    Ok(ScReply::Refused { problem }) | Err(problem) => {
                        tracing::debug!(%problem, report = request.name(), "not taken");
                    }
                    Ok(_) => {}
                }
            }
        });
    }
}
