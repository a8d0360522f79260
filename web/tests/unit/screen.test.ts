import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Unit } from '../../src/play/replay/messages';
import { Screen } from '../../src/play/replay/screen';
import { Sound } from '../../src/play/replay/sound';

let nowMs = 0;

beforeEach(() => {
  nowMs = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => nowMs);
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

function unit(part: Partial<Unit>): Unit {
  return {
    sound: false,
    keyframe: false,
    shown: true,
    discontinuity: false,
    sectionEnd: false,
    last: false,
    command: 1,
    wallUs: 0,
    presentationUs: 0,
    sentUs: 0,
    data: new Uint8Array(1),
    ...part,
  };
}

interface DecoderInit {
  output: (frame: unknown) => void;
}

/** Gives pictures when a test says. */
class Decoder {
  static readonly made: Decoder[] = [];
  state = 'unconfigured';
  given = 0;

  constructor(private readonly init: DecoderInit) {
    Decoder.made.push(this);
  }

  configure(): void {
    this.state = 'configured';
  }

  decode(): void {
    this.given += 1;
  }

  close(): void {
    this.state = 'closed';
  }

  /** The pictures with these numbers, in the order in which the decoder was given them. */
  give(...numbers: number[]): void {
    for (const timestamp of numbers) {
      this.init.output({ timestamp, displayWidth: 16, close: () => undefined });
    }
  }
}

class Chunk {
  readonly type = 'key';
}

/** A page with one screen on it. */
function opened(scale: number) {
  const listeners = new Map<string, () => void>();
  const document = {
    hidden: false,
    addEventListener: (type: string, listener: () => void) => listeners.set(type, listener),
    removeEventListener: (type: string) => listeners.delete(type),
  };
  let draw: (() => void) | undefined;
  vi.stubGlobal('document', document);
  vi.stubGlobal('VideoDecoder', Decoder);
  vi.stubGlobal('EncodedVideoChunk', Chunk);
  vi.stubGlobal('cancelAnimationFrame', () => undefined);
  vi.stubGlobal('requestAnimationFrame', (next: () => void) => {
    draw = next;
    return 1;
  });
  const canvas = { width: 0, height: 0, clientWidth: 16, getContext: () => null };
  /** Presentation times of what was shown. */
  const seen: number[] = [];
  const screen = new Screen({
    onShown: (_, presentationUs) => seen.push(presentationUs / 1_000),
    onError: () => undefined,
  });
  screen.queue.play(scale);
  screen.configure({ codec: 'h264', codecs: 'avc1.42001f', width: 16, height: 16 });
  screen.attach(canvas as unknown as HTMLCanvasElement);
  /** Times at which pictures were taken and are to be shown; the first is a keyframe. */
  const feed = (...pictures: [number, number][]) => {
    for (const [n, [wallMs, presentationMs]] of pictures.entries()) {
      const [wallUs, presentationUs] = [wallMs * 1_000, presentationMs * 1_000];
      screen.push(unit({ keyframe: n === 0, wallUs, presentationUs }));
    }
    const decoder = Decoder.made.at(-1);
    if (!decoder) throw new Error('there is no decoder');
    return decoder;
  };
  const frameAt = (ms: number) => {
    nowMs = ms;
    draw?.();
  };
  const show = (hidden: boolean) => {
    document.hidden = hidden;
    listeners.get('visibilitychange')?.();
  };
  return { screen, seen, feed, frameAt, show };
}

describe('the screen', () => {
  it('waits in reverse for a group whose beginning is still being decoded', () => {
    const { seen, feed, frameAt } = opened(-1);
    feed([120, 80], [160, 40], [200, 0]).give(0, 1, 2);
    for (const ms of [120, 160, 200]) frameAt(ms);
    const decoder = feed([0, 200], [40, 160], [80, 120]);
    nowMs = 210;
    decoder.give(3, 4);
    for (const ms of [290, 330]) frameAt(ms);
    expect(seen).toEqual([0, 40, 80]);
    nowMs = 340;
    decoder.give(5);
    for (const ms of [340, 380, 420]) frameAt(ms);
    expect(seen).toEqual([0, 40, 80, 120, 160, 200]);
  });

  it('does not wait for what the decoder has left out', () => {
    const { seen, feed, frameAt } = opened(-1);
    feed([120, 80], [160, 40], [200, 0]).give(0, 1, 2);
    for (const ms of [120, 160, 200]) frameAt(ms);
    nowMs = 230;
    feed([0, 200], [40, 160], [80, 120]).give(3, 5);
    for (const ms of [240, 280, 320]) frameAt(ms);
    expect(seen).toEqual([0, 40, 80, 120, 200]);
  });

  it('keeps little while nobody sees it, and goes on with what is due then', () => {
    const { screen, seen, frameAt, show } = opened(1);
    let most = 0;
    for (let n = 0; n <= 100; n += 1) {
      nowMs = n * 40;
      const us = nowMs * 1_000;
      screen.push(unit({ keyframe: n === 0, wallUs: us, presentationUs: us, sentUs: us }));
      Decoder.made.at(-1)?.give(n);
      if (n === 3) {
        frameAt(120);
        show(true);
      }
      most = Math.max(most, screen.queue.length);
    }
    expect(most).toBeLessThan(6);
    show(false);
    frameAt(4_008);
    expect(seen).toEqual([0, 3_880]);
  });
});

class Source {
  startS = 0;
  offsetS = 0;
  connected = false;
  stopped = false;

  connect(): void {
    this.connected = true;
  }

  start(startS: number, offsetS: number): void {
    this.startS = startS;
    this.offsetS = offsetS;
  }

  stop(): void {
    this.stopped = true;
  }
}

class Context {
  static readonly made: Context[] = [];
  readonly destination = {};
  readonly sources: Source[] = [];
  currentTime = 0;

  constructor() {
    Context.made.push(this);
  }

  createGain() {
    return { connect: () => undefined };
  }

  createBuffer(_: number, length: number, rateHz: number) {
    return { duration: length / rateHz, copyToChannel: () => undefined };
  }

  createBufferSource(): Source {
    const source = new Source();
    this.sources.push(source);
    return source;
  }

  resume(): Promise<void> {
    return Promise.resolve();
  }
}

/** A recording with sound; `base.ms`: when a presentation time of zero is shown. */
function heard() {
  vi.stubGlobal('AudioContext', Context);
  const base = { ms: 1_000 };
  const sound = new Sound((presentationUs) => base.ms + presentationUs / 1_000);
  sound.setOn(true);
  sound.setUsed(true);
  sound.configure({ codec: 'pcmu', clock_hz: 8_000, channels: 1, config: '' });
  const context = Context.made.at(-1);
  if (!context) throw new Error('there is no output');
  const piece = (presentationMs: number, ms = 20) => {
    const data = new Uint8Array(8 * ms);
    sound.push(unit({ sound: true, presentationUs: presentationMs * 1_000, data }));
  };
  /** When each piece begins, by the context's clock. */
  const starts = () =>
    context.sources.filter((s) => !s.stopped).map((s) => Math.round(s.startS * 1_000));
  return { base, context, piece, starts };
}

describe('the sound of pictures whose clock is moved', () => {
  it('stays where it is for a little, and follows when it is more', () => {
    const { base, piece, starts } = heard();
    for (const ms of [0, 20, 40]) piece(ms);
    expect(starts()).toEqual([1_020, 1_040, 1_060]);
    base.ms += 25;
    piece(60);
    expect(starts()).toEqual([1_020, 1_040, 1_060, 1_080]);
    base.ms += 75;
    piece(80);
    expect(starts()).toEqual([1_120, 1_140, 1_160, 1_180, 1_200]);
  });

  it('leaves out what is jumped over, and ends what has begun', () => {
    const { base, context, piece, starts } = heard();
    for (const ms of [0, 20]) piece(ms);
    context.currentTime = 1.03;
    nowMs = 1_030;
    base.ms -= 500;
    piece(540);
    expect(starts()).toEqual([1_020, 1_040]);
    expect(context.sources.map(({ stopped }) => stopped)).toEqual([false, true, false]);
  });

  it('is not heard twice at a time when the clock goes faster', () => {
    const { base, context, piece, starts } = heard();
    piece(0, 100);
    base.ms -= 35;
    piece(100, 100);
    expect(starts()).toEqual([1_020, 1_120]);
    expect(Math.round((context.sources[1]?.offsetS ?? 0) * 1_000)).toBe(35);
  });
});
