import { signal } from '@preact/signals';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { CloudStore } from '../../src/play/cloud/shelf';
import { Lookback } from '../../src/play/lookback';
import { Sound } from '../../src/play/replay/sound';
import type { Watch } from '../../src/play/watch';

/** A data channel, as far as looking back uses it. */
class Channel {
  readyState: RTCDataChannelState = 'connecting';
  binaryType = '';
  readonly sent: unknown[] = [];
  onopen: (() => void) | undefined;
  onmessage: ((event: { data: unknown }) => void) | undefined;
  onclose: (() => void) | undefined;

  open(): void {
    this.readyState = 'open';
    this.onopen?.();
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text) as unknown);
  }

  close(): void {
    this.readyState = 'closed';
    this.onclose?.();
  }
}

class Connection {
  connectionState: RTCPeerConnectionState = 'connected';
  readonly channels: Channel[] = [];

  createDataChannel(): Channel {
    const channel = new Channel();
    this.channels.push(channel);
    return channel;
  }

  get last(): Channel {
    const channel = this.channels.at(-1);
    if (!channel) throw new Error('there is no channel');
    return channel;
  }
}

/** A session, as far as looking back uses it. */
function session(device: string, pc: Connection | undefined) {
  const connection = signal(pc);
  const nothing = () => undefined;
  return { device, connection, looksBack: false, heard: nothing, recorded: nothing };
}

function looking() {
  const pc = new Connection();
  const watch = session('unit', pc);
  const { connection } = watch;
  return { pc, connection, lookback: new Lookback(watch as unknown as Watch) };
}

/** The same with an NVR, whose session is not there yet. */
function lookingElsewhere() {
  const pc = new Connection();
  const nvr = { ...session('nvr', undefined), close: vi.fn() };
  const watch = { ...session('unit', pc), elsewhere: vi.fn(() => nvr as unknown as Watch) };
  return { pc, watch, nvr, lookback: new Lookback(watch as unknown as Watch) };
}

/** A unit of one byte: a keyframe to be shown. */
function keyframe(): ArrayBuffer {
  const view = new DataView(new ArrayBuffer(35));
  view.setUint8(0, 1);
  view.setUint8(1, 0b00_0110);
  view.setUint32(2, 1);
  view.setUint32(30, 1);
  return view.buffer;
}

afterEach(() => {
  vi.unstubAllGlobals();
});

describe('looking back', () => {
  it('goes on over another channel when one closes alone, and gives up on the second', () => {
    const { pc, lookback } = looking();
    lookback.playFrom(5_000_000, 2);
    pc.last.open();
    pc.last.close();
    expect(pc.channels).toHaveLength(2);
    expect(lookback.state.value).toEqual({ state: 'seeking' });
    pc.last.open();
    expect(pc.last.sent).toMatchObject([{ type: 'play', at: 5_000_000, scale_permille: 2_000 }]);
    pc.last.close();
    expect(pc.channels).toHaveLength(2);
    expect(lookback.state.value.state).toBe('failed');
    // The person may try again.
    lookback.play();
    pc.last.open();
    expect(pc.last.sent).toMatchObject([{ type: 'play', at: 5_000_000 }]);
  });

  it('loses nothing that is told to a channel that closes', () => {
    const { pc, lookback } = looking();
    lookback.playFrom(5_000_000);
    pc.last.open();
    pc.last.readyState = 'closing';
    lookback.show(7_000_000);
    expect(pc.channels).toHaveLength(2);
    pc.last.open();
    pc.channels[0]?.close();
    expect(pc.channels).toHaveLength(2);
    expect(pc.last.sent).toEqual([{ type: 'show', at: 7_000_000 }]);
    expect(lookback.state.value).toEqual({ state: 'paused' });
  });

  it('waits for another connection when the one that it had is over', () => {
    const { pc, connection, lookback } = looking();
    lookback.playFrom(5_000_000);
    pc.last.open();
    pc.connectionState = 'failed';
    pc.last.close();
    expect(pc.channels).toHaveLength(1);
    expect(lookback.state.value).toEqual({ state: 'seeking' });
    const another = new Connection();
    connection.value = another;
    another.last.open();
    expect(another.last.sent).toMatchObject([{ type: 'play', at: 5_000_000 }]);
  });

  it('turns to an NVR for what that has, and back for what the device itself has', () => {
    const { pc, watch, nvr, lookback } = lookingElsewhere();
    lookback.playFrom(5_000_000);
    pc.last.open();
    lookback.playFrom(9_000_000, 2, 'nvr');
    expect(pc.last.sent.at(-1)).toEqual({ type: 'live' });
    expect(pc.last.readyState).toBe('closed');
    expect([watch.looksBack, nvr.looksBack]).toEqual([false, true]);
    const there = new Connection();
    nvr.connection.value = there;
    there.last.open();
    expect(there.last.sent).toMatchObject([{ type: 'play', at: 9_000_000, scale_permille: 2_000 }]);
    // Again the same one: no other session.
    lookback.playFrom(12_000_000, 1, 'nvr');
    expect(there.last.sent.at(-1)).toMatchObject({ type: 'play', at: 12_000_000 });
    expect(watch.elsewhere).toHaveBeenCalledTimes(1);
    lookback.show(4_000_000, 'unit');
    expect(nvr.close).toHaveBeenCalledTimes(1);
    expect(pc.channels).toHaveLength(2);
    pc.last.open();
    expect(pc.last.sent).toEqual([{ type: 'show', at: 4_000_000 }]);
  });

  it('plays what only the cloud has from there, and goes from it to an NVR and back', () => {
    const { pc, watch, nvr } = lookingElsewhere();
    const never = new Promise<never>(() => undefined);
    const store: CloudStore = {
      list: () => never,
      fetch: () => never,
      nowMs: () => 0,
      sleep: () => never,
    };
    const lookback = new Lookback(watch as unknown as Watch, store);
    lookback.placeOf = (atUs) => (atUs < 5_000_000 ? 'cs' : 'nvr');
    lookback.playFrom(1_000_000);
    expect([lookback.place.value, pc.channels.length]).toEqual(['cs', 0]);
    lookback.playFrom(9_000_000, 1, 'nvr');
    expect([lookback.place.value, nvr.looksBack]).toEqual(['nvr', true]);
    const there = new Connection();
    nvr.connection.value = there;
    there.last.open();
    expect(there.last.sent).toMatchObject([{ type: 'play', at: 9_000_000 }]);
    lookback.playFrom(2_000_000);
    expect([lookback.place.value, there.last.readyState]).toEqual(['cs', 'closed']);
    expect(lookback.state.value).toEqual({ state: 'seeking' });
    lookback.live();
    expect(lookback.place.value).toBe('pu');
    expect(lookback.source.value).toBe(watch);
    expect([pc.channels.length, there.channels.length]).toEqual([0, 1]);
  });

  it('ends the session with an NVR when the live picture is wanted again', () => {
    const { watch, nvr, lookback } = lookingElsewhere();
    lookback.playFrom(9_000_000, 1, 'nvr');
    lookback.live();
    expect(nvr.close).toHaveBeenCalledTimes(1);
    expect(lookback.source.value).toBe(watch);
    expect(lookback.state.value).toEqual({ state: 'live' });
  });

  it('plays one picture of every second from where it is, and goes on so after a break', () => {
    const { pc, connection, lookback } = looking();
    lookback.playFrom(5_000_000);
    pc.last.open();
    lookback.atUs.value = 6_000_000;
    lookback.play(1, 'each_second');
    const wish = { type: 'play', scale_permille: 1_000, pictures: 'each_second' };
    // Where it was asked to be counts until a picture of there was shown.
    expect(pc.last.sent.at(-1)).toMatchObject({ ...wish, at: 5_000_000 });
    const another = new Connection();
    connection.value = another;
    another.last.open();
    expect(another.last.sent).toMatchObject([wish]);
    lookback.play(2, 'fitting');
    expect(another.last.sent.at(-1)).toMatchObject({ type: 'play', scale_permille: 2_000 });
    expect(another.last.sent.at(-1)).not.toHaveProperty('pictures');
    expect(another.last.sent.at(-1)).toHaveProperty('at');
  });

  it('says of a browser without a decoder what it lacks', () => {
    const { pc, lookback } = looking();
    lookback.playFrom(5_000_000);
    pc.last.open();
    const video = { codec: 'h264', codecs: 'avc1.42001f', width: 16, height: 16 };
    pc.last.onmessage?.({ data: JSON.stringify({ type: 'stream', video }) });
    pc.last.onmessage?.({ data: keyframe() });
    expect(lookback.state.value).toMatchObject({
      state: 'failed',
      problem: { type: 'no_decoder' },
    });
  });
});

describe('the sound of a recording', () => {
  class Context {
    static readonly made: Context[] = [];
    readonly destination = {};
    runs = false;

    constructor() {
      Context.made.push(this);
    }

    createGain() {
      return { connect: () => undefined };
    }

    resume(): Promise<void> {
      this.runs = true;
      return Promise.resolve();
    }

    suspend(): Promise<void> {
      this.runs = false;
      return Promise.resolve();
    }
  }

  it('takes the output only while it is wanted and a recording is played', () => {
    vi.stubGlobal('AudioContext', Context);
    const sound = new Sound(() => undefined);
    sound.setOn(true);
    expect(Context.made).toHaveLength(0);
    sound.setUsed(true);
    expect(Context.made.map(({ runs }) => runs)).toEqual([true]);
    sound.setOn(false);
    expect(Context.made.map(({ runs }) => runs)).toEqual([false]);
    sound.setOn(true);
    expect(Context.made.map(({ runs }) => runs)).toEqual([true]);
    sound.setUsed(false);
    expect(Context.made.map(({ runs }) => runs)).toEqual([false]);
  });
});
