//! `--out`: an MP4 file that survives the death of this process.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use serde_json::json;
use sightline_media::mp4::{Finished, Mp4Error, Writer};
use tokio::{
    fs::File,
    io::{AsyncSeekExt, AsyncWriteExt, SeekFrom},
};
use tokio_util::sync::CancellationToken;

use super::{Item, Source};
use crate::{api::now, error::CuError, output};

/// Records until the limit or the token; ends the file in either case.
pub(super) async fn run(
    mut source: Source,
    path: PathBuf,
    token: CancellationToken,
    bar: ProgressBar,
    as_json: bool,
) -> Result<(), CuError> {
    let cannot =
        |e: std::io::Error| CuError::other(format!("cannot write {}: {e}", path.display()));
    let mut file = File::create(&path).await.map_err(cannot)?;
    let mut writer: Option<Writer> = None;
    let mut written = 0_u64;
    let ended = loop {
        let item = tokio::select! {
            () = token.cancelled() => break Ok(()),
            item = source.next() => item,
        };
        let bytes = match item {
            Err(e) => break Err(e),
            Ok(None) => break Ok(()),
            Ok(Some(Item::Form(form))) => match &mut writer {
                None => {
                    writer = Some(Writer::new(&form, now()).map_err(|e| unusable(&e))?);
                    continue;
                }
                Some(writer) => writer.describe(&form),
            },
            Ok(Some(Item::Unit(unit))) => match &mut writer {
                Some(writer) => writer.push(&unit),
                None => continue,
            },
            Ok(Some(Item::Away(why))) => {
                bar.set_message(format!("no picture: {why}"));
                continue;
            }
            Ok(Some(Item::Skipped(count))) => {
                output::note(&format!(
                    "the disk is too slow: {count} pictures and sounds were left out"
                ));
                continue;
            }
        };
        match bytes {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => {
                file.write_all(&bytes).await.map_err(cannot)?;
                file.sync_data().await.map_err(cannot)?;
                written += bytes.len() as u64;
                bar.set_message(format!("recording, {} kB", written / 1_000));
            }
            Err(e) => break Err(unusable(&e)),
        }
    };
    let left_out = writer.as_ref().and_then(Writer::left_out);
    match writer.map(Writer::finish) {
        Some(Ok(end)) => finish(&mut file, end).await.map_err(cannot)?,
        Some(Err(Mp4Error::Empty)) | None => {
            drop(file);
            // An empty file would only puzzle; what went wrong is told instead.
            let _ = tokio::fs::remove_file(&path).await;
            return ended.and(Err(CuError::timeout("no picture came, so nothing was recorded")));
        }
        Some(Err(e)) => return Err(unusable(&e)),
    }
    ended?;
    report(&path, left_out, as_json).await;
    Ok(())
}

pub(super) async fn finish(file: &mut File, end: Finished) -> std::io::Result<()> {
    file.write_all(&end.append).await?;
    file.sync_all().await?;
    for (offset, bytes) in end.patches {
        file.seek(SeekFrom::Start(offset)).await?;
        file.write_all(&bytes).await?;
        file.sync_data().await?;
    }
    Ok(())
}

pub(super) fn unusable(error: &Mp4Error) -> CuError {
    CuError::other(format!("the stream cannot be recorded: {error}"))
}

pub(super) async fn report(path: &Path, left_out: Option<&str>, as_json: bool) {
    let bytes = tokio::fs::metadata(path).await.map_or(0, |m| m.len());
    if as_json {
        let file = output::path(path);
        output::json(&json!({"recorded": {"file": file, "bytes": bytes, "left_out": left_out}}));
        return;
    }
    output::line(&format!("Recorded {} ({} kB).", path.display(), bytes / 1_000));
    if let Some(why) = left_out {
        output::note(&format!("note: {why}"));
    }
}
