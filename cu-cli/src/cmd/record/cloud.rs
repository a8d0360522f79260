//! What concerns the cloud storage alone: addresses for other players, space, and deleting.

use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use serde_json::json;
use sightline_model::StreamTier;
use sightline_protocol::cm::{self, CloudDevice};

use super::time;
use crate::{
    api::SignedInApi,
    cli::RecordPlaylist,
    cmd::{
        Context,
        cameras::{confirmed, device_of},
        find_camera,
    },
    error::CuError,
    output,
};

pub(super) async fn playlist(context: &Context, options: RecordPlaylist) -> Result<(), CuError> {
    let api = SignedInApi::open(&context.home)?;
    let camera = find_camera(&api, &options.camera).await?;
    let tier = options.tier.map_or(StreamTier::Main, StreamTier::from);
    let request = cm::PlaylistRequest { from: options.from, to: options.to, tier };
    let link = api.playlist(&camera.id, &request).await?;
    if context.json {
        output::json(&json!({ "url": link.url.expose(), "expires_at": link.expires_at }));
    } else {
        output::line(link.url.expose());
    }
    Ok(())
}

pub(super) async fn space(context: &Context) -> Result<(), CuError> {
    let api = SignedInApi::open(&context.home)?;
    let space = api.cloud_space().await?;
    if context.json {
        output::json(&json!({ "space": space }));
        return Ok(());
    }
    if !space.available {
        output::line("This portal has no cloud storage.");
        return Ok(());
    }
    let cm::CloudSpace { used_bytes, quota_bytes, devices, .. } = &space;
    output::line(&format!("{used_bytes} of {quota_bytes} bytes are used."));
    if !devices.is_empty() {
        output::line(&table(devices).to_string());
    }
    if devices.iter().any(|device| !device.bound) {
        output::line("What released devices have recorded is shown nowhere: cu record erase ID");
    }
    Ok(())
}

fn table(devices: &[CloudDevice]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["Device", "Bytes", "From", "To", ""]);
    for device in devices {
        let CloudDevice { device, bound, bytes, from, to, .. } = device;
        let whose = if *bound { "" } else { "released" };
        table.add_row([
            device.to_string(),
            bytes.to_string(),
            time(*from),
            time(*to),
            whose.to_owned(),
        ]);
    }
    table
}

pub(super) async fn erase(context: &Context, device: &str, yes: bool) -> Result<(), CuError> {
    let api = SignedInApi::open(&context.home)?;
    let pu = device_of(&api, device).await?;
    let question =
        format!("Delete all that {pu} has recorded in the cloud for you, locked or not?");
    if !yes && !confirmed(&question).await? {
        return Err(CuError::usage("nothing was deleted; --yes deletes without asking"));
    }
    let deleted = api.cloud_delete(&pu).await?;
    if context.json {
        output::json(&json!({ "erased": { "device": pu, "segments": deleted.segments } }));
    } else {
        output::line(&format!("{} segments are being deleted.", deleted.segments));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sightline_model::{PuId, PublicKey, UnixMicros};

    use super::*;

    #[test]
    fn released_devices_are_told_apart() {
        let device = |n: u8, bound| CloudDevice {
            device: PuId::from_public_key(&PublicKey::from_bytes([n; 32])),
            bound,
            segments: 2,
            bytes: 4_000_000,
            from: UnixMicros(0),
            to: UnixMicros(8_000_000),
        };
        let all = [device(1, true), device(2, false)];
        let text = table(&all).to_string();
        let line = |n: usize| {
            let id = all[n].device.to_string();
            text.lines().find(|line| line.contains(&id)).expect("a line").to_owned()
        };
        assert!(!line(0).contains("released") && line(1).contains("released"), "{text}");
        assert!(line(0).contains("4000000") && line(0).contains("1970-01-01T00:00:08Z"), "{text}");
    }
}
