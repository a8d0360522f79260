/** Decodes recorded pictures (WebCodecs) and draws each when its time has come. */

import type { Problem } from '../../api/problem';
import { ShowQueue, type Comes, type PictureQueue } from './queue';
import type { ReplayVideo, Unit } from './messages';

export interface ScreenEvents {
  /** A picture is on the screen. */
  onShown: (wallUs: number, presentationUs: number) => void;
  /** The decoder does not take it, or there is none. */
  onError: (problem: Problem) => void;
}

interface Meta {
  /** Counts keyframes: what is decoded together. */
  group: number;
  command: number;
  wallUs: number;
  presentationUs: number;
  sentUs: number;
  shown: boolean;
  /** The decoder gave a later one: this one is lost. */
  passed: boolean;
}

export type Picture = VideoFrame | ImageBitmap;

/** `drop`: for what is not shown any more. */
export type MakeQueue = (drop: (picture: Picture) => void, comes: Comes) => PictureQueue<Picture>;

/** Pictures that are held as the decoder gave them; more are copied, for it has few of its own. */
const HELD_FRAMES = 8;

export class Screen {
  readonly queue: PictureQueue<Picture>;
  private decoder: VideoDecoder | undefined;
  private form: ReplayVideo | undefined;
  /** What the decoder was given and has not given back, in that order. */
  private metas = new Map<number, Meta>();
  private copying = new Set<Meta>();
  private next = 0;
  private group = 0;
  private needsKey = true;
  /** Rises with each sender: what is still being copied of an earlier one is not shown. */
  private sender = 0;
  private timer: number | undefined;
  private canvas: HTMLCanvasElement | undefined;

  constructor(
    private readonly events: ScreenEvents,
    makeQueue: MakeQueue = (drop, comes) => new ShowQueue(drop, comes),
  ) {
    this.queue = makeQueue(
      (frame) => frame.close(),
      (command, afterUs, beforeUs) => this.comes(command, afterUs, beforeUs),
    );
  }

  /** Where to draw; nowhere when there is none. */
  attach(canvas: HTMLCanvasElement | undefined): void {
    this.canvas = canvas;
    if (canvas && this.timer === undefined) {
      document.addEventListener('visibilitychange', this.look);
      this.tick();
    }
    if (!canvas && this.timer !== undefined) {
      document.removeEventListener('visibilitychange', this.look);
      cancelAnimationFrame(this.timer);
      this.timer = undefined;
    }
  }

  /** What follows has this form. */
  configure(form: ReplayVideo): void {
    const same =
      this.form?.codecs === form.codecs &&
      this.form.width === form.width &&
      this.form.height === form.height;
    this.form = form;
    if (same && this.decoder?.state === 'configured') return;
    this.reset();
  }

  push(unit: Unit): void {
    if (unit.keyframe && unit.discontinuity) this.needsKey = true;
    if (this.needsKey && !unit.keyframe) return;
    const decoder = this.ready();
    if (!decoder) return;
    this.needsKey = false;
    const timestamp = this.next++;
    if (unit.keyframe) this.group += 1;
    const { group } = this;
    const { command, wallUs, presentationUs, sentUs, shown } = unit;
    const meta = { group, command, wallUs, presentationUs, sentUs, shown, passed: false };
    this.metas.set(timestamp, meta);
    decoder.decode(
      new EncodedVideoChunk({ type: unit.keyframe ? 'key' : 'delta', timestamp, data: unit.data }),
    );
  }

  /** Whether decoding has to begin with a keyframe. */
  get isEmpty(): boolean {
    return this.needsKey;
  }

  /** Nothing more comes for now: what the decoder holds back is shown. */
  async flush(): Promise<void> {
    if (this.decoder?.state !== 'configured' || this.metas.size === 0) return;
    // A flushed decoder begins with a keyframe again.
    this.needsKey = true;
    await this.decoder.flush().catch(() => undefined);
  }

  /** What comes does not follow what came: decoding begins with a keyframe. */
  reset(): void {
    this.closeDecoder();
    this.needsKey = true;
  }

  /** What comes is sent by somebody who knows nothing of what came. */
  restart(): void {
    this.sender += 1;
    this.copying.clear();
    this.reset();
    this.queue.reset();
  }

  /** When sound that belongs to a presentation time is heard, by the page's clock. */
  heardMs(presentationUs: number): number | undefined {
    // Its picture may have to wait for the screen; a page that nobody sees shows none.
    if (!document.hidden) this.queue.keepUp(performance.now());
    return this.queue.heardMs(presentationUs);
  }

  /** The picture that is on the screen. */
  picture(): HTMLCanvasElement | undefined {
    return this.canvas && this.canvas.width > 0 ? this.canvas : undefined;
  }

  close(): void {
    this.attach(undefined);
    // Pictures that are still being copied are dropped as well.
    this.queue.jump(Infinity);
    this.closeDecoder();
  }

  private closeDecoder(): void {
    if (this.decoder && this.decoder.state !== 'closed') this.decoder.close();
    this.decoder = undefined;
    this.metas.clear();
  }

  private ready(): VideoDecoder | undefined {
    if (this.decoder?.state === 'configured') return this.decoder;
    if (!this.form) return undefined;
    if (typeof VideoDecoder === 'undefined') {
      this.events.onError({ type: 'no_decoder', detail: '' });
      return undefined;
    }
    const decoder = new VideoDecoder({
      output: (frame) => this.decoded(frame),
      error: (error) => {
        this.reset();
        this.events.onError({ type: 'not_decodable', detail: error.message });
      },
    });
    // Without a description the decoder takes the byte stream format.
    decoder.configure({
      codec: this.form.codecs,
      codedWidth: this.form.width,
      codedHeight: this.form.height,
      optimizeForLatency: true,
    });
    this.decoder = decoder;
    return decoder;
  }

  private decoded(frame: VideoFrame): void {
    const meta = this.metas.get(frame.timestamp);
    if (meta) this.came(frame.timestamp, meta);
    if (!meta?.shown) {
      frame.close();
      return;
    }
    const { sender } = this;
    const push = (picture: Picture) => {
      this.copying.delete(meta);
      if (sender === this.sender) this.show(picture, meta);
      else picture.close();
    };
    if (this.queue.length < HELD_FRAMES) {
      push(frame);
      return;
    }
    this.copying.add(meta);
    const width = Math.min(frame.displayWidth, this.canvas?.clientWidth || 960);
    createImageBitmap(frame, { resizeWidth: Math.max(Math.round(width), 16) })
      .then(push)
      .catch(() => this.copying.delete(meta))
      .finally(() => frame.close());
  }

  private show(frame: Picture, meta: Meta): void {
    const nowMs = performance.now();
    this.queue.push({ ...meta, frame }, nowMs);
    // Without animation frames nothing takes them.
    if (document.hidden) this.queue.skip(nowMs);
  }

  /** A decoder gives pictures in the order in which they were taken: what should have come before
   * this one is not waited for. */
  private came(timestamp: number, { group, wallUs }: Meta): void {
    this.metas.delete(timestamp);
    for (const [given, meta] of this.metas) {
      if (given > timestamp) break;
      if (meta.group < group) this.metas.delete(given);
      else if (meta.wallUs < wallUs) meta.passed = true;
    }
  }

  private comes(command: number, afterUs: number, beforeUs: number): boolean {
    const isAwaited = (meta: Meta) =>
      meta.shown &&
      !meta.passed &&
      meta.command === command &&
      meta.presentationUs > afterUs &&
      meta.presentationUs < beforeUs;
    return [...this.metas.values(), ...this.copying].some(isAwaited);
  }

  /** Seen again after a while: what was due meanwhile is not shown any more. */
  private readonly look = (): void => {
    if (!document.hidden) this.queue.skip(performance.now());
  };

  private readonly tick = (): void => {
    this.timer = requestAnimationFrame(this.tick);
    const due = this.queue.next(performance.now());
    if (!due) return;
    this.draw(due.frame);
    due.frame.close();
    this.events.onShown(due.wallUs, due.presentationUs);
  };

  private draw(picture: Picture): void {
    const { canvas, form } = this;
    if (!canvas || !form) return;
    if (canvas.width !== form.width || canvas.height !== form.height) {
      canvas.width = form.width;
      canvas.height = form.height;
    }
    canvas.getContext('2d')?.drawImage(picture, 0, 0, canvas.width, canvas.height);
  }
}
