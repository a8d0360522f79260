//! `bind`, `list`, `release` and `rename`.

use std::io::{BufRead, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use serde_json::json;
use sightline_model::{ClaimCode, Presence, PuId, StreamInfo};
use sightline_protocol::cm::Camera;

use super::{Context, find_camera};
use crate::{api::SignedInApi, error::CuError, output};

pub(super) async fn bind(context: &Context, typed: &str) -> Result<(), CuError> {
    let typed = if typed == "-" { read_line().await? } else { typed.to_owned() };
    let code: ClaimCode =
        typed.parse().map_err(|e| CuError::usage(format!("{e}. See `cu bind --help`")))?;
    let api = SignedInApi::open(&context.home)?;
    let bound = api.bind(&code).await?;
    let key_fits = |c: &Camera| code.pu_id().matches(&c.device_key) && c.id.pu == *code.pu_id();
    if bound.device.pu != *code.pu_id() || !bound.cameras.iter().all(key_fits) {
        return Err(CuError::security(
            "the portal answered with another device than the one on the label; nothing was pinned",
        ));
    }
    context.home.set_pin(code.pu_id(), true)?;
    if context.json {
        output::json(&json!({"bound": bound}));
    } else {
        let what = if bound.cameras.is_empty() { "device" } else { "camera" };
        output::line(&format!("The {what} is yours. Device {}, key pinned.", bound.device.pu));
        for camera in &bound.cameras {
            output::line(&format!("  {}  {}", camera.id, camera.name));
        }
    }
    Ok(())
}

async fn read_line() -> Result<String, CuError> {
    tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        match std::io::stdin().lock().read_line(&mut line) {
            Ok(n) if n > 0 => Ok(line.trim().to_owned()),
            _ => Err(CuError::usage("nothing came on the standard input")),
        }
    })
    .await
    .map_err(|e| CuError::other(e.to_string()))?
}

pub(super) async fn list(context: &Context) -> Result<(), CuError> {
    let api = SignedInApi::open(&context.home)?;
    let cameras = api.cameras().await?;
    let pins = context.home.pins()?;
    if context.json {
        let rows = cameras.iter().enumerate().map(|(i, camera)| {
            let mut row = serde_json::to_value(camera).unwrap_or_default();
            row["number"] = json!(i + 1);
            row["pinned"] = json!(pins.from_code.contains(&camera.id.pu));
            row
        });
        output::json(&json!({"cameras": rows.collect::<Vec<_>>()}));
        return Ok(());
    }
    if cameras.is_empty() {
        output::line("You have no camera yet. Take one with: cu bind CODE");
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["#", "Name", "State", "Streams", "Sound", "Id", "Key"]);
    for (i, camera) in cameras.iter().enumerate() {
        let key = if pins.from_code.contains(&camera.id.pu) { "pinned" } else { "from portal" };
        table.add_row([
            (i + 1).to_string(),
            printable(&camera.name),
            state(camera),
            camera.streams.iter().map(stream).collect::<Vec<_>>().join("\n"),
            camera.audio.map_or_else(String::new, |a| format!("{a:?}")),
            camera.id.to_string(),
            key.to_owned(),
        ]);
    }
    output::line(&table.to_string());
    Ok(())
}

/// Names come from others: none may steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn state(camera: &Camera) -> String {
    let word = match camera.presence {
        Presence::Offline => "offline",
        Presence::Inactive => "no picture",
        Presence::Online => "online",
        Presence::Active => "watched",
    };
    match &camera.fault {
        Some(fault) => format!("{word}: {}", printable(fault)),
        None => word.to_owned(),
    }
}

fn stream(stream: &StreamInfo) -> String {
    let StreamInfo { tier, codec, width, height, fps } = stream;
    format!("{tier:?} {width}x{height} {codec:?} {fps:.0} fps").to_lowercase()
}

pub(super) async fn release(context: &Context, device: &str, yes: bool) -> Result<(), CuError> {
    let api = SignedInApi::open(&context.home)?;
    let pu = device_of(&api, device).await?;
    if !yes && !confirmed(&format!("Release device {pu} with all its cameras?")).await? {
        return Err(CuError::usage("nothing was released; --yes releases without asking"));
    }
    api.release(&pu).await?;
    context.home.set_pin(&pu, false)?;
    if context.json {
        output::json(&json!({"released": pu}));
    } else {
        output::line(&format!(
            "Device {pu} is released; whoever holds its claim code can bind it."
        ));
        output::note(
            "note: what it has recorded in the cloud stays yours, is shown nowhere and counts in \
             your space; see: cu record space",
        );
    }
    Ok(())
}

/// A device by its id, or by one of its cameras.
pub(super) async fn device_of(api: &SignedInApi, device: &str) -> Result<PuId, CuError> {
    match device.parse() {
        Ok(pu) => Ok(pu),
        Err(_) => Ok(find_camera(api, device).await?.id.pu),
    }
}

/// Whether the person says yes; without a person it is no.
pub(super) async fn confirmed(question: &str) -> Result<bool, CuError> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    let mut err = std::io::stderr();
    let _ = write!(err, "{question} Type yes: ").and_then(|()| err.flush());
    Ok(read_line().await?.eq_ignore_ascii_case("yes"))
}

pub(super) async fn rename(context: &Context, camera: &str, name: &str) -> Result<(), CuError> {
    let length = name.chars().count();
    if !(1..=64).contains(&length) || name.chars().any(char::is_control) {
        return Err(CuError::usage("a name has 1 to 64 printable characters"));
    }
    let api = SignedInApi::open(&context.home)?;
    let camera = find_camera(&api, camera).await?;
    api.rename(&camera.id, name).await?;
    if context.json {
        output::json(&json!({"renamed": {"id": camera.id, "name": name}}));
    } else {
        output::line(&format!("{} is now called {name}.", printable(&camera.name)));
    }
    Ok(())
}
