/**
 * Watching one camera for as long as somebody wants to: one attempt after the other, ICE restarts
 * in between, until closed. The picture comes back by itself after the camera or the network did.
 */

import { signal } from '@preact/signals';
import { isAborted, pause } from '../api/events';
import { isFinal, toProblem, type Problem } from '../api/problem';
import type { Camera, PlayAnswer } from '../api/types';
import { Attempt } from './attempt';
import { FrameClock, nowUs, RemoteClock, Window } from './clock';
import { PathKeeper } from './keeper';
import type { PuToCu, QualityChoice, ServedStream } from './messages';
import { canPlay, capabilities } from './rtc';
import { isRelayed, routeOf, sameRoute, toReport as routeReport, type Route } from './route';
import { StageClock, toReport, type StageTimes } from './stages';
import { StatsReader, type LiveStats } from './stats';

export type WatchState =
  | { state: 'connecting' }
  | { state: 'playing' }
  /** The way broke; a new one is being looked for with the same session. */
  | { state: 'recovering' }
  /** The device answers, its camera gives no picture. */
  | { state: 'no_camera'; detail: string }
  /** The next attempt starts by itself. */
  | { state: 'waiting'; problem: Problem }
  /** Trying again by itself would not help. */
  | { state: 'failed'; problem: Problem };

export interface LatencyFigures {
  p50: number;
  p95: number;
  max: number;
  count: number;
}

const TICK_MS = 250;
const SILENT_MS = 1_000;
const RESTART_PATIENCE_MS = 4_000;
/** After a change that ended at a relay, better ways are looked for again: the network may not have been
 * whole yet. */
const LOOK_AGAIN_MS = [5_000, 20_000];
const FIRST_FRAME_PATIENCE_MS = 12_000;
const MAX_PAUSE_MS = 8_000;

export interface WatchOptions {
  camera: Camera;
  quality: QualityChoice;
  audio: boolean;
  /** When the person asked for it, by `performance.now()`. */
  clickedMs: number;
}

export class Watch {
  readonly state = signal<WatchState>({ state: 'connecting' });
  readonly stats = signal<LiveStats | undefined>(undefined);
  readonly stages = signal<StageTimes | undefined>(undefined);
  readonly route = signal<Route | undefined>(undefined);
  readonly serving = signal<ServedStream | undefined>(undefined);
  readonly latency = signal<LatencyFigures | undefined>(undefined);
  readonly puPath = signal<Extract<PuToCu, { type: 'path' }> | undefined>(undefined);
  readonly quality = signal<QualityChoice>({ mode: 'auto' });
  /** The connection, as long as it has a way. */
  readonly connection = signal<RTCPeerConnection | undefined>(undefined);
  /** Recordings are watched: no live picture is missed. */
  looksBack = false;
  readonly clock = new RemoteClock();
  play: PlayAnswer | undefined;
  attempts = 0;
  iceRestarts = 0;
  /** Where tracks go; the owner of the video element sets it. */
  onStream: ((stream: MediaStream) => void) | undefined;

  private attempt: Attempt | undefined;
  private readonly abort = new AbortController();
  private wake = new AbortController();
  private readonly frames = new FrameClock();
  private readonly latencies = new Window(500);
  private stageClock: StageClock;
  private cameraOnline = true;
  private lastAliveMs = 0;
  private lastFrameMs = 0;
  private lastFramesDecoded = 0;
  private lastPackets = 0;
  private restartedMs: number | undefined;
  private restarting = false;
  private lookAgain: number[] = [];
  private readonly keeper: PathKeeper;
  private reported: { route?: Route; stages: boolean } = { stages: false };

  constructor(private readonly options: WatchOptions) {
    this.keeper = new PathKeeper(options.camera.device.pu);
    this.quality.value = options.quality;
    const changed = () => this.networkChanged();
    window.addEventListener('online', changed, { signal: this.abort.signal });
    connection()?.addEventListener('change', changed, { signal: this.abort.signal });
    this.stageClock = new StageClock(options.clickedMs);
    void this.loop();
  }

  /** New ways that were sought before the old one died. */
  get renewals(): number {
    return this.keeper.renewed;
  }

  setQuality(quality: QualityChoice): void {
    this.quality.value = quality;
    this.lastFrameMs = performance.now();
    this.attempt?.setQuality(quality);
  }

  /** Tries again now: presence came back, or the person asked. */
  retry(): void {
    this.wake.abort();
  }

  close(): void {
    this.abort.abort();
    this.wake.abort();
    this.attempt?.close();
  }

  /** A frame came to the screen (`requestVideoFrameCallback`). */
  frame(metadata: { presentationTime: number; rtpTimestamp?: number }): void {
    const atMs = Math.min(metadata.presentationTime, performance.now());
    this.lastFrameMs = performance.now();
    if (!this.stageClock.done) {
      this.stageClock.mark('frame', atMs);
      this.stages.value = this.stageClock.times();
      this.report();
    }
    if (this.state.value.state !== 'playing') this.state.value = { state: 'playing' };
    const captured =
      metadata.rtpTimestamp === undefined
        ? undefined
        : this.frames.capturedUs(metadata.rtpTimestamp);
    const offset = this.clock.offsetUs;
    if (captured === undefined || offset === undefined) return;
    this.latencies.push((nowUs(atMs) + offset - captured) / 1000);
  }

  /** A recorded picture came to the screen: the session works, whatever becomes of the live one. */
  recorded(): void {
    if (this.state.peek().state === 'connecting') this.state.value = { state: 'playing' };
  }

  /** The device was heard over another channel: a full one holds its pongs up. */
  heard(): void {
    this.lastAliveMs = performance.now();
  }

  private async loop(): Promise<void> {
    let pauseMs = 500;
    let clickedMs = this.options.clickedMs;
    if (!canPlay()) {
      this.state.value = { state: 'failed', problem: { type: 'unsupported', detail: '' } };
      return;
    }
    while (!isAborted(this.abort.signal)) {
      const startedMs = performance.now();
      this.stageClock = new StageClock(clickedMs);
      const problem = await this.once();
      if (isAborted(this.abort.signal)) return;
      if (problem.type === 'security') {
        this.onStream?.(new MediaStream());
      }
      if (isFinal(problem.type)) {
        this.state.value = { state: 'failed', problem };
        await pause(2 ** 31 - 1, this.nextWake());
      } else {
        // A session that had played starts over at once; the pause grows with each vain try.
        if (this.stageClock.done || performance.now() - startedMs > 30_000) pauseMs = 0;
        this.state.value = { state: 'waiting', problem };
        if (pauseMs > 0) await pause(pauseMs + Math.random() * 200, this.nextWake());
        pauseMs = Math.min(Math.max(pauseMs * 2, 500), MAX_PAUSE_MS);
      }
      clickedMs = performance.now();
      this.state.value = { state: 'connecting' };
    }
  }

  private nextWake(): AbortSignal {
    this.wake = new AbortController();
    return AbortSignal.any([this.wake.signal, this.abort.signal]);
  }

  /** One attempt from the play request to its end. */
  private async once(): Promise<Problem> {
    this.attempts += 1;
    this.cameraOnline = true;
    this.restartedMs = undefined;
    this.lastFramesDecoded = 0;
    this.lastPackets = 0;
    this.latencies.clear();
    this.reported = { stages: false };
    this.lookAgain = [];
    const stream = new MediaStream();
    const reader = new StatsReader();
    let attempt!: Attempt;
    const ended = new Promise<Problem>((resolve) => {
      attempt = new Attempt({
        camera: this.options.camera,
        capabilities: capabilities(),
        audio: this.options.audio,
        quality: () => this.quality.value,
        stages: this.stageClock,
        onTrack: (track) => {
          stream.addTrack(track);
          if (track.kind === 'video') this.show(stream, track);
        },
        onMessage: (message) => this.take(message),
        onEnd: resolve,
      });
    });
    this.attempt = attempt;
    const done = new AbortController();
    void this.supervise(attempt, reader, done.signal);
    const problem = await Promise.race([
      ended,
      new Promise<Problem>((resolve) => {
        this.giveUp = resolve;
      }),
      aborted(this.abort.signal),
    ]);
    done.abort();
    this.connection.value = undefined;
    attempt.close();
    return problem;
  }

  private giveUp: (problem: Problem) => void = () => undefined;

  /** A later attempt's picture replaces the frozen one only when its first packet is here. */
  private show(stream: MediaStream, track: MediaStreamTrack): void {
    if (this.attempts === 1 || !track.muted) this.onStream?.(stream);
    else track.addEventListener('unmute', () => this.onStream?.(stream), { once: true });
  }

  private take(message: PuToCu): void {
    switch (message.type) {
      case 'serving':
        this.serving.value = message.stream;
        break;
      case 'camera':
        this.cameraOnline = message.online;
        this.lastFrameMs = performance.now();
        if (!message.online) this.state.value = { state: 'no_camera', detail: message.fault ?? '' };
        break;
      case 'pong':
        this.clock.pong(message.cu_time, message.pu_time, nowUs());
        break;
      case 'frame_time':
        this.frames.frameTime(message.rtp_timestamp_90k, message.captured_at);
        break;
      case 'path':
        this.puPath.value = message;
        break;
      case 'ended':
        break;
    }
  }

  /** Watches over one attempt until `done`: reads figures, notices silence. */
  private async supervise(attempt: Attempt, reader: StatsReader, done: AbortSignal): Promise<void> {
    try {
      await attempt.connected;
    } catch {
      return;
    }
    if (isAborted(done)) return;
    this.play = attempt.play;
    this.connection.value = attempt.pc;
    this.lastAliveMs = this.lastFrameMs = performance.now();
    let tick = 0;
    while (!isAborted(done) && attempt.pc) {
      const rows = await attempt.pc.getStats();
      if (isAborted(done)) return;
      const nowMs = performance.now();
      this.noteLife(rows, attempt, nowMs);
      // The first reading is what the later ones are compared with.
      if (tick === 0) reader.read(rows.values() as Iterable<never>, nowMs);
      else if (tick % 4 === 2) {
        this.publish(reader.read(rows.values() as Iterable<never>, nowMs), attempt);
      }
      tick += 1;
      const problem = this.judge(attempt, nowMs);
      if (problem) {
        this.giveUp(problem);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, TICK_MS));
    }
  }

  private noteLife(rows: RTCStatsReport, attempt: Attempt, nowMs: number): void {
    let packets = 0;
    let decoded = 0;
    for (const row of rows.values() as Iterable<Record<string, unknown>>) {
      const pair = row['selected'] === true ? row['id'] : row['selectedCandidatePairId'];
      if (typeof pair === 'string') this.keeper.carried(pair);
      if (row['type'] !== 'inbound-rtp') continue;
      packets += Number(row['packetsReceived'] ?? 0);
      decoded += Number(row['framesDecoded'] ?? 0);
    }
    if (packets !== this.lastPackets) this.lastAliveMs = nowMs;
    if (attempt.lastPongMs > this.lastAliveMs) this.lastAliveMs = attempt.lastPongMs;
    if (decoded !== this.lastFramesDecoded) {
      this.lastFrameMs = nowMs;
      // A hidden page gets no frame callbacks; what is decoded counts then.
      if (document.hidden && this.state.value.state === 'recovering') {
        this.state.value = { state: 'playing' };
      }
    }
    this.lastPackets = packets;
    this.lastFramesDecoded = decoded;
    if (
      nowMs - this.lastAliveMs < SILENT_MS &&
      this.restartedMs !== undefined &&
      !this.restarting
    ) {
      this.restartedMs = undefined;
      this.keeper.recovered();
      if (this.state.value.state === 'recovering') this.state.value = { state: 'playing' };
    }
  }

  /** What is wrong, if this attempt cannot go on; starts an ICE restart first. */
  private judge(attempt: Attempt, nowMs: number): Problem | undefined {
    const failed = attempt.pc?.iceConnectionState === 'failed';
    if (failed || nowMs - this.lastAliveMs > SILENT_MS) {
      if (this.restartedMs === undefined) {
        this.keeper.silent(attempt, this.lastAliveMs);
        this.state.value = { state: 'recovering' };
        this.lookAgain = LOOK_AGAIN_MS.map((ms) => nowMs + ms);
        this.restart(attempt, nowMs);
      } else if (nowMs - this.restartedMs > RESTART_PATIENCE_MS) {
        return { type: 'no_path', detail: '' };
      }
      return undefined;
    }
    this.keeper.settle(attempt);
    this.improve(attempt, nowMs);
    if (this.restartedMs === undefined && !this.restarting && this.keeper.isDue(attempt, nowMs)) {
      this.keeper.renewing(attempt, nowMs);
      const isDirect = this.route.value !== undefined && !isRelayed(this.route.value.rung);
      this.restart(attempt, nowMs, isDirect);
    }
    if (this.looksBack) this.lastFrameMs = nowMs;
    if (!this.cameraOnline) return undefined;
    const patience = this.framePatienceMs();
    return nowMs - this.lastFrameMs > patience ? { type: 'camera_offline', detail: '' } : undefined;
  }

  /** Looks once more for a direct way, while the relay carries on. */
  private improve(attempt: Attempt, nowMs: number): void {
    const [due] = this.lookAgain;
    if (due === undefined || nowMs < due || this.restarting || this.restartedMs !== undefined)
      return;
    this.lookAgain.shift();
    if (this.route.value && isRelayed(this.route.value.rung)) this.restart(attempt, nowMs);
    else this.lookAgain = [];
  }

  /** How long no frame is no fault while the device answers. */
  private framePatienceMs(): number {
    const quality = this.quality.value;
    // The device begins with the keyframe that it holds, so the first picture is never far.
    if (!this.stageClock.done) return FIRST_FRAME_PATIENCE_MS;
    if (quality.mode === 'keyframes' || this.serving.value?.keyframes_only) return 30_000;
    return quality.mode === 'exact' && quality.fps < 5 ? 8_000 : 5_000;
  }

  private restart(attempt: Attempt, nowMs: number, directOnly = false): void {
    this.restartedMs = nowMs;
    this.restarting = true;
    this.iceRestarts += 1;
    attempt
      .restartIce(directOnly)
      .catch((error: unknown) => {
        // While the old way carries on, a new one that was not found is no loss.
        const silentMs = performance.now() - this.lastAliveMs;
        if (silentMs > SILENT_MS && attempt === this.attempt) this.giveUp(toProblem(error));
      })
      .finally(() => (this.restarting = false));
  }

  /** Another network: the old way will hardly carry on, so a new one is sought without waiting. */
  private networkChanged(): void {
    const { attempt } = this;
    this.keeper.networkChanged();
    if (!attempt?.hasConnected || this.restarting || this.restartedMs !== undefined) return;
    const nowMs = performance.now();
    this.lookAgain = LOOK_AGAIN_MS.map((ms) => nowMs + ms);
    this.restart(attempt, nowMs);
  }

  /** Tells the centre the route, when it or the time to the first frame has become known. */
  private report(): void {
    const { attempt, reported } = this;
    const route = this.route.value;
    const stages = reported.stages ? undefined : this.stages.value;
    if (!attempt || !route || !this.stageClock.done) return;
    if (!stages && reported.route && sameRoute(reported.route, route)) return;
    attempt.report({
      path: routeReport(route),
      ...(stages ? { stages: toReport(stages) } : {}),
      nat: route.here,
    });
    this.reported = { route, stages: true };
  }

  private publish(stats: LiveStats, attempt: Attempt): void {
    this.stats.value = stats;
    if (stats.path) {
      const lifetime = this.keeper.lifetimeMs(attempt);
      if (attempt.remote.hasOnlyIpv4) attempt.nat.noteIpv4Pairs(stats.path.ipv4Pairs);
      const nat = attempt.nat.report();
      const here = lifetime === undefined ? nat : { ...nat, mapping_lifetime_ms: lifetime };
      this.route.value = routeOf(stats.path, here, attempt.remote);
      this.report();
    }
    const { latencies } = this;
    if (latencies.count > 0) {
      this.latency.value = {
        p50: latencies.quantile(0.5) ?? 0,
        p95: latencies.quantile(0.95) ?? 0,
        max: latencies.quantile(1) ?? 0,
        count: latencies.count,
      };
    }
  }
}

function aborted(signal: AbortSignal): Promise<Problem> {
  return new Promise((resolve) => {
    const done = () => resolve({ type: 'network', detail: 'closed' });
    if (signal.aborted) done();
    else signal.addEventListener('abort', done, { once: true });
  });
}

/** The Network Information API, where the browser has it. */
function connection(): EventTarget | undefined {
  return (navigator as Navigator & { connection?: EventTarget }).connection;
}
