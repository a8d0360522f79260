//! `snapshot`: one picture as JPEG, fetched from the PU; the centre never has it.

use std::{io::Write, path::Path, sync::Arc, time::Duration};

use openh264::{decoder::Decoder, formats::YUVSource};
use sightline_media::{AccessUnit, packetize::nal_units};
use sightline_media_io::hub::{Hub, Next, SourceState};
use sightline_model::{QualityChoice, VideoCodec};
use sightline_protocol::cm::Player;

use super::{Context, find_camera};
use crate::{
    api::SignedInApi,
    cli::Via,
    error::{CuError, Exit},
    output,
    play::{
        Incoming,
        session::{Session, Wanted},
    },
};

/// How long the picture may take.
const WAIT: Duration = Duration::from_secs(20);
/// Quality of the JPEG.
const JPEG_QUALITY: u8 = 90;

pub(super) async fn run(context: &Context, camera: &str, file: &Path) -> Result<(), CuError> {
    let bar = output::progress("asking for a picture");
    let api = SignedInApi::open(&context.home)?;
    let camera = find_camera(&api, camera).await?;
    let wanted = Wanted {
        codecs: vec![VideoCodec::H264],
        quality: QualityChoice::Auto,
        require_pin: false,
        player: Player::Client,
    };
    let session = Session::ask(&api, &context.home, camera, &wanted).await?;
    // A PU behind a router may be reachable by WebRTC only.
    let via = if session.answer.quic.is_empty() { Via::Webrtc } else { Via::Quic };
    let (mut incoming, mut reader) =
        Incoming::start(session, via, QualityChoice::Auto, Hub::subscribe);
    let keyframe = async {
        loop {
            match reader.next().await {
                Next::Unit(unit) if unit.is_keyframe() => return Ok(unit),
                Next::State(SourceState::Online(form))
                    if form.video.as_ref().is_some_and(|v| v.codec() == VideoCodec::H265) =>
                {
                    return Err(CuError::new(
                        Exit::Refused,
                        "the camera gives H.265 only, which cu cannot decode; record a second instead: cu play CAMERA --out x.mp4 --seconds 1",
                    ));
                }
                Next::Unit(_) | Next::Skipped(_) | Next::State(_) => {}
            }
        }
    };
    let result = tokio::select! {
        keyframe = tokio::time::timeout(WAIT, keyframe) => keyframe.unwrap_or_else(|_| {
            Err(CuError::timeout("the camera is there, but no picture came in time"))
        }),
        ended = incoming.ended() => ended.and(Err(CuError::unreachable("the camera ended the stream"))),
    };
    incoming.stop().await;
    bar.finish_and_clear();
    let unit: Arc<AccessUnit> = result?;
    let (jpeg, width, height) = tokio::task::spawn_blocking(move || jpeg(&unit))
        .await
        .map_err(|e| CuError::other(e.to_string()))??;
    save(file, &jpeg)?;
    if context.json {
        let (name, bytes) = (output::path(file), jpeg.len());
        output::json(&serde_json::json!({
            "snapshot": {"file": name, "width": width, "height": height, "bytes": bytes},
        }));
    } else if file != Path::new("-") {
        output::line(&format!("{} ({width}x{height})", file.display()));
    }
    Ok(())
}

/// Decodes a keyframe and codes it as JPEG.
fn jpeg(unit: &AccessUnit) -> Result<(Vec<u8>, usize, usize), CuError> {
    let AccessUnit::Video { data, .. } = unit else {
        return Err(CuError::other("this is no picture"));
    };
    let mut annex_b = Vec::with_capacity(data.len() + 64);
    for nal in nal_units(data) {
        annex_b.extend_from_slice(&[0, 0, 0, 1]);
        annex_b.extend_from_slice(&nal);
    }
    let undecodable =
        |e: openh264::Error| CuError::other(format!("the picture cannot be decoded: {e}"));
    let mut decoder = Decoder::new().map_err(undecodable)?;
    let mut picture = decoder.decode(&annex_b).map_err(undecodable)?.map(|p| rgb(&p));
    if picture.is_none() {
        // The decoder may hold a picture back until it is told that nothing follows.
        picture = decoder.flush_remaining().map_err(undecodable)?.first().map(rgb);
    }
    let (rgb, width, height) =
        picture.ok_or_else(|| CuError::other("the picture cannot be decoded"))?;
    let mut jpeg = Vec::new();
    let size = |n: usize| u16::try_from(n).map_err(|_| CuError::other("the picture is too large"));
    jpeg_encoder::Encoder::new(&mut jpeg, JPEG_QUALITY)
        .encode(&rgb, size(width)?, size(height)?, jpeg_encoder::ColorType::Rgb)
        .map_err(|e| CuError::other(format!("the picture cannot be coded: {e}")))?;
    Ok((jpeg, width, height))
}

fn rgb(picture: &openh264::decoder::DecodedYUV<'_>) -> (Vec<u8>, usize, usize) {
    let (width, height) = picture.dimensions();
    let mut rgb = vec![0; width * height * 3];
    picture.write_rgb8(&mut rgb);
    (rgb, width, height)
}

fn save(file: &Path, jpeg: &[u8]) -> Result<(), CuError> {
    if file == Path::new("-") {
        return std::io::stdout()
            .write_all(jpeg)
            .map_err(|e| CuError::other(format!("cannot write the picture: {e}")));
    }
    std::fs::write(file, jpeg)
        .map_err(|e| CuError::other(format!("cannot write {}: {e}", file.display())))
}
