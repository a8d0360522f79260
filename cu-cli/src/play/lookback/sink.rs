//! Where the units of a recording go: into a file, or a count.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use serde_json::json;
use sightline_media::{
    AccessUnit, StreamDescription, VIDEO_CLOCK_HZ, VideoTrack,
    mp4::{Mp4Error, Writer},
};
use sightline_model::UnixMicros;
use tokio::{fs::File, io::AsyncWriteExt};

use crate::{
    error::CuError,
    output,
    play::{assembler, record},
};

/// How long a picture lasts when nothing says it, on its clock: a 25th of a second.
const PICTURE_90K: i64 = 3_600;

/// Where the units go.
pub(super) struct Sink {
    out: Option<Out>,
    created: UnixMicros,
    form: StreamDescription,
    /// Another form was described; its first keyframe has not come yet.
    described: bool,
    splice: Splice,
    pictures: u64,
    bar: ProgressBar,
}

struct Out {
    path: PathBuf,
    /// Made with the first picture: an empty file would only puzzle.
    open: Option<(File, Writer)>,
    written: u64,
}

impl Sink {
    /// `created`: the time that the file bears.
    pub fn new(path: Option<PathBuf>, created: UnixMicros, bar: ProgressBar) -> Self {
        let out = path.map(|path| Out { path, open: None, written: 0 });
        let (form, splice) = (StreamDescription::default(), Splice::default());
        Self { out, created, form, described: false, splice, pictures: 0, bar }
    }

    /// Pictures that have come.
    pub const fn pictures(&self) -> u64 {
        self.pictures
    }

    /// What follows comes from somebody else, whose clocks are others.
    pub fn leg_begins(&mut self) {
        self.splice.leg_begins();
    }

    /// What follows has this form.
    pub fn describe(&mut self, form: StreamDescription) {
        self.described = self.pictures > 0 && form != self.form;
        self.form = form;
    }

    /// Takes a unit.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn push(&mut self, unit: AccessUnit) -> Result<(), CuError> {
        let audio_hz = self.form.audio.as_ref().map_or(0, |audio| audio.clock_hz);
        let unit = self.splice.place(unit, audio_hz);
        self.pictures += u64::from(unit.is_video());
        let changed = self.changed(&unit);
        if let Some(out) = &mut self.out {
            out.push(&unit, &self.form, changed, self.created).await?;
            self.bar.set_message(format!(
                "fetching, {} pictures, {} kB",
                self.pictures,
                out.written / 1_000
            ));
        } else {
            self.bar.set_message(format!("playing, {} pictures", self.pictures));
        }
        Ok(())
    }

    /// Whether the picture has another form from this unit on: keyframes carry it.
    fn changed(&mut self, unit: &AccessUnit) -> bool {
        let AccessUnit::Video { keyframe: true, codec, data, .. } = unit else { return false };
        let described = std::mem::take(&mut self.described);
        let Some(track) = assembler::track_of(*codec, data) else { return described };
        let known = self.form.video.as_ref();
        if known.is_some_and(|known| known.parameter_sets == track.parameter_sets) {
            return described;
        }
        let fps = known.map_or(0.0, |known| known.fps);
        self.form.video = Some(VideoTrack { fps, ..track });
        true
    }

    /// Ends the file, and says what became of it.
    ///
    /// # Errors
    /// When nothing came, or the file cannot be written.
    pub async fn finish(self, json: bool) -> Result<(), CuError> {
        match self.out {
            Some(out) => out.finish(json).await,
            None if self.pictures == 0 => Err(CuError::timeout("no picture came")),
            None => {
                output::line(&played(self.pictures, json));
                Ok(())
            }
        }
    }
}

/// What is said of pictures that went into no file.
fn played(pictures: u64, as_json: bool) -> String {
    if as_json {
        json!({"played": {"pictures": pictures}}).to_string()
    } else {
        format!("{pictures} pictures came.")
    }
}

impl Out {
    async fn push(
        &mut self,
        unit: &AccessUnit,
        form: &StreamDescription,
        changed: bool,
        created: UnixMicros,
    ) -> Result<(), CuError> {
        let path = self.path.clone();
        if self.open.is_none() {
            let writer = Writer::new(form, created).map_err(|e| record::unusable(&e))?;
            let file = File::create(&path).await.map_err(|e| cannot(&path, &e))?;
            self.open = Some((file, writer));
        }
        let Some((file, writer)) = &mut self.open else { return Ok(()) };
        let mut bytes = Vec::new();
        if changed && writer.started() {
            bytes = writer.describe(form).map_err(|e| record::unusable(&e))?;
        }
        bytes.extend(writer.push(unit).map_err(|e| record::unusable(&e))?);
        file.write_all(&bytes).await.map_err(|e| cannot(&path, &e))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    async fn finish(self, json: bool) -> Result<(), CuError> {
        let Some((mut file, writer)) = self.open else {
            return Err(CuError::timeout("no picture came, so nothing was written"));
        };
        let left_out = writer.left_out();
        match writer.finish() {
            Ok(end) => {
                record::finish(&mut file, end).await.map_err(|e| cannot(&self.path, &e))?;
            }
            Err(Mp4Error::Empty) => {
                drop(file);
                let _ = tokio::fs::remove_file(&self.path).await;
                return Err(CuError::timeout("no picture came, so nothing was written"));
            }
            Err(error) => return Err(record::unusable(&error)),
        }
        record::report(&self.path, left_out, json).await;
        Ok(())
    }
}

fn cannot(path: &Path, error: &std::io::Error) -> CuError {
    CuError::other(format!("cannot write {}: {error}", path.display()))
}

/// Puts the units of one leg behind those of the one before: each begins with clocks of its own. Sound
/// and picture of a leg begin together, to within a packet of sound.
#[derive(Debug, Default)]
struct Splice {
    /// The film's first picture, and the first sound behind it.
    first_picture: Option<i64>,
    first_sound: Option<i64>,
    newest_picture: i64,
    /// From one picture to the next, the last time.
    step: i64,
    /// None: the first leg, whose units are taken as they come.
    leg: Option<Offsets>,
}

/// What is to be added to the timestamps of a leg; known with its first units.
#[derive(Debug)]
struct Offsets {
    /// Where the leg begins in the film, on the clock of pictures.
    begin_90k: i64,
    picture: Option<i64>,
    sound: Option<i64>,
}

impl Splice {
    fn leg_begins(&mut self) {
        let Some(first) = self.first_picture else { return };
        let step = if self.step > 0 { self.step } else { PICTURE_90K };
        let begin_90k = self.newest_picture.saturating_sub(first).saturating_add(step);
        self.leg = Some(Offsets { begin_90k, picture: None, sound: None });
    }

    fn place(&mut self, unit: AccessUnit, audio_hz: u32) -> AccessUnit {
        match unit {
            AccessUnit::Video { timestamp, captured_at, keyframe, disposable, codec, data } => {
                let timestamp = self.picture(timestamp);
                AccessUnit::Video { timestamp, captured_at, keyframe, disposable, codec, data }
            }
            AccessUnit::Audio { timestamp, captured_at, data } => {
                let timestamp = self.sound(timestamp, audio_hz);
                AccessUnit::Audio { timestamp, captured_at, data }
            }
        }
    }

    fn picture(&mut self, timestamp: i64) -> i64 {
        let placed = match (&mut self.leg, self.first_picture) {
            (Some(leg), Some(first)) => {
                let begin = first.saturating_add(leg.begin_90k);
                let offset = *leg.picture.get_or_insert(begin.saturating_sub(timestamp));
                timestamp.saturating_add(offset)
            }
            (_, _) => timestamp,
        };
        let first = *self.first_picture.get_or_insert(placed);
        let step = placed.saturating_sub(self.newest_picture.max(first));
        if step > 0 {
            // What was skipped is no picture's length.
            self.step = step.min(i64::from(VIDEO_CLOCK_HZ));
            self.newest_picture = placed;
        } else if placed == first {
            self.newest_picture = placed;
        }
        placed
    }

    fn sound(&mut self, timestamp: i64, hz: u32) -> i64 {
        let placed = match (&mut self.leg, self.first_sound) {
            (Some(leg), Some(first)) => {
                let begin = leg.begin_90k.saturating_mul(hz.into()) / i64::from(VIDEO_CLOCK_HZ);
                let begin = first.saturating_add(begin);
                let offset = *leg.sound.get_or_insert(begin.saturating_sub(timestamp));
                timestamp.saturating_add(offset)
            }
            (_, _) => timestamp,
        };
        // Sound from before the first picture is left out of files.
        if self.first_picture.is_some() {
            self.first_sound.get_or_insert(placed);
        }
        placed
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sightline_model::VideoCodec;

    use super::*;

    fn picture(timestamp: i64) -> AccessUnit {
        AccessUnit::Video {
            timestamp,
            captured_at: UnixMicros(0),
            keyframe: true,
            disposable: false,
            codec: VideoCodec::H264,
            data: Bytes::new(),
        }
    }

    fn sound(timestamp: i64) -> AccessUnit {
        AccessUnit::Audio { timestamp, captured_at: UnixMicros(0), data: Bytes::new() }
    }

    fn placed(splice: &mut Splice, units: &[AccessUnit]) -> Vec<i64> {
        let timestamp = |unit: &AccessUnit| match splice.place(unit.clone(), 8_000) {
            AccessUnit::Video { timestamp, .. } | AccessUnit::Audio { timestamp, .. } => timestamp,
        };
        units.iter().map(timestamp).collect()
    }

    #[test]
    fn one_leg_follows_the_other_whatever_their_clocks_show() {
        let mut splice = Splice::default();
        splice.leg_begins();
        let first = [picture(7_000), sound(500), picture(10_600), sound(660), picture(14_200)];
        assert_eq!(placed(&mut splice, &first), [7_000, 500, 10_600, 660, 14_200], "as they come");
        splice.leg_begins();
        // 0.12 s of pictures: 10,800 ticks of theirs, 960 of sound.
        let second = [picture(-900_000), sound(1), picture(-896_400), sound(161)];
        assert_eq!(placed(&mut splice, &second), [17_800, 1_460, 21_400, 1_620]);
        // Nothing came of the next one; then one follows all the same.
        splice.leg_begins();
        splice.leg_begins();
        assert_eq!(placed(&mut splice, &[picture(5), sound(6)]), [25_000, 2_100]);
    }

    #[test]
    fn pictures_that_come_out_of_order_stay_as_far_apart() {
        let mut splice = Splice::default();
        assert_eq!(placed(&mut splice, &[picture(0), picture(10_800)]), [0, 10_800]);
        splice.leg_begins();
        let reordered = [picture(100), picture(10_900), picture(3_700), picture(7_300)];
        assert_eq!(placed(&mut splice, &reordered), [21_600, 32_400, 25_200, 28_800]);
    }

    #[test]
    fn scripts_are_told_as_json_what_was_played() {
        let told: serde_json::Value = serde_json::from_str(&played(7, true)).expect("an object");
        assert_eq!(told, json!({"played": {"pictures": 7}}));
        assert_eq!(played(7, false), "7 pictures came.");
    }
}
