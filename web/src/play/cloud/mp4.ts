/** Pictures of a segment: one self-contained fragmented MP4 file (ISO/IEC 14496-12; decision 0091). */

import type { ReplayVideo } from '../replay/messages';

/** A coded picture. */
export interface Picture {
  keyframe: boolean;
  /** From the segment's first picture on, in microseconds. */
  atUs: number;
  /** As a byte stream (Annex B), which decoders take without a description. */
  data: Uint8Array<ArrayBuffer>;
}

export interface Film {
  video: ReplayVideo;
  /** In the order of decoding. */
  pictures: Picture[];
}

interface Box {
  type: string;
  /** Where its content begins and ends. */
  from: number;
  to: number;
}

interface Track {
  id: number;
  timescale: number;
  video: ReplayVideo;
  /** Parameter sets as a byte stream; they go in front of every keyframe. */
  sets: Uint8Array;
  /** Bytes of the length in front of each NAL unit. */
  lengthSize: number;
  defaults: Defaults;
}

interface Defaults {
  duration: number;
  size: number;
  flags: number;
}

interface Sample {
  from: number;
  size: number;
  pts: number;
  keyframe: boolean;
}

const START_CODE = [0, 0, 0, 1];
const NOT_SYNC = 0x1_0000;
/** Longer samples are none of ours. */
const MAX_SAMPLE = 16 << 20;

/** Reads a segment; `undefined` when it has no pictures that can be read. */
export function readFilm(bytes: ArrayBuffer): Film | undefined {
  const view = new DataView(bytes);
  try {
    const boxes = [...children(view, 0, view.byteLength)];
    const moov = boxes.find((box) => box.type === 'moov');
    const track = moov && videoTrack(view, moov);
    if (!track) return undefined;
    const moofs = boxes.filter((box) => box.type === 'moof');
    const samples = moofs.flatMap((moof) => samplesOf(view, moof, track));
    const first = Math.min(...samples.map((sample) => sample.pts));
    const pictures = samples.map(({ pts, keyframe, from, size }) => ({
      keyframe,
      atUs: Math.round(((pts - first) * 1e6) / track.timescale),
      data: byteStream(new Uint8Array(bytes, from, size), track, keyframe),
    }));
    return pictures.length > 0 ? { video: track.video, pictures } : undefined;
  } catch (error) {
    // Cut short, or no MP4 at all.
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function* children(view: DataView, from: number, to: number): Generator<Box> {
  let at = from;
  while (at + 8 <= to) {
    let size = view.getUint32(at);
    let head = 8;
    if (size === 1) {
      size = Number(view.getBigUint64(at + 8));
      head = 16;
    } else if (size === 0) size = to - at;
    if (size < head || at + size > to) return;
    yield { type: text(view, at + 4), from: at + head, to: at + size };
    at += size;
  }
}

function text(view: DataView, at: number): string {
  return String.fromCharCode(...[0, 1, 2, 3].map((n) => view.getUint8(at + n)));
}

function child(view: DataView, parent: Box, path: string): Box | undefined {
  let found: Box | undefined = parent;
  for (const type of path.split('/')) {
    found = found && [...children(view, found.from, found.to)].find((box) => box.type === type);
  }
  return found;
}

function videoTrack(view: DataView, moov: Box): Track | undefined {
  for (const trak of children(view, moov.from, moov.to)) {
    if (trak.type !== 'trak') continue;
    const track = trackOf(view, trak, moov);
    if (track) return track;
  }
  return undefined;
}

function trackOf(view: DataView, trak: Box, moov: Box): Track | undefined {
  const header = child(view, trak, 'tkhd');
  const media = child(view, trak, 'mdia/mdhd');
  const described = child(view, trak, 'mdia/minf/stbl/stsd');
  if (!header || !media || !described) return undefined;
  const id = view.getUint32(header.from + (view.getUint8(header.from) === 1 ? 20 : 12));
  const timescale = view.getUint32(media.from + (view.getUint8(media.from) === 1 ? 20 : 12));
  const [entry] = children(view, described.from + 8, described.to);
  if (!entry || timescale === 0) return undefined;
  const form = { width: view.getUint16(entry.from + 24), height: view.getUint16(entry.from + 26) };
  // A visual entry has 78 bytes before its boxes.
  const inside: Box = { type: '', from: entry.from + 78, to: entry.to };
  const defaults = defaultsOf(view, moov, id);
  const avc = /^avc[13]$/.test(entry.type) ? child(view, inside, 'avcC') : undefined;
  if (avc) {
    const lengthSize = (view.getUint8(avc.from + 4) & 3) + 1;
    const codecs = `avc1.${[1, 2, 3].map((n) => hex(view.getUint8(avc.from + n))).join('')}`;
    const video: ReplayVideo = { codec: 'h264', codecs, ...form };
    return { id, timescale, video, sets: avcSets(view, avc), lengthSize, defaults };
  }
  const hevc = /^h(vc|ev)1$/.test(entry.type) ? child(view, inside, 'hvcC') : undefined;
  if (!hevc) return undefined;
  const lengthSize = (view.getUint8(hevc.from + 21) & 3) + 1;
  const video: ReplayVideo = { codec: 'h265', codecs: hevcName(view, hevc), ...form };
  return { id, timescale, video, sets: hevcSets(view, hevc), lengthSize, defaults };
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0');
}

function defaultsOf(view: DataView, moov: Box, id: number): Defaults {
  const extends_ = child(view, moov, 'mvex');
  if (extends_) {
    for (const { type, from } of children(view, extends_.from, extends_.to)) {
      if (type !== 'trex' || view.getUint32(from + 4) !== id) continue;
      const [duration, size, flags] = [12, 16, 20].map((at) => view.getUint32(from + at));
      return { duration: duration ?? 0, size: size ?? 0, flags: flags ?? 0 };
    }
  }
  return { duration: 0, size: 0, flags: 0 };
}

/** The parameter sets of an `avcC` (ISO/IEC 14496-15). */
function avcSets(view: DataView, avc: Box): Uint8Array {
  const sets: number[] = [];
  let at = avc.from + 5;
  for (const mask of [0x1f, 0xff]) {
    const count = view.getUint8(at) & mask;
    at += 1;
    for (let n = 0; n < count; n += 1) at = takeSet(view, at, sets);
  }
  return Uint8Array.from(sets);
}

function hevcSets(view: DataView, hevc: Box): Uint8Array {
  const sets: number[] = [];
  const arrays = view.getUint8(hevc.from + 22);
  let at = hevc.from + 23;
  for (let n = 0; n < arrays; n += 1) {
    const count = view.getUint16(at + 1);
    at += 3;
    for (let m = 0; m < count; m += 1) at = takeSet(view, at, sets);
  }
  return Uint8Array.from(sets);
}

function takeSet(view: DataView, at: number, sets: number[]): number {
  const length = view.getUint16(at);
  sets.push(...START_CODE);
  for (let n = 0; n < length; n += 1) sets.push(view.getUint8(at + 2 + n));
  return at + 2 + length;
}

/** As decoders want it named (ISO/IEC 14496-15, annex E). */
function hevcName(view: DataView, hevc: Box): string {
  const profile = view.getUint8(hevc.from + 1);
  const space = ['', 'A', 'B', 'C'][profile >> 6] ?? '';
  let compatibility = 0;
  for (let bit = 0; bit < 32; bit += 1) {
    const isSet = (view.getUint32(hevc.from + 2) >>> bit) & 1;
    compatibility = ((compatibility << 1) | isSet) >>> 0;
  }
  const constraints = [6, 7, 8, 9, 10, 11].map((n) => view.getUint8(hevc.from + n));
  while (constraints.at(-1) === 0) constraints.pop();
  const tier = (profile >> 5) & 1 ? 'H' : 'L';
  const level = view.getUint8(hevc.from + 12);
  const parts = [
    `hvc1.${space}${profile & 0x1f}`,
    compatibility.toString(16),
    `${tier}${level}`,
    ...constraints.map((byte) => byte.toString(16)),
  ];
  return parts.join('.');
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
    if (size > MAX_SAMPLE || from + size > view.byteLength) throw new RangeError('sample');
    samples.push({ from, size, pts: dts + offset, keyframe: (own & NOT_SYNC) === 0 });
    from += size;
    dts += duration;
  }
  return dts;
}

/** From lengths to start codes. */
function byteStream(sample: Uint8Array, track: Track, keyframe: boolean): Uint8Array<ArrayBuffer> {
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
