//! Where a recording is played from: the camera's own unit, the NVR that records it, or the cloud storage.

use sightline_model::PuId;
use sightline_protocol::cm::{Camera, Nvr};

use crate::{
    api::SignedInApi,
    cli::RecordPlace,
    error::{CuError, Exit},
};

/// Who holds what is to be played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held {
    /// The camera's own unit.
    ByUnit,
    /// This NVR.
    ByNvr(PuId),
    /// The cloud storage.
    InCloud,
}

impl Held {
    /// The NVR to be asked; none for the camera's own unit.
    pub(crate) fn recorder(self) -> Option<PuId> {
        match self {
            Self::ByNvr(nvr) => Some(nvr),
            Self::ByUnit | Self::InCloud => None,
        }
    }

    /// Who it is, for a person.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::ByUnit => "the camera's own unit".into(),
            Self::ByNvr(nvr) => format!("the NVR {nvr}"),
            Self::InCloud => "the cloud storage".into(),
        }
    }

    /// As `--on` calls it.
    pub(crate) const fn option(&self) -> &'static str {
        match self {
            Self::ByUnit => "unit",
            Self::ByNvr(_) => "nvr",
            Self::InCloud => "cloud",
        }
    }
}

/// The NVR that a camera is related to.
///
/// # Errors
/// When it is none, or the portal cannot be asked.
pub(crate) async fn nvr_of(api: &SignedInApi, camera: &Camera) -> Result<Nvr, CuError> {
    let records = |nvr: &Nvr| nvr.records.iter().any(|relation| relation.camera == camera.id);
    api.nvrs().await?.into_iter().find(records).ok_or_else(|| {
        let words = format!("no NVR records {}; see: cu nvr relate --help", camera.name);
        CuError::new(Exit::Refused, words)
    })
}

/// Whom the person has named.
///
/// # Errors
/// When the NVR is meant and there is none, or the portal cannot be asked.
pub(crate) async fn named(
    api: &SignedInApi,
    camera: &Camera,
    on: RecordPlace,
) -> Result<Held, CuError> {
    match on {
        RecordPlace::Unit => Ok(Held::ByUnit),
        RecordPlace::Nvr => Ok(Held::ByNvr(nvr_of(api, camera).await?.device.pu)),
        RecordPlace::Cloud => Ok(Held::InCloud),
    }
}
