//! What an export shows beyond what is proven: nothing, or words that say what.
//!
//! The pieces of a proof show that the recorder signed certain stretches of the file. A player shows
//! what the file's table of samples points at. So each sample must lie in those stretches, and in
//! their order.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use shiguredo_mp4::demux::{Input, Mp4FileDemuxer};
use sightline_recording::chain::{Proof, unproven};

use super::cannot;
use crate::error::CuError;

/// Largest table of samples that is read, in bytes: of more than a week.
const MAX_TABLE: usize = 256 * 1024 * 1024;

/// An export, opened.
pub(super) struct Export {
    path: PathBuf,
    file: File,
    len: u64,
}

/// A sample that a player would show.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    pub track: u32,
    pub at: u64,
    pub len: u64,
}

impl Export {
    pub fn open(path: &Path) -> Result<Self, CuError> {
        let file = File::open(path).map_err(|e| cannot("read", path, &e))?;
        let len = file.metadata().map_err(|e| cannot("read", path, &e))?.len();
        Ok(Self { path: path.to_path_buf(), file, len })
    }

    /// Hands on what lies at `at`, as far as the file goes.
    pub fn read(&mut self, at: u64, len: u64, out: &mut dyn FnMut(&[u8])) -> Result<(), CuError> {
        if at >= self.len {
            return Ok(());
        }
        let mut take = || -> io::Result<()> {
            self.file.seek(SeekFrom::Start(at))?;
            let mut rest = (&self.file).take(len);
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let read = rest.read(&mut buffer)?;
                if read == 0 {
                    return Ok(());
                }
                out(&buffer[..read]);
            }
        };
        take().map_err(|e| cannot("read", &self.path, &e))
    }

    /// What is wrong with what a player would show, in words.
    pub fn problems(&mut self, proof: &Proof) -> Result<Vec<String>, CuError> {
        let stretches: Vec<_> = proof.stretches().collect();
        match self.samples()? {
            Ok(samples) => Ok(check(&samples, &stretches)),
            Err(why) => Ok(vec![format!(
                "which pictures a player shows cannot be told ({}); --rebuild gives those that are proven",
                // It quotes bytes of the file, which a terminal must not obey.
                why.escape_debug()
            )]),
        }
    }

    /// The samples in the order of their times. Inner error: the file is not one of a kind that can be
    /// told.
    fn samples(&mut self) -> Result<Result<Vec<Shown>, String>, CuError> {
        let mut demuxer = Mp4FileDemuxer::new();
        while let Some(wanted) = demuxer.required_input() {
            let rest = self.len.saturating_sub(wanted.position);
            let rest = usize::try_from(rest).unwrap_or(usize::MAX);
            let size = wanted.size.unwrap_or(rest);
            if size > MAX_TABLE || size > rest {
                return Ok(Err("its table of samples is too large or cut off".into()));
            }
            let mut data = Vec::with_capacity(size);
            self.read(wanted.position, size as u64, &mut |bytes| data.extend_from_slice(bytes))?;
            demuxer.handle_input(Input { position: wanted.position, data: &data });
        }
        let mut samples = Vec::new();
        loop {
            match demuxer.next_sample() {
                Ok(Some(sample)) => samples.push(Shown {
                    track: sample.track.track_id,
                    at: sample.data_offset,
                    len: sample.data_size as u64,
                }),
                Ok(None) if samples.is_empty() => return Ok(Err("it has no samples".into())),
                Ok(None) => return Ok(Ok(samples)),
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
    }
}

/// Whether every sample is proven, and each track's in the order in which they were recorded.
pub(super) fn check(samples: &[Shown], stretches: &[(u64, u64)]) -> Vec<String> {
    let mut problems = Vec::new();
    let bare = unproven(samples.iter().map(|s| (s.at, s.len)), stretches.iter().copied());
    if !bare.is_empty() {
        let bytes: u64 = bare.iter().map(|(_, len)| len).sum();
        let first = bare[0].0;
        problems.push(format!(
            "{bytes} bytes of its pictures and sound are proven by nothing, the first at byte {first}"
        ));
    }
    let mut reached: HashMap<u32, u64> = HashMap::new();
    let backwards = samples.iter().filter(|sample| {
        let before = reached.insert(sample.track, sample.at.saturating_add(sample.len));
        before.is_some_and(|before| before > sample.at)
    });
    let backwards = backwards.count();
    let apart = stretches.windows(2).all(|pair| pair[0].0.saturating_add(pair[0].1) <= pair[1].0);
    if backwards > 0 || !apart {
        problems.push(format!(
            "its pictures and sound are not in the order in which they were recorded ({backwards} go back)"
        ));
    }
    problems
}
