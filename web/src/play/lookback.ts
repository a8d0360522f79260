/**
 * Looking back at one camera, over the session that shows it live, over one with an NVR, or from the cloud
 * storage: opens the data channel, says what is wanted, decodes and shows what comes. After a break it goes on where it was.
 */

import { effect, signal, type ReadonlySignal, type Signal } from '@preact/signals';
import { parseProblem, type Problem } from '../api/problem';
import type { RecordingPlace, StreamTier } from '../api/types';
import {
  readMessage,
  REPLAY_CHANNEL,
  UnitReader,
  type CuToPuReplay,
  type ReplayPictures,
} from './replay/messages';
import { CloudChannel } from './cloud/channel';
import type { CloudStore } from './cloud/shelf';
import { Screen, type MakeQueue } from './replay/screen';
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

/** What the controls of a recording play: one camera, or several in step. */
export interface Playback {
  readonly state: ReadonlySignal<LookbackState>;
  /** When the picture on the screen was taken, in microseconds since 1970. */
  readonly atUs: ReadonlySignal<number | undefined>;
  readonly scale: ReadonlySignal<number>;
  /** Which pictures are played. */
  readonly pictures: ReadonlySignal<ReplayPictures>;
  /** Goes on, or changes the speed, or which pictures are played. */
  play: (scale?: number, pictures?: ReplayPictures) => void;
  pause: () => void;
  /** Shows the next or the previous picture. */
  step: (backwards: boolean) => void;
}

/** So long a picture that was decoded may take to come out of the decoder. */
const FLUSH_MS = 150;

export class Lookback implements Playback {
  readonly state = signal<LookbackState>({ state: 'live' });
  /** When the picture on the screen was taken, in microseconds since 1970. */
  readonly atUs = signal<number | undefined>(undefined);
  readonly scale = signal(1);
  readonly pictures = signal<ReplayPictures>('fitting');
  /** From the last jump to its picture, in milliseconds. */
  readonly seekMs = signal<number | undefined>(undefined);
  /** Pictures shown, for tests. */
  shown: { wallUs: number; atMs: number }[] = [];
  /** Where what is shown comes from. */
  readonly place = signal<RecordingPlace>('pu');
  /** From where a time is best played, as far as is known; who shows the timeline sets it. */
  placeOf: ((atUs: number) => RecordingPlace | undefined) | undefined;
  readonly screen: Screen;
  readonly sound: Sound;
  tier: StreamTier = 'main';
  /** The session that recordings come over. */
  readonly source: Signal<Watch>;
  /** Counts wishes for another time: what is shown next does not follow on what was shown before. */
  jumps = 0;

  private channel: RTCDataChannel | CloudChannel | undefined;
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
  /** Another session is being turned to, for a wish that is not told yet. */
  private turning = false;
  private readonly stop: () => void;

  /** `watch`: the session with the camera's own device. `makeQueue`: what decides when a picture is shown, if
   * not the device's times alone. */
  constructor(
    private readonly watch: Watch,
    private readonly cloud?: CloudStore,
    makeQueue?: MakeQueue,
  ) {
    this.source = signal(watch);
    const onError = (problem: Problem) => {
      this.state.value = { state: 'failed', problem };
    };
    const onShown = (wallUs: number) => this.noteShown(wallUs);
    this.screen = new Screen({ onShown, onError }, makeQueue);
    this.sound = new Sound((presentationUs) => this.screen.heardMs(presentationUs));
    // Another connection: go on where it broke.
    this.stop = effect(() => {
      const pc = this.source.value.connection.value;
      // The cloud needs none.
      if (this.channel instanceof CloudChannel) return;
      this.forgetChannel();
      this.reopened = false;
      if (pc && this.isOn && !this.turning) this.resume();
    });
  }

  get isOn(): boolean {
    return this.state.peek().state !== 'live';
  }

  /** Plays from a time on. `recorder`: who has it, if that is known. */
  playFrom(atUs: number, scale = 1, recorder?: string): void {
    this.turnTo(recorder);
    this.begin(scale, atUs);
    this.tell(this.wish(scale, atUs));
  }

  play(scale = this.scale.peek(), pictures = this.pictures.peek()): void {
    this.dropClosing();
    const before = this.scale.peek();
    const turns = scale !== before && (scale < 0 || before < 0);
    // Else the device goes on behind what it has sent, without its keyframe.
    const jumps = turns || pictures !== this.pictures.peek() || this.screen.isEmpty;
    this.pictures.value = pictures;
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
  show(atUs: number, recorder?: string): void {
    this.turnTo(recorder);
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
    this.source.peek().looksBack = false;
    this.state.value = { state: 'live' };
    this.atUs.value = undefined;
    this.tell({ type: 'live' });
    this.leaveCloud();
    this.turnTo(this.watch.device);
    this.place.value = 'pu';
  }

  close(): void {
    this.stop();
    clearTimeout(this.flushTimer);
    this.channel?.close();
    if (this.source.peek() !== this.watch) this.source.peek().close();
    this.screen.close();
    this.sound.close();
  }

  /** From now on this device's recordings are asked for. */
  private turnTo(device: string | undefined): void {
    const { channel } = this;
    const before = this.source.peek();
    if (device === undefined || device === before.device) return;
    if (channel?.readyState === 'open') channel.send(JSON.stringify({ type: 'live' }));
    before.looksBack = false;
    this.outgoing = [];
    this.turning = true;
    this.source.value = device === this.watch.device ? this.watch : this.watch.elsewhere(device);
    this.turning = false;
    channel?.close();
    if (before !== this.watch) before.close();
  }

  private wish(scale: number, atUs?: number): CuToPuReplay {
    const scale_permille = Math.round(scale * 1_000);
    const at = atUs === undefined ? {} : { at: Math.round(atUs) };
    const which = this.pictures.peek();
    const pictures = which === 'fitting' ? {} : { pictures: which };
    return { type: 'play', scale_permille, tier: this.tier, ...at, ...pictures };
  }

  /** `atUs`: where to, if it is a jump. */
  private begin(scale: number, atUs: number | undefined): void {
    this.leave();
    if (atUs !== undefined) this.jump();
    this.aimUs = atUs ?? this.aimUs;
    this.scale.value = scale;
    this.single = false;
    this.askedMs = performance.now();
    this.source.peek().looksBack = true;
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
    this.source.peek().looksBack = true;
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
    this.jumps += 1;
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
    this.choosePlace(messages[0]);
    const inCloud = this.place.peek() === 'cs';
    const channel = this.channel ?? (inCloud ? this.openCloud() : this.open());
    // The last wish counts; the ones before it were for pictures that nobody waits for any more.
    if (channel?.readyState !== 'open') this.outgoing = messages;
    else for (const message of messages) channel.send(JSON.stringify(message));
  }

  /** A jump may lead to another place. */
  private choosePlace(message: CuToPuReplay | undefined): void {
    if (message?.type !== 'play' && message?.type !== 'show') return;
    if (message.at === undefined) return;
    const inCloud = this.cloud !== undefined && this.placeOf?.(message.at) === 'cs';
    if (inCloud !== (this.place.peek() === 'cs')) this.dropChannel();
    const recorder = this.source.peek() === this.watch ? 'pu' : 'nvr';
    this.place.value = inCloud ? 'cs' : recorder;
  }

  private leaveCloud(): void {
    if (this.place.peek() === 'cs') this.dropChannel();
  }

  private dropChannel(): void {
    const { channel } = this;
    this.forgetChannel();
    channel?.close();
  }

  private openCloud(): CloudChannel | undefined {
    if (!this.cloud) return undefined;
    const channel = new CloudChannel(this.cloud);
    this.channel = channel;
    channel.onopen = () => {
      for (const message of this.outgoing) channel.send(JSON.stringify(message));
      this.outgoing = [];
    };
    channel.onmessage = ({ data }) => {
      if (channel !== this.channel) return;
      if (data instanceof ArrayBuffer) this.takeUnit(data);
      else this.takeText(String(data));
    };
    return channel;
  }

  private open(): RTCDataChannel | undefined {
    const watch = this.source.peek();
    const pc = watch.connection.peek();
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
      watch.heard();
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
    const way = this.source.peek().connection.peek()?.connectionState ?? 'closed';
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
    this.source.peek().recorded();
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
