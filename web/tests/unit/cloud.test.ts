import { describe, expect, it } from 'vitest';
import type { CloudSegment, StreamTier } from '../../src/api/types';
import { CloudChannel } from '../../src/play/cloud/channel';
import { readFilm } from '../../src/play/cloud/mp4';
import type { CloudStore } from '../../src/play/cloud/shelf';
import {
  UnitReader,
  type PuToCuReplay,
  type ReplayPictures,
  type Unit,
} from '../../src/play/replay/messages';
import { film, PPS, SPS, zeros } from './film';

describe('segments', () => {
  it('give pictures as decoders take them, and sound, with their times', () => {
    const read = readFilm(film(7));
    expect(read?.video).toEqual({ codec: 'h264', codecs: 'avc1.64001f', width: 640, height: 360 });
    expect(read?.audio).toEqual({ codec: 'pcma', clock_hz: 8_000, channels: 1, config: '' });
    expect(read?.pictures.map((one) => [one.atUs, one.keyframe])).toEqual([
      [0, true],
      [500_000, false],
      [1_000_000, true],
      [1_500_000, false],
    ]);
    expect([...(read?.pictures[1]?.data ?? [])]).toEqual([0, 0, 0, 1, 0x41, 7]);
    // Parameter sets stand in front of every keyframe.
    const start = [0, 0, 0, 1];
    const keyframe = [...start, ...SPS, ...start, ...PPS, ...start, 0x65, 7];
    expect([...(read?.pictures[2]?.data ?? [])]).toEqual(keyframe);
    expect(read?.sounds.map((one) => [one.atUs, ...one.data])).toEqual([
      [0, 1, 2, 3],
      [1_000_000, 4, 5, 6],
    ]);
  });

  it('that are cut short or are no films give nothing, and never hang', () => {
    const whole = film(7);
    for (let length = 0; length < whole.byteLength; length += 1) {
      const read = readFilm(whole.slice(0, length));
      expect(read === undefined || read.pictures.length === 4).toBe(true);
    }
    expect(readFilm(new Uint8Array(64).fill(0xff).buffer)).toBeUndefined();
  });
});

const T0 = 1_763_740_800_000_000;

function segment(n: number, fromUs: number, run: number): CloudSegment {
  return {
    chain: '0'.repeat(32),
    sequence: n,
    run,
    tier: 'main',
    from: fromUs,
    to: fromUs + 2_000_000,
    time_known: true,
    causes: { continuous: true, schedule: false, event: false, manual: false },
    locked: false,
    bytes: 1,
    head_bytes: 1,
    sha256: n.toString(16).padStart(64, '0'),
    url: `/cs/${n}`,
  };
}

/** A store whose clock moves when somebody waits. */
class Store implements CloudStore {
  ms = 0;
  lists: number[] = [];
  fails = 0;
  parts = 0;
  constructor(readonly segments: CloudSegment[]) {}

  list = (fromUs: number, toUs: number, tier: StreamTier): Promise<CloudSegment[]> => {
    this.lists.push(fromUs);
    const reach = (one: CloudSegment) => one.from < toUs && one.to > fromUs && one.tier === tier;
    return Promise.resolve(this.segments.filter(reach));
  };

  fetch = ({ sequence }: CloudSegment, most?: number): Promise<ArrayBuffer> => {
    this.parts += most === undefined ? 0 : 1;
    if (this.fails > 0) {
      this.fails -= 1;
      return Promise.reject(new Error('gone'));
    }
    return Promise.resolve(film(sequence));
  };

  nowMs = () => this.ms;

  sleep = (ms: number, signal: AbortSignal): Promise<void> => {
    signal.throwIfAborted();
    this.ms += ms;
    return Promise.resolve();
  };
}

/** What comes until nothing more does. */
function play(
  store: Store,
  at: number,
  scale: number,
  pictures?: ReplayPictures,
): Promise<{ units: Unit[]; said: string[] }> {
  const channel = new CloudChannel(store);
  const reader = new UnitReader();
  const units: Unit[] = [];
  const said: string[] = [];
  return new Promise((resolve) => {
    channel.onmessage = ({ data }) => {
      if (typeof data === 'string') {
        const { type } = JSON.parse(data) as PuToCuReplay;
        said.push(type);
        if (type === 'ended' || type === 'failed') resolve({ units, said });
        return;
      }
      const unit = reader.take(data as ArrayBuffer);
      if (unit) units.push(unit);
    };
    channel.onopen = () =>
      channel.send(JSON.stringify({ type: 'play', at, scale_permille: scale * 1_000, pictures }));
  });
}

describe('a part of a segment', () => {
  it('gives the pictures that lie in it', () => {
    const whole = film(7);
    // Without the sound and the last picture.
    const part = whole.slice(0, whole.byteLength - 6 - 6);
    expect(readFilm(part)).toBeUndefined();
    const read = readFilm(part, true);
    expect(read?.pictures.map((one) => one.keyframe)).toEqual([true, false, true]);
    expect(read?.sounds).toEqual([]);
  });
});

describe('playing the cloud', () => {
  const two = () => [segment(1, T0, 1), segment(2, T0 + 2_000_000, 1)];

  it('gives each picture and sound once, in order, at its time', async () => {
    const { units, said } = await play(new Store(two()), T0, 1);
    const pictures = units.filter((unit) => !unit.sound);
    const walls = pictures.map((unit) => unit.wallUs - T0);
    expect(walls).toEqual([0, 0.5e6, 1e6, 1.5e6, 2e6, 2.5e6, 3e6, 3.5e6]);
    const first = pictures[0]?.presentationUs ?? 0;
    expect(pictures.map((unit) => unit.presentationUs - first)).toEqual(walls);
    expect(pictures.map((unit) => unit.discontinuity)).toEqual([true, ...zeros(7).map(Boolean)]);
    const sounds = units.filter((unit) => unit.sound).map((unit) => unit.wallUs - T0);
    expect(sounds).toEqual([0, 1e6, 2e6, 3e6]);
    expect(said).toEqual(['stream', 'ended']);
    for (const unit of units) expect(unit.sentUs).toBeLessThanOrEqual(unit.presentationUs);
  });

  it('begins with the picture that was on the screen then; what is before it is decoded only', async () => {
    const { units } = await play(new Store(two()), T0 + 1_700_000, 1);
    const begin = units.filter((unit) => !unit.sound).slice(0, 3);
    expect(begin.map((unit) => [unit.wallUs - T0, unit.shown])).toEqual([
      [1e6, false],
      [1.5e6, true],
      [2e6, true],
    ]);
  });

  it('passes over a gap at once', async () => {
    const far = [segment(1, T0, 1), segment(2, T0 + 60_000_000, 2)];
    const { units } = await play(new Store(far), T0, 1);
    const behind = units.findIndex((unit) => unit.wallUs >= T0 + 60_000_000);
    expect(units[behind]?.discontinuity).toBe(true);
    const pause = (units[behind]?.presentationUs ?? 0) - (units[0]?.presentationUs ?? 0);
    expect(pause).toBe(2_000_000);
  });

  it('gives groups newest first in reverse', async () => {
    const { units } = await play(new Store(two()), T0 + 3_900_000, -1);
    const walls = units.map((unit) => (unit.wallUs - T0) / 1e6);
    expect(walls).toEqual([3, 3.5, 2, 2.5, 1, 1.5, 0, 0.5]);
    const newest = units.toSorted((a, b) => a.presentationUs - b.presentationUs);
    expect(newest.map((unit) => (unit.wallUs - T0) / 1e6)).toEqual([
      3.5, 3, 2.5, 2, 1.5, 1, 0.5, 0,
    ]);
  });

  it('gives keyframes only when it is fast', async () => {
    const { units } = await play(new Store(two()), T0, 8);
    expect(units.every((unit) => unit.keyframe && !unit.sound)).toBe(true);
    expect(units.map((unit) => unit.wallUs - T0)).toEqual([0, 1e6, 2e6, 3e6]);
  });

  it('gives one picture of every second, a second each, and what they are decoded from', async () => {
    const { units } = await play(new Store(two()), T0 + 500_000, 1, 'each_second');
    expect(units.every((unit) => !unit.sound)).toBe(true);
    const shown = units.filter((unit) => unit.shown);
    expect(shown.map((unit) => (unit.wallUs - T0) / 1e6)).toEqual([0.5, 1, 2, 3]);
    const first = shown[0]?.presentationUs ?? 0;
    expect(shown.map((unit) => (unit.presentationUs - first) / 1e6)).toEqual([0, 0.5, 1.5, 2.5]);
    expect(units[0]).toMatchObject({ keyframe: true, shown: false, wallUs: T0 });
    // The keyframe of each second alone, where that is wanted.
    const { units: keyframes } = await play(new Store(two()), T0, 1, 'keyframes');
    expect(keyframes.map((unit) => (unit.wallUs - T0) / 1e6)).toEqual([0, 1, 2, 3]);
  });

  it('asks for the first bytes alone when it is faster still', async () => {
    const store = new Store(two().map((one) => ({ ...one, bytes: 2 << 20 })));
    const { units } = await play(store, T0, 16);
    expect(units.map((unit) => unit.wallUs - T0)).toEqual([0, 1e6, 2e6, 3e6]);
    expect(store.parts).toBe(2);
    await play(store, T0, 8);
    expect(store.parts).toBe(2);
  });

  it('asks for addresses anew before they end', async () => {
    const store = new Store(Array.from({ length: 200 }, (_, n) => segment(n, T0 + n * 2e6, 1)));
    const { units } = await play(store, T0, 1);
    expect(units.filter((unit) => !unit.sound)).toHaveLength(800);
    // 400 s at natural speed, in one window: it is asked for every four minutes.
    expect(store.lists.filter((from) => from === T0)).toHaveLength(2);
    // Behind it nothing comes, and few questions tell so.
    expect(store.lists.length).toBeLessThan(20);
  });

  it('says so when the store cannot be reached, and goes on when it is back', async () => {
    const store = new Store(two());
    store.fails = 1;
    expect((await play(store, T0, 1)).said).toEqual(['failed']);
    expect((await play(store, T0, 1)).said).toEqual(['stream', 'ended']);
  });
});
