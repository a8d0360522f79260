/** What the head of an MP4 file says of its tracks (ISO/IEC 14496-12, 14496-15). */

import type { AudioCodec } from '../../api/types';
import type { ReplayAudio, ReplayVideo } from '../replay/messages';

export interface Box {
  type: string;
  /** Where its content begins and ends. */
  from: number;
  to: number;
}

export interface Track {
  id: number;
  timescale: number;
  defaults: Defaults;
}

export interface VideoTrack extends Track {
  video: ReplayVideo;
  /** Parameter sets as a byte stream; they go in front of every keyframe. */
  sets: Uint8Array;
  /** Bytes of the length in front of each NAL unit. */
  lengthSize: number;
}

export interface AudioTrack extends Track {
  audio: ReplayAudio;
}

export interface Defaults {
  duration: number;
  size: number;
  flags: number;
}

export const START_CODE = [0, 0, 0, 1];
/** Names of what is in sample entries of sound; G.711 as QuickTime has it. */
const SOUNDS: Record<string, AudioCodec> = {
  Opus: 'opus',
  mp4a: 'aac',
  ulaw: 'pcmu',
  alaw: 'pcma',
};

export function* children(view: DataView, from: number, to: number): Generator<Box> {
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

export function child(view: DataView, parent: Box, path: string): Box | undefined {
  let found: Box | undefined = parent;
  for (const type of path.split('/')) {
    found = found && [...children(view, found.from, found.to)].find((box) => box.type === type);
  }
  return found;
}

export function tracksOf(view: DataView, moov: Box): { video?: VideoTrack; audio?: AudioTrack } {
  const found: { video?: VideoTrack; audio?: AudioTrack } = {};
  for (const trak of children(view, moov.from, moov.to)) {
    if (trak.type !== 'trak') continue;
    const header = child(view, trak, 'tkhd');
    const media = child(view, trak, 'mdia/mdhd');
    const described = child(view, trak, 'mdia/minf/stbl/stsd');
    if (!header || !media || !described) continue;
    const id = view.getUint32(header.from + (view.getUint8(header.from) === 1 ? 20 : 12));
    const timescale = view.getUint32(media.from + (view.getUint8(media.from) === 1 ? 20 : 12));
    const [entry] = children(view, described.from + 8, described.to);
    if (!entry || timescale === 0) continue;
    const track = { id, timescale, defaults: defaultsOf(view, moov, id) };
    const codec = SOUNDS[entry.type];
    if (codec) found.audio ??= { ...track, audio: soundOf(view, entry, codec, timescale) };
    else if (!found.video) {
      const video = pictureOf(view, entry, track);
      if (video) found.video = video;
    }
  }
  return found;
}

function pictureOf(view: DataView, entry: Box, track: Track): VideoTrack | undefined {
  const form = { width: view.getUint16(entry.from + 24), height: view.getUint16(entry.from + 26) };
  // A visual entry has 78 bytes before its boxes.
  const inside: Box = { type: '', from: entry.from + 78, to: entry.to };
  const avc = /^avc[13]$/.test(entry.type) ? child(view, inside, 'avcC') : undefined;
  if (avc) {
    const lengthSize = (view.getUint8(avc.from + 4) & 3) + 1;
    const codecs = `avc1.${[1, 2, 3].map((n) => hex(view.getUint8(avc.from + n))).join('')}`;
    const video: ReplayVideo = { codec: 'h264', codecs, ...form };
    return { ...track, video, sets: avcSets(view, avc), lengthSize };
  }
  const hevc = /^h(vc|ev)1$/.test(entry.type) ? child(view, inside, 'hvcC') : undefined;
  if (!hevc) return undefined;
  const lengthSize = (view.getUint8(hevc.from + 21) & 3) + 1;
  const video: ReplayVideo = { codec: 'h265', codecs: hevcName(view, hevc), ...form };
  return { ...track, video, sets: hevcSets(view, hevc), lengthSize };
}

function soundOf(view: DataView, entry: Box, codec: AudioCodec, clockHz: number): ReplayAudio {
  const channels = view.getUint16(entry.from + 16);
  // A sound's entry has 28 bytes before its boxes.
  const inside: Box = { type: '', from: entry.from + 28, to: entry.to };
  const described = codec === 'aac' ? child(view, inside, 'esds') : undefined;
  const config = described ? specificConfig(view, described.from + 4, described.to) : '';
  return { codec, clock_hz: clockHz, channels, config };
}

/** The decoder's configuration among the descriptors of an `esds` (ISO/IEC 14496-1, 7.2.6). */
function specificConfig(view: DataView, from: number, to: number): string {
  let at = from;
  while (at + 2 <= to) {
    const tag = view.getUint8(at);
    let length = 0;
    let byte = 0x80;
    for (at += 1; byte & 0x80 && at < to; at += 1) {
      byte = view.getUint8(at);
      length = length * 128 + (byte & 0x7f);
    }
    const end = at + length;
    // An elementary stream has 3 bytes before what is in it, a decoder's configuration 13.
    if (tag === 3) at += 3;
    else if (tag === 4) at += 13;
    else if (tag === 5) {
      const bytes = Array.from({ length }, (_, n) => view.getUint8(at + n));
      return bytes.map(hex).join('');
    } else at = end;
  }
  return '';
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
