/**
 * Looking back at one camera, over the session that shows it live: opens the data channel, says what is
 * wanted, decodes and shows what comes. After a break it goes on where it was.
 */

import { effect, signal } from '@preact/signals';
import type { Problem } from '../api/problem';
import type { StreamTier } from '../api/types';
import { readMessage, REPLAY_CHANNEL, UnitReader, type CuToPuReplay } from './replay/messages';
import { Screen } from './replay/screen';
import { Sound } from './replay/sound';
import type { Watch } from './watch';

export type LookbackState =
  | { state: 'live' }
  | { state: 'seeking' }
  | { state: 'playing' }
  | { state: 'paused' }
  /** Nothing more is recorded in this direction. */
  | { state: 'ended' }
  /** The newest picture is shown; it goes on as more is recorded. */
  | { state: 'caught_up' }
  | { state: 'failed'; problem: Problem };

/** Playing speeds that are offered. */
export const SCALES = [-16, -8, -4, -2, -1, 0.125, 0.25, 0.5, 1, 2, 4, 8, 16] as const;

/** So long a picture that was decoded may take to come out of the decoder. */
const FLUSH_MS = 150;

export class Lookback {
  readonly state = signal<LookbackState>({ state: 'live' });
  /** When the picture on the screen was taken, in microseconds since 1970. */
  readonly atUs = signal<number | undefined>(undefined);
  readonly scale = signal(1);
  /** From the last jump to its picture, in milliseconds. */
  readonly seekMs = signal<number | undefined>(undefined);
  /** Pictures shown, for tests. */
  shown: { wallUs: number; atMs: number }[] = [];
  readonly screen: Screen;
  readonly sound: Sound;
  tier: StreamTier = 'main';

  private channel: RTCDataChannel | undefined;
  private reader = new UnitReader();
  private outgoing: CuToPuReplay[] = [];
  private askedMs: number | undefined;
  private readonly stop: () => void;

  constructor(private readonly watch: Watch) {
    this.screen = new Screen({
      onShown: (wallUs) => this.noteShown(wallUs),
      onError: (reason) => {
        this.state.value = { state: 'failed', problem: { type: 'not_decodable', detail: reason } };
      },
    });
    this.sound = new Sound((presentationUs) => this.screen.queue.heardMs(presentationUs));
    // Another connection: go on where it broke.
    this.stop = effect(() => {
      const pc = this.watch.connection.value;
      this.channel = undefined;
      if (pc && this.isOn) this.resume();
    });
  }

  get isOn(): boolean {
    return this.state.peek().state !== 'live';
  }

  /** Plays from a time on. */
  playFrom(atUs: number, scale = 1): void {
    this.begin(scale);
    this.tell(this.wish(scale, atUs));
  }

  /** Goes on, or changes the speed. */
  play(scale = this.scale.peek()): void {
    const turns = Math.sign(scale) !== Math.sign(this.scale.peek());
    const at = this.atUs.peek();
    this.begin(scale);
    this.tell(this.wish(scale, turns ? at : undefined));
  }

  pause(): void {
    this.screen.queue.pause();
    this.sound.silence();
    this.state.value = { state: 'paused' };
    this.tell({ type: 'pause' });
  }

  /** Shows the picture of a time, for scrubbing. */
  show(atUs: number): void {
    this.beginOne();
    this.tell({ type: 'show', at: Math.round(atUs) });
  }

  step(backwards: boolean): void {
    const from = this.atUs.peek();
    this.beginOne();
    // The device believes that the decoder stands where it was left.
    if (this.screen.isEmpty && from !== undefined) this.tell({ type: 'show', at: from });
    this.tell({ type: 'step', backwards, ...(from === undefined ? {} : { from }) });
  }

  live(): void {
    if (!this.isOn) return;
    this.state.value = { state: 'live' };
    this.watch.looksBack = false;
    this.atUs.value = undefined;
    this.screen.queue.clear();
    this.sound.silence();
    this.tell({ type: 'live' });
  }

  close(): void {
    this.stop();
    this.channel?.close();
    this.screen.close();
    this.sound.close();
  }

  private wish(scale: number, atUs?: number): CuToPuReplay {
    const scale_permille = Math.round(scale * 1_000);
    const at = atUs === undefined ? {} : { at: Math.round(atUs) };
    return { type: 'play', scale_permille, tier: this.tier, ...at };
  }

  private begin(scale: number): void {
    this.scale.value = scale;
    this.askedMs = performance.now();
    this.watch.looksBack = true;
    this.screen.queue.play();
    this.sound.silence();
    this.state.value = { state: 'seeking' };
  }

  private beginOne(): void {
    this.askedMs = performance.now();
    this.watch.looksBack = true;
    this.screen.queue.pause();
    this.sound.silence();
    this.state.value = { state: 'paused' };
  }

  private resume(): void {
    const at = this.atUs.peek();
    const { state } = this.state.peek();
    if (at === undefined) return;
    if (state === 'paused') this.show(at);
    else this.playFrom(at, this.scale.peek());
  }

  private tell(message: CuToPuReplay): void {
    const channel = this.channel ?? this.open();
    if (channel?.readyState === 'open') channel.send(JSON.stringify(message));
    // The last word counts; the ones before it were for pictures that nobody waits for any more.
    else this.outgoing = [message];
  }

  private open(): RTCDataChannel | undefined {
    const pc = this.watch.connection.peek();
    if (!pc || pc.connectionState === 'closed') return undefined;
    const channel = pc.createDataChannel(REPLAY_CHANNEL);
    channel.binaryType = 'arraybuffer';
    this.channel = channel;
    this.reader = new UnitReader();
    channel.onopen = () => {
      for (const message of this.outgoing) channel.send(JSON.stringify(message));
      this.outgoing = [];
    };
    channel.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (channel !== this.channel) return;
      if (data instanceof ArrayBuffer) this.takeUnit(data);
      else this.takeText(String(data));
    };
    channel.onclose = () => {
      if (channel === this.channel) this.channel = undefined;
    };
    return channel;
  }

  private takeUnit(message: ArrayBuffer): void {
    const unit = this.reader.take(message);
    if (!unit || !this.isOn) return;
    if (unit.sound) this.sound.push(unit);
    else {
      this.screen.push(unit);
      if (unit.last || this.state.peek().state === 'paused') this.flushSoon();
    }
  }

  private flushTimer: ReturnType<typeof setTimeout> | undefined;

  /** A decoder may hold a picture back until another one comes: none will. */
  private flushSoon(): void {
    clearTimeout(this.flushTimer);
    this.flushTimer = setTimeout(() => this.screen.flush(), FLUSH_MS);
  }

  private takeText(text: string): void {
    const message = readMessage(text);
    if (!message || !this.isOn) return;
    switch (message.type) {
      case 'stream':
        if (message.video) this.screen.configure(message.video);
        this.sound.configure(message.audio ?? undefined);
        break;
      case 'caught_up':
        this.state.value = { state: 'caught_up' };
        break;
      case 'ended':
        this.screen.flush();
        this.state.value = { state: 'ended' };
        break;
      case 'failed':
        this.state.value = { state: 'failed', problem: message.problem };
        break;
      case 'unreadable':
        break;
    }
  }

  private noteShown(wallUs: number): void {
    this.atUs.value = wallUs;
    const nowMs = performance.now();
    this.shown.push({ wallUs, atMs: nowMs });
    if (this.shown.length > 2_000) this.shown.shift();
    if (this.askedMs !== undefined) {
      this.seekMs.value = nowMs - this.askedMs;
      this.askedMs = undefined;
    }
    const { state } = this.state.peek();
    if (state === 'seeking' || state === 'caught_up') this.state.value = { state: 'playing' };
  }
}
