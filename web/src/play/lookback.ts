/**
 * Looking back at one camera, over the session that shows it live: opens the data channel, says what is
 * wanted, decodes and shows what comes. After a break it goes on where it was.
 */

import { effect, signal } from '@preact/signals';
import { parseProblem, type Problem } from '../api/problem';
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
  /** The channel was opened again, and has not shown a picture since. */
  private reopened = false;
  private reader = new UnitReader();
  private outgoing: CuToPuReplay[] = [];
  private askedMs: number | undefined;
  /** Where to, until a picture of it is shown. */
  private aimUs: number | undefined;
  /** A single picture is wanted. */
  private single = false;
  /** Number of the command that what came last belongs to. */
  private command = 0;
  /** Nothing follows a single picture of this command. */
  private flushFrom = 0;
  /** What holds when all that waits was shown. */
  private soon: LookbackState | undefined;
  private flushTimer: ReturnType<typeof setTimeout> | undefined;
  private readonly stop: () => void;

  constructor(private readonly watch: Watch) {
    this.screen = new Screen({
      onShown: (wallUs) => this.noteShown(wallUs),
      onError: (problem) => {
        this.state.value = { state: 'failed', problem };
      },
    });
    this.sound = new Sound((presentationUs) => this.screen.heardMs(presentationUs));
    // Another connection: go on where it broke.
    this.stop = effect(() => {
      const pc = this.watch.connection.value;
      this.forgetChannel();
      this.reopened = false;
      if (pc && this.isOn) this.resume();
    });
  }

  get isOn(): boolean {
    return this.state.peek().state !== 'live';
  }

  /** Plays from a time on. */
  playFrom(atUs: number, scale = 1): void {
    this.begin(scale, atUs);
    this.tell(this.wish(scale, atUs));
  }

  /** Goes on, or changes the speed. */
  play(scale = this.scale.peek()): void {
    this.dropClosing();
    const before = this.scale.peek();
    // Else the device goes on behind what it has sent, without its keyframe.
    const jumps = (scale !== before && (scale < 0 || before < 0)) || this.screen.isEmpty;
    const atUs = jumps ? this.whereUs() : undefined;
    this.begin(scale, atUs);
    this.tell(this.wish(scale, atUs));
  }

  pause(): void {
    this.screen.queue.pause();
    this.sound.silence();
    this.soon = undefined;
    this.state.value = { state: 'paused' };
    this.tell({ type: 'pause' });
  }

  /** Shows the picture of a time, for scrubbing. */
  show(atUs: number): void {
    this.beginOne(1);
    this.aimUs = atUs;
    this.tell({ type: 'show', at: Math.round(atUs) });
  }

  step(backwards: boolean): void {
    this.dropClosing();
    const from = this.atUs.peek();
    // The device believes that the decoder stands where it was left.
    const again = this.screen.isEmpty && from !== undefined;
    this.beginOne(again ? 2 : 1);
    const step: CuToPuReplay = { type: 'step', backwards, ...(from === undefined ? {} : { from }) };
    if (again) this.tell({ type: 'show', at: from }, step);
    else this.tell(step);
  }

  live(): void {
    if (!this.isOn) return;
    this.leave();
    this.jump();
    this.screen.reset();
    this.sound.setUsed(false);
    this.watch.looksBack = false;
    this.state.value = { state: 'live' };
    this.atUs.value = undefined;
    this.tell({ type: 'live' });
  }

  close(): void {
    this.stop();
    clearTimeout(this.flushTimer);
    this.channel?.close();
    this.screen.close();
    this.sound.close();
  }

  private wish(scale: number, atUs?: number): CuToPuReplay {
    const scale_permille = Math.round(scale * 1_000);
    const at = atUs === undefined ? {} : { at: Math.round(atUs) };
    return { type: 'play', scale_permille, tier: this.tier, ...at };
  }

  /** `atUs`: where to, if it is a jump. */
  private begin(scale: number, atUs: number | undefined): void {
    this.leave();
    if (atUs !== undefined) this.jump();
    this.aimUs = atUs ?? this.aimUs;
    this.scale.value = scale;
    this.single = false;
    this.askedMs = performance.now();
    this.watch.looksBack = true;
    this.sound.setUsed(true);
    this.screen.queue.play(scale);
    this.state.value = { state: 'seeking' };
  }

  /** `commands`: after so many nothing follows. */
  private beginOne(commands: number): void {
    this.leave();
    this.jump();
    this.single = true;
    this.flushFrom = this.command + commands;
    this.askedMs = performance.now();
    this.watch.looksBack = true;
    this.screen.queue.pause();
    this.state.value = { state: 'paused' };
  }

  /** Something else is wanted. */
  private leave(): void {
    this.dropClosing();
    clearTimeout(this.flushTimer);
    this.sound.silence();
    this.soon = undefined;
  }

  /** What was sent until now is not shown any more. */
  private jump(): void {
    this.screen.queue.jump(this.command);
    this.aimUs = undefined;
  }

  private whereUs(): number | undefined {
    return this.aimUs ?? this.atUs.peek();
  }

  private resume(): void {
    const at = this.whereUs();
    const { state } = this.state.peek();
    if (at === undefined) return;
    if (state === 'paused') this.show(at);
    else this.playFrom(at, this.scale.peek());
  }

  /** `messages`: one wish. */
  private tell(...messages: CuToPuReplay[]): void {
    const channel = this.channel ?? this.open();
    // The last wish counts; the ones before it were for pictures that nobody waits for any more.
    if (channel?.readyState !== 'open') this.outgoing = messages;
    else for (const message of messages) channel.send(JSON.stringify(message));
  }

  private open(): RTCDataChannel | undefined {
    const pc = this.watch.connection.peek();
    if (!pc || pc.connectionState === 'closed') return undefined;
    const channel = pc.createDataChannel(REPLAY_CHANNEL);
    channel.binaryType = 'arraybuffer';
    this.channel = channel;
    channel.onopen = () => {
      for (const message of this.outgoing) channel.send(JSON.stringify(message));
      this.outgoing = [];
    };
    channel.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (channel !== this.channel) return;
      this.watch.heard();
      if (data instanceof ArrayBuffer) this.takeUnit(data);
      else this.takeText(String(data));
    };
    channel.onclose = () => {
      if (channel === this.channel) this.closed();
    };
    return channel;
  }

  /** The device has let go of the channel, or never took it: once it is asked anew. */
  private closed(): void {
    this.forgetChannel();
    const { state } = this.state.peek();
    if (state === 'live' || state === 'ended' || state === 'failed') return;
    const way = this.watch.connection.peek()?.connectionState ?? 'closed';
    // Another connection is being made, and it goes on over that.
    if (way === 'closed' || way === 'failed') return;
    if (this.reopened || this.whereUs() === undefined) {
      this.state.value = { state: 'failed', problem: { type: 'timeout', detail: '' } };
      return;
    }
    this.reopened = true;
    this.resume();
  }

  /** What is told to a channel that closes is lost. */
  private dropClosing(): void {
    const state = this.channel?.readyState;
    if (state === 'closing' || state === 'closed') this.forgetChannel();
  }

  /** The device counts commands and time for each channel. */
  private forgetChannel(): void {
    this.channel = undefined;
    this.command = 0;
    this.reader = new UnitReader();
    this.screen.restart();
  }

  private takeUnit(message: ArrayBuffer): void {
    const unit = this.reader.take(message);
    if (!unit) return;
    this.command = unit.command;
    if (!this.isOn) return;
    if (unit.sound) this.sound.push(unit);
    else {
      this.screen.push(unit);
      const isLast = this.single && unit.shown && unit.command >= this.flushFrom;
      if (unit.last || isLast) this.flushSoon();
    }
  }

  /** A decoder may hold a picture back until another one comes: none will. */
  private flushSoon(): void {
    clearTimeout(this.flushTimer);
    this.flushTimer = setTimeout(() => void this.screen.flush(), FLUSH_MS);
  }

  private takeText(text: string): void {
    const message = readMessage(text);
    // The form is told once, also to who has gone back to live pictures meanwhile.
    if (!message || (!this.isOn && message.type !== 'stream')) return;
    switch (message.type) {
      case 'stream':
        if (message.video) this.screen.configure(message.video);
        this.sound.configure(message.audio ?? undefined);
        break;
      case 'caught_up':
        // A single picture waits for nothing.
        if (this.single || this.state.peek().state === 'paused') break;
        this.soon = { state: 'caught_up' };
        this.settle();
        break;
      case 'ended':
        this.soon = { state: 'ended' };
        void this.screen.flush().then(() => this.settle());
        break;
      case 'failed':
        this.soon = { state: 'failed', problem: parseProblem(message.problem) };
        this.settle();
        break;
      case 'unreadable':
        break;
    }
  }

  /** The device is ahead of what is shown. */
  private settle(): void {
    if (!this.soon || this.screen.queue.length > 0) return;
    this.state.value = this.soon;
    this.soon = undefined;
  }

  private noteShown(wallUs: number): void {
    this.watch.recorded();
    this.reopened = false;
    this.atUs.value = wallUs;
    this.aimUs = undefined;
    const nowMs = performance.now();
    this.shown.push({ wallUs, atMs: nowMs });
    if (this.shown.length > 2_000) this.shown.shift();
    if (this.askedMs !== undefined) {
      this.seekMs.value = nowMs - this.askedMs;
      this.askedMs = undefined;
    }
    const { state } = this.state.peek();
    const goesOn = state !== 'paused' && state !== 'playing';
    if (goesOn && !this.single) this.state.value = { state: 'playing' };
    this.settle();
  }
}
