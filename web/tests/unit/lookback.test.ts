import { signal } from '@preact/signals';
import { afterEach, describe, expect, it, vi } from 'vitest';
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

function looking() {
  const pc = new Connection();
  const connection = signal(pc);
  const nothing = () => undefined;
  const watch = { connection, looksBack: false, heard: nothing, recorded: nothing };
  return { pc, connection, lookback: new Lookback(watch as unknown as Watch) };
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
