//! AAC-LC to Opus, at 48 kHz.

use bytes::Bytes;
use opusic_c::{Application, Bitrate, Channels, SampleRate};
use rubato::{
    Async, FixedAsync, Resampler, SincInterpolationParameters, WindowFunction,
    audioadapter_buffers::direct::InterleavedSlice,
};
use sightline_media::AudioTrack;
use sightline_model::AudioCodec;
use symphonia_codec_aac::AacDecoder;
use symphonia_core::{
    codecs::audio::{
        AudioCodecParameters, AudioDecoder, AudioDecoderOptions, well_known::CODEC_ID_AAC,
    },
    packet::PacketRef,
    units::{Duration, Timestamp},
};

use super::SoundError;

/// RTP clock of Opus (RFC 7587, 4.1), and the rate at which it is encoded.
const OPUS_HZ: u32 = 48_000;
/// Samples in a packet of 20 ms.
const PACKET: usize = 960;
/// Samples of an AAC-LC frame.
const AAC_FRAME: usize = 1_024;
/// Longest packet that RFC 6716 allows, rounded up.
const MAX_PACKET_BYTES: usize = 1_275;
/// A step in the source's time from which on it counts as a gap.
const GAP: i64 = OPUS_HZ as i64 / 10;
/// Length of the resampler's filter: -80 dB of images at 64.
const SINC_LEN: usize = 64;

/// Turns AAC frames into Opus packets of 20 ms.
pub struct AacToOpus {
    decoder: AacDecoder,
    resampler: Option<Async<f32>>,
    encoder: opusic_c::Encoder,
    clock_hz: u32,
    channels: usize,
    decoded: Vec<f32>,
    resampled: Vec<f32>,
    /// Samples at 48 kHz, channels interleaved, less than a packet between calls.
    waiting: Vec<f32>,
    /// Time of the first of `waiting`.
    next: Option<i64>,
}

impl AacToOpus {
    /// Prepares for a track.
    ///
    /// # Errors
    /// When the track is not AAC-LC with one or two channels.
    pub fn new(track: &AudioTrack) -> Result<Self, SoundError> {
        let unsupported =
            |error: &dyn std::fmt::Display| SoundError::Unsupported(error.to_string());
        if track.codec != AudioCodec::Aac || !(1..=2).contains(&track.channels) {
            return Err(unsupported(&"it needs AAC with one or two channels"));
        }
        let mut parameters = AudioCodecParameters::new();
        parameters
            .for_codec(CODEC_ID_AAC)
            .with_sample_rate(track.clock_hz)
            .with_extra_data(track.config.to_vec().into_boxed_slice());
        let decoder = AacDecoder::try_new(&parameters, &AudioDecoderOptions::default())
            .map_err(|error| unsupported(&error))?;
        let channels = usize::from(track.channels);
        let encoder = encoder(track.channels)?;
        let resampler =
            (track.clock_hz != OPUS_HZ).then(|| resampler(track.clock_hz, channels)).transpose()?;
        Ok(Self {
            decoder,
            resampled: vec![
                0.0;
                resampler.as_ref().map_or(0, Resampler::output_frames_max) * channels
            ],
            resampler,
            encoder,
            clock_hz: track.clock_hz,
            channels,
            decoded: Vec::new(),
            waiting: Vec::new(),
            next: None,
        })
    }

    /// The track that comes out.
    #[must_use]
    pub fn track(&self) -> AudioTrack {
        AudioTrack {
            codec: AudioCodec::Opus,
            clock_hz: OPUS_HZ,
            channels: self.channels as u16,
            config: Bytes::new(),
        }
    }

    /// Takes an AAC frame and gives the packets that it completes, with their times.
    ///
    /// # Errors
    /// When the frame is broken; the next may follow.
    pub fn push(&mut self, timestamp: i64, frame: &[u8]) -> Result<Vec<(i64, Bytes)>, SoundError> {
        self.follow(timestamp);
        let packet = PacketRef::new(0, Timestamp::new(0), Duration::new(AAC_FRAME as u64), frame);
        let decoded = self
            .decoder
            .decode_ref(&packet)
            .map_err(|error| SoundError::Broken(error.to_string()))?;
        decoded.copy_to_vec_interleaved(&mut self.decoded);
        if self.decoded.len() != AAC_FRAME * self.channels {
            return Err(SoundError::Broken("not as many channels as announced".into()));
        }
        self.resample()?;
        self.encode()
    }

    /// Keeps the source's time; after a gap in it, what waited is left out.
    fn follow(&mut self, timestamp: i64) {
        let time = timestamp.saturating_mul(i64::from(OPUS_HZ)) / i64::from(self.clock_hz);
        let waiting = (self.waiting.len() / self.channels) as i64;
        if self.next.is_none_or(|next| (next + waiting - time).abs() > GAP) {
            self.waiting.clear();
            self.next = Some(time);
        }
    }

    fn resample(&mut self) -> Result<(), SoundError> {
        let Some(resampler) = &mut self.resampler else {
            self.waiting.append(&mut self.decoded);
            return Ok(());
        };
        let failed = |error: &dyn std::fmt::Display| SoundError::Broken(error.to_string());
        let capacity = self.resampled.len() / self.channels;
        let input = InterleavedSlice::new(&self.decoded, self.channels, AAC_FRAME)
            .map_err(|error| failed(&error))?;
        let mut output = InterleavedSlice::new_mut(&mut self.resampled, self.channels, capacity)
            .map_err(|error| failed(&error))?;
        let (_, made) = resampler
            .process_into_buffer(&input, &mut output, None)
            .map_err(|error| failed(&error))?;
        self.waiting.extend_from_slice(&self.resampled[..made * self.channels]);
        Ok(())
    }

    fn encode(&mut self) -> Result<Vec<(i64, Bytes)>, SoundError> {
        let mut packets = Vec::new();
        let size = PACKET * self.channels;
        let mut coded = [0; MAX_PACKET_BYTES];
        let mut done = 0;
        while self.waiting.len() - done >= size {
            let samples = &self.waiting[done..done + size];
            let length = self
                .encoder
                .encode_float_to_slice(samples, &mut coded)
                .map_err(|error| SoundError::Encoder(format!("{error:?}")))?;
            let time = self.next.unwrap_or(0);
            packets.push((time, Bytes::copy_from_slice(&coded[..length])));
            self.next = Some(time + PACKET as i64);
            done += size;
        }
        self.waiting.drain(..done);
        Ok(packets)
    }
}

fn encoder(channels: u16) -> Result<opusic_c::Encoder, SoundError> {
    let failed = |error: opusic_c::ErrorCode| SoundError::Encoder(format!("{error:?}"));
    let (layout, bitrate) =
        if channels == 1 { (Channels::Mono, 32_000) } else { (Channels::Stereo, 64_000) };
    let mut encoder =
        opusic_c::Encoder::new(layout, SampleRate::Hz48000, Application::Audio).map_err(failed)?;
    encoder.set_bitrate(Bitrate::Value(bitrate)).map_err(failed)?;
    // Half of the work of the highest complexity; the difference is not heard at these rates.
    encoder.set_complexity(5).map_err(failed)?;
    Ok(encoder)
}

fn resampler(from_hz: u32, channels: usize) -> Result<Async<f32>, SoundError> {
    let parameters = SincInterpolationParameters::new(SINC_LEN, WindowFunction::BlackmanHarris2);
    let ratio = f64::from(OPUS_HZ) / f64::from(from_hz);
    Async::new_sinc(ratio, 1.0, &parameters, AAC_FRAME, channels, FixedAsync::Input)
        .map_err(|error| SoundError::Unsupported(error.to_string()))
}
