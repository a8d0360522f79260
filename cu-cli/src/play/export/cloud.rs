//! The same from the cloud storage: the proof and the addresses of the segments come from the portal,
//! their bytes from the store, in ranges where a download broke.

use std::{collections::HashMap, path::Path, time::Duration};

use indicatif::ProgressBar;
use reqwest::StatusCode;
use sightline_protocol::{cm::CloudSegment, flow};
use sightline_recording::{
    chain::Proof,
    statement::{Digest, Subject},
};
use tokio::{
    fs::{self, OpenOptions},
    io::AsyncWriteExt,
};

use super::{
    blocking, cannot,
    checked::{Checked, Part, check},
    download::{Asked, mega},
    folder::{Folder, hash_of},
};
use crate::{
    api::SignedInApi,
    error::{CuError, Exit},
    home::Home,
    play::session::check_device,
};

/// A broken download is gone on with so often without a single byte in between.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Fetches all, or says why not; in either case the folder holds what has come.
pub(super) async fn run(
    (api, home): (&SignedInApi, &Home),
    asked: &Asked,
    bar: &ProgressBar,
    mut folder: Folder,
) -> (Folder, Result<Checked, CuError>) {
    let checked = fetch((api, home), asked, bar, &mut folder).await;
    (folder, checked)
}

async fn fetch(
    (api, home): (&SignedInApi, &Home),
    asked: &Asked,
    bar: &ProgressBar,
    folder: &mut Folder,
) -> Result<Checked, CuError> {
    bar.set_message("asking for what lies in the cloud");
    check_device(&asked.camera, &asked.camera.device_key, &home.pins()?, asked.require_pin)?;
    let camera = &asked.camera.id;
    let proof = api.cloud_proof(camera, &asked.span, asked.tier).await?;
    let proof = Proof::parse(&proof);
    let proof = proof.map_err(|e| CuError::security(format!("the portal's proof: {e}")))?;
    let (recorder, camera) = (camera.pu.clone(), camera.clone());
    let subject = Subject { recorder, camera, tier: asked.tier };
    let checked = blocking(move || check(proof, &subject)).await?;
    folder.make()?;
    let all: u64 = checked.parts.iter().map(|part| part.segment.len).sum();
    let (mut done, mut known) = (0, Addresses { api, asked, by_hash: HashMap::new() });
    for part in &checked.parts {
        segment(&mut known, part, folder).await?;
        done += part.segment.len;
        bar.set_message(format!("fetching: {:.1} of {:.1} MB", mega(done), mega(all)));
    }
    Ok(checked)
}

/// Where segments can be fetched. Addresses end after minutes: then they are asked for anew.
struct Addresses<'a> {
    api: &'a SignedInApi,
    asked: &'a Asked,
    by_hash: HashMap<String, CloudSegment>,
}

impl Addresses<'_> {
    async fn of(&mut self, content: Digest, anew: bool) -> Result<CloudSegment, CuError> {
        let hash = content.to_string();
        if anew || !self.by_hash.contains_key(&hash) {
            self.by_hash.clear();
            let (id, tier) = (&self.asked.camera.id, self.asked.tier);
            let mut after = None;
            loop {
                let list = self.api.cloud_segments(id, &self.asked.span, tier, after).await?;
                let by_hash = |segment: CloudSegment| (segment.sha256.clone(), segment);
                self.by_hash.extend(list.segments.into_iter().map(by_hash));
                after = list.next;
                if after.is_none() {
                    break;
                }
            }
        }
        let found = self.by_hash.get(&hash).cloned();
        found.ok_or_else(|| CuError::new(Exit::Refused, "a segment has been deleted meanwhile"))
    }
}

async fn segment(
    known: &mut Addresses<'_>,
    part: &Part,
    folder: &mut Folder,
) -> Result<(), CuError> {
    let content = part.segment.content;
    if folder.has(content) {
        return Ok(());
    }
    let begun = folder.begun(content);
    let (mut tries, mut pause, mut anew) = (TRIES, PAUSE, false);
    loop {
        let at = known.of(content, anew).await?;
        let before = folder.fetched();
        let broken = match bytes(known.api, &at, part, folder).await {
            Ok(continued) => {
                if hash(&begun).await? == content {
                    return folder.keep(content).await;
                }
                // What came is of no use, also not to be gone on with.
                fs::remove_file(&begun).await.map_err(|e| cannot("remove", &begun, &e))?;
                let why = format!("the bytes of {} are not those that were signed", part.name);
                if !continued {
                    return Err(CuError::security(why));
                }
                CuError::unreachable(why)
            }
            Err(error) => error,
        };
        if !matches!(broken.exit, Exit::Unreachable | Exit::Timeout | Exit::Refused) {
            return Err(broken);
        }
        anew = true;
        if folder.fetched() > before {
            (tries, pause) = (TRIES, PAUSE);
        }
        tries -= 1;
        if tries == 0 {
            return Err(broken);
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// Fetches what has not come yet; says whether it went on from something.
async fn bytes(
    api: &SignedInApi,
    at: &CloudSegment,
    part: &Part,
    folder: &mut Folder,
) -> Result<bool, CuError> {
    let (len, begun) = (part.segment.len, folder.begun(part.segment.content));
    let cannot_write = |e: std::io::Error| cannot("write", &begun, &e);
    let mut have = fs::metadata(&begun).await.map_or(0, |stat| stat.len());
    if have >= len {
        have = 0;
    }
    flow::sent("Cc", "CU", "CS", "segment", &at.chain);
    let mut answer = api.fetch(&at.url, have).await?;
    let continued = have > 0 && answer.status() == StatusCode::PARTIAL_CONTENT;
    if !continued {
        have = 0;
    }
    let mut open = OpenOptions::new();
    let open = open.create(true).write(true).truncate(!continued).append(continued);
    let mut file = open.open(&begun).await.map_err(cannot_write)?;
    let lost = |e: reqwest::Error| {
        let why = e.without_url();
        CuError::unreachable(format!("the connection to the cloud storage broke: {why}"))
    };
    while let Some(chunk) = answer.chunk().await.map_err(lost)? {
        have += chunk.len() as u64;
        if have > len {
            break;
        }
        file.write_all(&chunk).await.map_err(cannot_write)?;
        folder.count(chunk.len() as u64);
    }
    file.sync_all().await.map_err(cannot_write)?;
    Ok(continued)
}

async fn hash(path: &Path) -> Result<Digest, CuError> {
    let path = path.to_path_buf();
    blocking(move || hash_of(&path).map_err(|e| cannot("read", &path, &e))).await
}
