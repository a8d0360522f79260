import { signal } from '@preact/signals';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { CloudSegment, RecordingSource, StreamTier } from '../../src/api/types';
import type { CloudStore } from '../../src/play/cloud/shelf';
import { Peeker, type Peek, type PeekSource } from '../../src/play/peek/peeker';
import { CloudStills, DeviceStills } from '../../src/play/peek/stills';
import type { WatchState, Watch } from '../../src/play/watch';
import { isMetered } from '../../src/play/metered';
import { film } from './film';

const S = 1e6;
const UNIT: RecordingSource = { place: 'pu', recorder: 'unit', tier: 'sub' };

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** A source that answers when a test says. */
class Source implements PeekSource {
  asked: number[] = [];
  closed = 0;
  gone: number[] = [];
  private settle: ((made: boolean) => void)[] = [];

  picture = (atUs: number): Promise<Peek | undefined> =>
    new Promise((resolve, reject) => {
      this.asked.push(atUs / S);
      const picture = { close: () => this.gone.push(atUs / S) } as unknown as ImageBitmap;
      this.settle.push((made) => {
        if (made) resolve({ picture, wallUs: atUs - 1 });
        else reject(new Error('nobody answers'));
      });
    });

  close = (): void => {
    this.closed += 1;
  };

  /** Answers the question that waits. */
  async answer(made = true): Promise<void> {
    this.settle.shift()?.(made);
    await vi.advanceTimersByTimeAsync(0);
  }
}

function peeking() {
  const source = new Source();
  const peeker = new Peeker(source);
  const look = (at: number) => peeker.want(at * S, S, UNIT);
  const shown = () => {
    const peek = peeker.shown.value;
    return peek && (peek.wallUs + 1) / S;
  };
  return { source, peeker, look, shown };
}

describe('small pictures of where somebody looks', () => {
  it('are asked for one at a time, and the newest wish wins', async () => {
    const { source, look, shown } = peeking();
    for (const at of [10, 20, 30]) look(at);
    expect(source.asked).toEqual([]);
    await vi.advanceTimersByTimeAsync(150);
    expect(source.asked).toEqual([30]);
    for (const at of [40, 50, 60]) look(at);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(source.asked).toEqual([30]);
    await source.answer();
    // It is not the picture of where somebody looks by now.
    expect(shown()).toBeUndefined();
    expect(source.asked).toEqual([30, 60]);
    await source.answer();
    expect(shown()).toBe(60);
  });

  it('are asked for only so often, and not by who only passes by', async () => {
    const { source, peeker, look } = peeking();
    look(10);
    await vi.advanceTimersByTimeAsync(50);
    peeker.rest();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(source.asked).toEqual([]);
    for (let at = 0; at < 200; at += 2) {
      look(at);
      await vi.advanceTimersByTimeAsync(10);
      await source.answer();
    }
    // A second of looking.
    expect(source.asked.length).toBeGreaterThan(4);
    expect(source.asked.length).toBeLessThan(10);
  });

  it('that were seen are shown at once and not asked for again', async () => {
    const { source, look, shown } = peeking();
    look(10);
    await vi.advanceTimersByTimeAsync(150);
    await source.answer();
    look(30);
    expect(shown()).toBeUndefined();
    look(10.5);
    expect(shown()).toBe(10);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(source.asked).toEqual([10]);
  });

  it('are not asked of who did not answer, for a while', async () => {
    const { source, look } = peeking();
    look(10);
    await vi.advanceTimersByTimeAsync(150);
    await source.answer(false);
    look(20);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(source.asked).toEqual([10]);
    await vi.advanceTimersByTimeAsync(10_000);
    look(20);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(source.asked).toEqual([10, 20]);
  });

  it('end their connection when nobody looks any more, and keep no more than some', async () => {
    const { source, peeker, look } = peeking();
    for (let at = 0; at < 140; at += 2) {
      look(at);
      await vi.advanceTimersByTimeAsync(200);
      await source.answer();
    }
    expect(source.gone).toEqual([0, 2, 4, 6, 8, 10, 12, 14, 16, 18]);
    peeker.rest();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(source.closed).toBe(0);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(source.closed).toBe(1);
    peeker.close();
    expect(source.gone).toHaveLength(70);
  });
});

/** A data channel, as far as a question needs one. */
class Channel extends EventTarget {
  readyState: RTCDataChannelState = 'open';
  binaryType = '';
  readonly sent: unknown[] = [];
  onmessage: ((event: { data: unknown }) => void) | undefined;
  onclose: (() => void) | undefined;

  send(text: string): void {
    this.sent.push(JSON.parse(text) as unknown);
  }

  close(): void {
    this.readyState = 'closed';
    this.onclose?.();
  }

  say(...messages: unknown[]): void {
    for (const message of messages) {
      const data = message instanceof ArrayBuffer ? message : JSON.stringify(message);
      this.onmessage?.({ data });
    }
  }
}

/** A keyframe of one byte, taken at a time. */
function keyframe(wallUs: number): ArrayBuffer {
  const view = new DataView(new ArrayBuffer(35));
  view.setUint8(0, 1);
  view.setUint8(1, 0b00_1110);
  view.setBigInt64(6, BigInt(wallUs));
  view.setUint32(30, 1);
  return view.buffer;
}

function device() {
  const channels: Channel[] = [];
  const sessions: { device: string; closed: boolean; looksBack: boolean }[] = [];
  const connect = (recorder: string): Watch => {
    const createDataChannel = () => {
      const channel = new Channel();
      channels.push(channel);
      return channel;
    };
    const session = {
      device: recorder,
      closed: false,
      looksBack: false,
      connection: signal({ createDataChannel }),
      state: signal<WatchState>({ state: 'connecting' }),
      heard: () => undefined,
      close: () => {
        session.closed = true;
      },
    };
    sessions.push(session);
    return session as unknown as Watch;
  };
  const stills = new DeviceStills(connect);
  const { signal: forever } = new AbortController();
  const ask = async (atUs: number, recorder = 'unit') => {
    const answer = stills.still(atUs, recorder, 'sub', forever);
    // A question that is refused is looked at by who asked.
    answer.catch(() => undefined);
    await vi.advanceTimersByTimeAsync(0);
    return { answer };
  };
  return { channels, sessions, stills, ask };
}

const FORM = { codec: 'h264', codecs: 'avc1.42001f', width: 16, height: 16 };

describe('a device that is asked for single pictures', () => {
  it('is asked for one keyframe, of the small encoding, beside the session that plays', async () => {
    const { channels, sessions, stills, ask } = device();
    const { answer } = await ask(7.5 * S);
    const [channel] = channels;
    expect(channel?.sent).toEqual([
      {
        type: 'play',
        at: 7_500_000,
        until: 7_500_001,
        scale_permille: 1_000,
        pictures: 'keyframes',
        tier: 'sub',
      },
    ]);
    channel?.say({ type: 'stream', video: FORM }, keyframe(6 * S), { type: 'ended' });
    expect(await answer).toMatchObject({ form: FORM, wallUs: 6 * S });
    // The form is told once.
    const { answer: next } = await ask(9 * S);
    channel?.say(keyframe(8 * S), { type: 'ended' });
    expect(await next).toMatchObject({ form: FORM, wallUs: 8 * S });
    const { answer: none } = await ask(90 * S);
    channel?.say({ type: 'ended' });
    expect(await none).toBeUndefined();
    expect([channels.length, sessions.length]).toEqual([1, 1]);
    expect(sessions[0]?.looksBack).toBe(true);
    stills.close();
    expect(sessions[0]?.closed).toBe(true);
  });

  it('that has nothing yet is asked anew over another channel', async () => {
    const { channels, ask } = device();
    const { answer } = await ask(7 * S);
    channels[0]?.say({ type: 'caught_up' });
    expect(await answer).toBeUndefined();
    const { answer: next } = await ask(7 * S);
    // It is being recorded by now.
    channels[0]?.say(keyframe(6 * S), { type: 'ended' });
    channels[1]?.say({ type: 'stream', video: FORM }, keyframe(7 * S), { type: 'ended' });
    expect(await next).toMatchObject({ wallUs: 7 * S });
  });

  it('is let go of for another that has it', async () => {
    const { channels, sessions, ask } = device();
    const { answer } = await ask(7 * S);
    channels[0]?.say({ type: 'ended' });
    await answer;
    await ask(8 * S, 'nvr');
    expect(sessions.map((one) => [one.device, one.closed])).toEqual([
      ['unit', true],
      ['nvr', false],
    ]);
  });

  it('that fails is not waited for, and its late answer is taken for no other', async () => {
    const { channels, ask } = device();
    const { answer } = await ask(7 * S);
    channels[0]?.say({ type: 'failed', problem: { type: 'storage_away', detail: '' } });
    await expect(answer).rejects.toThrow();
    expect(channels[0]?.readyState).toBe('closed');
    const { answer: next } = await ask(8 * S);
    channels[0]?.say({ type: 'stream', video: FORM }, keyframe(6 * S), { type: 'ended' });
    channels[1]?.say({ type: 'stream', video: FORM }, keyframe(8 * S), { type: 'ended' });
    expect(await next).toMatchObject({ wallUs: 8 * S });
  });
});

describe('single pictures from the cloud storage', () => {
  const T0 = 1_763_740_800_000_000;
  const whole = film(7);

  function store(bytes: number) {
    const fetched: (number | undefined)[] = [];
    const tiers: StreamTier[] = [];
    const from = T0 + 10 * S;
    const segment = { from, to: from + 2 * S, bytes, head_bytes: 300, sha256: '', url: '' };
    const cloud: CloudStore = {
      list: (_from, _to, tier) => {
        tiers.push(tier);
        return Promise.resolve([segment as unknown as CloudSegment]);
      },
      fetch: (_, most) => {
        fetched.push(most);
        return Promise.resolve(whole);
      },
      nowMs: () => 0,
      sleep: () => Promise.resolve(),
    };
    return { fetched, tiers, stills: new CloudStills(cloud) };
  }

  it('cost the first bytes of a segment', async () => {
    const { fetched, tiers, stills } = store(2 << 20);
    const still = await stills.still(T0 + 11.9 * S, 'sub');
    expect(still).toMatchObject({ wallUs: T0 + 10 * S, form: { codecs: 'avc1.64001f' } });
    expect(fetched).toEqual([300 + (48 << 10)]);
    expect(tiers).toEqual(['sub']);
    // Where nothing lies, nothing is fetched.
    expect(await stills.still(T0 + 5 * S, 'sub')).toBeUndefined();
    expect(fetched).toHaveLength(1);
  });

  it('are not larger than the segment', async () => {
    const { fetched, stills } = store(1_000);
    await stills.still(T0 + 10 * S, 'main');
    expect(fetched).toEqual([1_000]);
  });
});

describe('a connection that costs by the byte', () => {
  it('is known where the browser says so', () => {
    for (const [connection, metered] of [
      [undefined, false],
      [{ type: 'wifi', saveData: false }, false],
      [{ type: 'cellular' }, true],
      [{ type: 'wifi', saveData: true }, true],
    ] as const) {
      vi.stubGlobal('navigator', { connection });
      expect(isMetered()).toBe(metered);
    }
  });
});
