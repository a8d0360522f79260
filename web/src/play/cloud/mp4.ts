/** A segment: one self-contained fragmented MP4 file (ISO/IEC 14496-12; decision 0091). */

import type { ReplayAudio, ReplayVideo } from '../replay/messages';
import { child, children, START_CODE, tracksOf } from './form';
import type { Box, Defaults, Track, VideoTrack } from './form';

/** A coded picture. */
export interface Picture {
  keyframe: boolean;
  /** From the segment's first picture on, in microseconds. */
  atUs: number;
  /** As a byte stream (Annex B), which decoders take without a description. */
  data: Uint8Array<ArrayBuffer>;
}

/** A coded piece of sound. */
export interface SoundPiece {
  /** From the segment's first picture on, in microseconds. */
  atUs: number;
  data: Uint8Array<ArrayBuffer>;
}

export interface Film {
  video: ReplayVideo;
  audio: ReplayAudio | null;
  /** In the order of decoding. */
  pictures: Picture[];
  sounds: SoundPiece[];
}

interface Sample {
  from: number;
  size: number;
  pts: number;
  keyframe: boolean;
}

const NOT_SYNC = 0x1_0000;
/** Longer samples are none of ours. */
const MAX_SAMPLE = 16 << 20;
/** Nor are fragments of more of them. */
const MAX_SAMPLES = 100_000;

/**
 * Reads a segment; `undefined` when it has no pictures that can be read. `isPart`: the rest of its bytes
 * is missing, and so is what lies there.
 */
export function readFilm(bytes: ArrayBuffer, isPart = false): Film | undefined {
  const view = new DataView(bytes);
  try {
    const boxes = [...children(view, 0, view.byteLength)];
    const moov = boxes.find((box) => box.type === 'moov');
    if (!moov) return undefined;
    const { video, audio } = tracksOf(view, moov);
    if (!video) return undefined;
    const moofs = boxes.filter((box) => box.type === 'moof');
    const of = (track: Track) => {
      const samples = moofs.flatMap((moof) => samplesOf(view, moof, track));
      return isPart ? samples.filter(({ from, size }) => from + size <= bytes.byteLength) : samples;
    };
    const samples = of(video);
    const firstUs = Math.min(...samples.map(({ pts }) => micros(pts, video)));
    const pictures = samples.map(({ pts, keyframe, from, size }) => ({
      keyframe,
      atUs: micros(pts, video) - firstUs,
      data: byteStream(new Uint8Array(bytes, from, size), video, keyframe),
    }));
    const heard = audio ? of(audio) : [];
    const sounds = heard.map(({ pts, from, size }) => ({
      atUs: (audio ? micros(pts, audio) : 0) - firstUs,
      data: new Uint8Array(bytes, from, size),
    }));
    if (pictures.length === 0) return undefined;
    return { video: video.video, audio: audio?.audio ?? null, pictures, sounds };
  } catch (error) {
    // Cut short, or no MP4 at all.
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function micros(pts: number, { timescale }: Track): number {
  return Math.round((pts * 1e6) / timescale);
}

function samplesOf(view: DataView, moof: Box, track: Track): Sample[] {
  const samples: Sample[] = [];
  for (const traf of children(view, moof.from, moof.to)) {
    const header = traf.type === 'traf' ? child(view, traf, 'tfhd') : undefined;
    if (!header || view.getUint32(header.from + 4) !== track.id) continue;
    const time = child(view, traf, 'tfdt');
    let dts = 0;
    if (time) {
      const isLong = view.getUint8(time.from) === 1;
      dts = isLong ? Number(view.getBigUint64(time.from + 4)) : view.getUint32(time.from + 4);
    }
    const defaults = fragmentDefaults(view, header, track.defaults);
    for (const run of children(view, traf.from, traf.to)) {
      if (run.type === 'trun') dts = readRun(view, run, moof.from - 8, dts, defaults, samples);
    }
  }
  return samples;
}

function fragmentDefaults(view: DataView, header: Box, of: Defaults): Defaults {
  const flags = view.getUint32(header.from) & 0xff_ffff;
  let at = header.from + 8;
  const next = (bit: number, size: number, otherwise: number): number => {
    if ((flags & bit) === 0) return otherwise;
    at += size;
    return view.getUint32(at - 4);
  };
  next(0x1, 8, 0);
  next(0x2, 4, 0);
  const duration = next(0x8, 4, of.duration);
  const size = next(0x10, 4, of.size);
  return { duration, size, flags: next(0x20, 4, of.flags) };
}

/** Offsets count from the beginning of the `moof`, as our segments have it. */
function readRun(
  view: DataView,
  run: Box,
  base: number,
  start: number,
  of: Defaults,
  samples: Sample[],
): number {
  const flags = view.getUint32(run.from) & 0xff_ffff;
  const count = view.getUint32(run.from + 4);
  if (count > MAX_SAMPLES) throw new RangeError('samples');
  let at = run.from + 8;
  let from = base;
  if (flags & 0x1) {
    from += view.getInt32(at);
    at += 4;
  }
  const firstFlags = flags & 0x4 ? view.getUint32(at) : undefined;
  if (firstFlags !== undefined) at += 4;
  let dts = start;
  const next = (bit: number, otherwise: number): number => {
    if ((flags & bit) === 0) return otherwise;
    at += 4;
    return view.getUint32(at - 4);
  };
  for (let n = 0; n < count; n += 1) {
    const duration = next(0x100, of.duration);
    const size = next(0x200, of.size);
    const own = next(0x400, n === 0 ? (firstFlags ?? of.flags) : of.flags);
    // Of pictures out of order it may be below zero.
    const offset = next(0x800, 0) | 0;
    if (size > MAX_SAMPLE) throw new RangeError('sample');
    samples.push({ from, size, pts: dts + offset, keyframe: (own & NOT_SYNC) === 0 });
    from += size;
    dts += duration;
  }
  return dts;
}

/** From lengths to start codes. */
function byteStream(
  sample: Uint8Array,
  track: VideoTrack,
  keyframe: boolean,
): Uint8Array<ArrayBuffer> {
  const { lengthSize, sets } = track;
  const units: Uint8Array[] = [];
  let at = 0;
  while (at + lengthSize <= sample.length) {
    let length = 0;
    for (let n = 0; n < lengthSize; n += 1) length = length * 256 + (sample[at + n] ?? 0);
    at += lengthSize;
    units.push(sample.subarray(at, at + length));
    at += length;
  }
  const head = keyframe ? sets : new Uint8Array();
  const size = units.reduce((sum, unit) => sum + START_CODE.length + unit.length, head.length);
  const stream = new Uint8Array(size);
  stream.set(head);
  let to = head.length;
  for (const unit of units) {
    stream.set(START_CODE, to);
    stream.set(unit, to + START_CODE.length);
    to += START_CODE.length + unit.length;
  }
  return stream;
}
