//! `nvr`: network video recorders, and which camera each records.

use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use serde_json::json;
use sightline_model::{CameraId, PuId, StorageStatus};
use sightline_protocol::cm::Nvr;

use super::{Context, find_camera};
use crate::{
    api::SignedInApi,
    cli::NvrCommand,
    error::{CuError, Exit},
    output,
    play::place,
};

pub(super) async fn run(context: &Context, command: NvrCommand) -> Result<(), CuError> {
    match command {
        NvrCommand::List => list(context).await,
        NvrCommand::Relate { camera, nvr } => relate(context, &camera, nvr.as_deref()).await,
        NvrCommand::Unrelate { camera } => unrelate(context, &camera).await,
    }
}

async fn list(context: &Context) -> Result<(), CuError> {
    let api = SignedInApi::open(&context.home)?;
    let nvrs = api.nvrs().await?;
    if context.json {
        output::json(&json!({ "nvrs": nvrs }));
        return Ok(());
    }
    if nvrs.is_empty() {
        output::line("You have no NVR yet. Take one with: cu bind CODE");
        return Ok(());
    }
    let cameras = api.cameras().await?;
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["#", "State", "Storage", "Records", "Id"]);
    for (i, nvr) in nvrs.iter().enumerate() {
        let name = |id: &CameraId| {
            let known = cameras.iter().find(|camera| camera.id == *id);
            known.map_or_else(|| id.to_string(), |camera| camera.name.clone())
        };
        let records: Vec<_> = nvr.records.iter().map(|relation| name(&relation.camera)).collect();
        table.add_row([
            (i + 1).to_string(),
            if nvr.online { "online" } else { "offline" }.to_owned(),
            nvr.storage.as_ref().map_or_else(String::new, storage),
            records.join("\n"),
            nvr.device.pu.to_string(),
        ]);
    }
    output::line(&table.to_string());
    Ok(())
}

fn storage(status: &StorageStatus) -> String {
    let giga = |bytes: u64| bytes / 1_000_000_000;
    let state = format!("{:?}", status.state).to_lowercase();
    match status.capacity_bytes {
        Some(all) => format!("{state}, {} of {} GB", giga(status.recorded_bytes), giga(all)),
        None => format!("{state}, {} GB", giga(status.recorded_bytes)),
    }
}

async fn relate(context: &Context, camera: &str, nvr: Option<&str>) -> Result<(), CuError> {
    let api = SignedInApi::open(&context.home)?;
    let camera = find_camera(&api, camera).await?;
    let nvr = pick(api.nvrs().await?, nvr)?;
    let pu = nvr.device.pu;
    let related = api.relate(&pu, &camera.id).await?;
    if context.json {
        output::json(&json!({ "related": { "nvr": pu, "camera": camera.id, "told": related } }));
        return Ok(());
    }
    output::line(&format!("{} may now be recorded by the NVR {pu}.", camera.name));
    if !related.nvr_told {
        output::line("The NVR is away; it hears of it when it is back.");
    }
    if !related.pu_told {
        output::line("The camera's device is away; it hears of it when it is back.");
    }
    output::line("Say what is to be recorded: cu record plan CAMERA --on nvr --set main");
    Ok(())
}

async fn unrelate(context: &Context, camera: &str) -> Result<(), CuError> {
    let api = SignedInApi::open(&context.home)?;
    let camera = find_camera(&api, camera).await?;
    let pu = place::nvr_of(&api, &camera).await?.device.pu;
    api.unrelate(&pu, &camera.id).await?;
    if context.json {
        output::json(&json!({ "unrelated": { "nvr": pu, "camera": camera.id } }));
    } else {
        output::line(&format!("{} is not recorded by the NVR {pu} any more.", camera.name));
    }
    Ok(())
}

/// The NVR that the person means: by id or number, or the only one.
fn pick(nvrs: Vec<Nvr>, wanted: Option<&str>) -> Result<Nvr, CuError> {
    let none = |words: &str| CuError::new(Exit::Refused, words);
    let Some(wanted) = wanted else {
        return match <[Nvr; 1]>::try_from(nvrs) {
            Ok([only]) => Ok(only),
            Err(nvrs) if nvrs.is_empty() => {
                Err(none("you have no NVR yet; take one with: cu bind CODE"))
            }
            Err(_) => Err(CuError::usage("you have several NVRs; name one, see: cu nvr list")),
        };
    };
    let by_number = wanted.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
    let id = wanted.parse::<PuId>().ok();
    let found = nvrs
        .into_iter()
        .enumerate()
        .find(|(i, nvr)| id.as_ref() == Some(&nvr.device.pu) || by_number == Some(*i));
    found.map(|(_, nvr)| nvr).ok_or_else(|| none("you have no such NVR; see: cu nvr list"))
}

#[cfg(test)]
mod tests {
    use sightline_model::{DeviceId, PublicKey};

    use super::*;

    fn nvr(n: u8) -> Nvr {
        let device_key = PublicKey::from_bytes([n; 32]);
        let pu = PuId::from_public_key(&device_key);
        let domain = "home".parse().expect("valid");
        let device = DeviceId { domain, pu };
        Nvr { device, device_key, online: true, storage: None, records: Vec::new() }
    }

    #[test]
    fn an_nvr_is_named_by_id_or_number_or_is_the_only_one() {
        let both = || vec![nvr(1), nvr(2)];
        let id = both()[1].device.pu.to_string();
        assert_eq!(pick(both(), Some(&id)).expect("id"), nvr(2));
        assert_eq!(pick(both(), Some("1")).expect("number"), nvr(1));
        assert_eq!(pick(vec![nvr(1)], None).expect("the only one"), nvr(1));
        for wanted in [None, Some("0"), Some("3"), Some("yard")] {
            assert!(pick(both(), wanted).is_err(), "{wanted:?}");
        }
        assert!(pick(Vec::new(), None).is_err());
    }
}
