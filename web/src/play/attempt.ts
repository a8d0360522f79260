/**
 * One try to get media: play request (A8.4 steps 1 to 3), offer and answer by way of the SCU
 * (steps 4 to 10), ICE, DTLS. Lives until it fails or is closed; `Watch` decides what comes then.
 */

import { api } from '../api/client';
import { ProblemError, problemError, toProblem, type Problem } from '../api/problem';
import { newTrace } from '../api/trace';
import type { Camera, Capabilities, IceServer, PlayAnswer } from '../api/types';
import { sign } from '../identity/ed25519';
import { clientKey } from '../identity/keys';
import { nowUs } from './clock';
import type { CuToPu, CuToScu, MediaAnswer, PuToCu, QualityChoice } from './messages';
import { NatProbe } from './nat';
import { answersAnother, RemoteFacts, withoutRelays } from './path';
import { toRtcIceServers } from './rtc';
import { takePrepared } from './spare';
import { livingSignalling, signalling, type SessionMessage, type Signalling } from './signalling';
import type { StageClock } from './stages';
import { checkMediaAnswer, checkPlayAnswer, dtlsFingerprint, offerBytes } from './verify';

const ANSWER_TIMEOUT_MS = 8_000;
/** A restart that is not answered in this time is tried again: its offer may have been lost. */
const RESTART_ANSWER_MS = 2_000;
const RESTART_TRIES = 3;
const CONNECT_TIMEOUT_MS = 15_000;
const PING_MS = 500;

export interface AttemptOptions {
  camera: Camera;
  /** The NVR whose recordings are wanted; `undefined`: the camera's own device. */
  recorder: string | undefined;
  capabilities: Capabilities;
  audio: boolean;
  quality: () => QualityChoice;
  stages: StageClock;
  onTrack: (track: MediaStreamTrack) => void;
  onMessage: (message: PuToCu) => void;
  /** The end, once, unless `close` was called before. */
  onEnd: (problem: Problem) => void;
}

export class Attempt {
  readonly connected: Promise<void>;
  pc: RTCPeerConnection | undefined;
  play: PlayAnswer | undefined;
  /** Last sign of life over the control channel, by `performance.now()`. */
  lastPongMs = 0;
  /** When the candidates in use were gathered: not younger than our router's mapping. */
  gatheredMs = 0;
  /** Since when the device's router has mapped its address, by `performance.now()`, if it says so. */
  mappedThereMs: number | undefined;
  /** What our candidates and the device's tell of the NATs. */
  nat = new NatProbe();
  readonly remote = new RemoteFacts();
  /** Whether media has had a way at least once. */
  hasConnected = false;

  private channel: RTCDataChannel | undefined;
  private signal: Signalling | undefined;
  private readonly abort = new AbortController();
  /** One trace from the play request to the camera's answer, through every unit. */
  private readonly trace = newTrace();
  /** Candidates that came before the description they belong to; `undefined`: none are held. */
  private early: RTCIceCandidateInit[] | undefined = [];
  private outgoing: string[] | undefined = [];
  private waiting: ((message: SessionMessage | undefined) => void) | undefined;
  private ping: ReturnType<typeof setInterval> | undefined;
  private settle!: { resolve: () => void; reject: (error: ProblemError) => void };
  private over = false;

  constructor(private readonly options: AttemptOptions) {
    this.connected = new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
    });
    this.connected.catch(() => undefined);
    this.run().catch((error: unknown) => this.end(toProblem(error)));
  }

  /** Says what to send from now on. */
  setQuality(quality: QualityChoice): void {
    this.tell({ type: 'set_quality', quality });
  }

  /**
   * Looks for a new way with the same session (RFC 8445 clause 2.4). The old one goes on carrying
   * what it can until the new one works. `directOnly` leaves the relays out: where a direct way
   * carries the picture, they would only be asked for places that nobody uses.
   */
  async restartIce(directOnly = false): Promise<void> {
    const { pc, play } = this;
    if (!pc || !play || pc.signalingState === 'closed') return;
    for (let tries = 1; !this.over; tries += 1) {
      try {
        // Left behind by a restart that failed.
        await rollBack(pc);
        const servers = directOnly ? withoutRelays(play.ice_servers) : play.ice_servers;
        pc.setConfiguration({ ...pc.getConfiguration(), iceServers: toRtcIceServers(servers) });
        // Both sides of the network may have changed, and with it the way to the SCU.
        const signal = livingSignalling(play.signal_url);
        signal.catch(() => undefined);
        pc.restartIce();
        const offer = await pc.createOffer();
        this.early = [];
        this.outgoing = [];
        this.gathering(servers);
        await pc.setLocalDescription(offer);
        await this.exchange(pc, play, offer.sdp ?? '', await signal, RESTART_ANSWER_MS);
        return;
      } catch (error) {
        const { type } = toProblem(error);
        const lost = type === 'timeout' || type === 'signalling';
        if (this.isOver) throw error;
        await rollBack(pc);
        if (!lost || tries === RESTART_TRIES) throw error;
      }
    }
  }

  /** Tells the centre how media travels. */
  report(message: Omit<Extract<CuToScu, { type: 'path_report' }>, 'type' | 'session'>): void {
    if (!this.play) return;
    this.signal?.send({ type: 'path_report', session: this.play.session, ...message }, this.trace);
  }

  private get isOver(): boolean {
    return this.over;
  }

  private gathering(servers: readonly IceServer[]): void {
    this.gatheredMs = performance.now();
    this.mappedThereMs = undefined;
    this.nat = new NatProbe(servers.flatMap((server) => server.urls));
  }

  /** Ends without a word to `onEnd`. */
  close(): void {
    if (this.over) return;
    this.over = true;
    this.tearDown();
    this.settle.reject(problemError('network', 'closed'));
  }

  private end(problem: Problem): void {
    if (this.over) return;
    this.over = true;
    this.tearDown();
    this.settle.reject(new ProblemError(problem));
    this.options.onEnd(problem);
  }

  private tearDown(): void {
    this.abort.abort();
    clearInterval(this.ping);
    this.waiting?.(undefined);
    if (this.play && this.signal) {
      this.signal.send({ type: 'end', session: this.play.session }, this.trace);
      this.signal.remove(this.play.session);
    }
    this.channel?.close();
    this.pc?.close();
  }

  private async run(): Promise<void> {
    const { camera, recorder, stages } = this.options;
    // All that does not need the centre's answer happens while it is on its way.
    const [play, [pc, offer]] = await Promise.all([
      api
        .play(
          camera.id,
          this.options.capabilities,
          { signal: this.abort.signal, trace: this.trace },
          recorder,
        )
        .then((answer) => {
          stages.mark('play', performance.now());
          return answer;
        }),
      this.prepare(),
      clientKey(),
    ]);
    await checkPlayAnswer(camera, play, recorder);
    if (this.over) return;
    this.play = play;
    // Gathering starts with the local description, so it knows the servers from its first moment.
    pc.setConfiguration({
      ...pc.getConfiguration(),
      iceServers: toRtcIceServers(play.ice_servers),
    });
    const timer = setTimeout(() => this.end(this.noPath()), CONNECT_TIMEOUT_MS);
    this.connected.finally(() => clearTimeout(timer)).catch(() => undefined);
    this.gathering(play.ice_servers);
    const signal = signalling(play.signal_url);
    await Promise.all([
      pc.setLocalDescription(offer),
      this.exchange(pc, play, offer.sdp ?? '', signal, ANSWER_TIMEOUT_MS),
    ]);
  }

  private async prepare(): Promise<[RTCPeerConnection, RTCSessionDescriptionInit]> {
    const { pc, channel, offer } = await takePrepared(this.options.audio);
    if (this.over) {
      pc.close();
      throw problemError('network', 'closed');
    }
    this.pc = pc;
    this.listen(pc);
    this.listenToChannel(channel);
    return [pc, offer];
  }

  private listen(pc: RTCPeerConnection): void {
    const { stages } = this.options;
    pc.ontrack = ({ track }) => {
      if (track.kind === 'video') {
        // A remote track is muted until its first packet (W3C WebRTC 5.3).
        track.addEventListener('unmute', () => stages.mark('packet', performance.now()), {
          once: true,
        });
      }
      this.options.onTrack(track);
    };
    pc.onicecandidate = ({ candidate }) => {
      if (candidate && candidate.candidate !== '') {
        this.nat.note(candidate);
        this.sendCandidate(candidate.candidate);
      } else if (candidate === null) {
        this.nat.end();
        this.sendCandidate('');
      }
    };
    pc.oniceconnectionstatechange = () => {
      if (pc.iceConnectionState === 'connected') stages.mark('ice', performance.now());
    };
    pc.onconnectionstatechange = () => {
      if (pc.connectionState === 'connected') {
        stages.mark('dtls', performance.now());
        this.hasConnected = true;
        this.lastPongMs = performance.now();
        this.settle.resolve();
      }
    };
  }

  private listenToChannel(channel: RTCDataChannel): void {
    this.channel = channel;
    channel.onopen = () => {
      const quality = this.options.quality();
      if (quality.mode !== 'auto') this.setQuality(quality);
      const ping = () => this.tell({ type: 'ping', cu_time: nowUs() });
      ping();
      this.ping = setInterval(ping, PING_MS);
    };
    channel.onmessage = (event) => {
      this.lastPongMs = performance.now();
      const message = parse(event.data);
      if (message?.type === 'ended') this.end(message.problem);
      else if (message) this.options.onMessage(message);
    };
  }

  private tell(message: CuToPu): void {
    if (this.channel?.readyState === 'open') this.channel.send(JSON.stringify(message));
  }

  private sendCandidate(candidate: string): void {
    if (this.outgoing) this.outgoing.push(candidate);
    else if (this.play) {
      const { session } = this.play;
      this.signal?.send({ type: 'candidate', session, candidate }, this.trace);
    }
  }

  /** Offer out, answer in, verified before it is used. */
  private async exchange(
    pc: RTCPeerConnection,
    play: PlayAnswer,
    sdp: string,
    signal: Signalling,
    patienceMs: number,
  ): Promise<void> {
    const offered = dtlsFingerprint(sdp);
    if (!offered) throw problemError('unsupported', 'this browser makes no SHA-256 fingerprint');
    const key = await clientKey();
    const signature = await sign(key, await offerBytes(play.session, play.token, offered));
    this.attach(signal, play);
    await signal.opened;
    this.options.stages.mark('signalling', performance.now());
    const answered = this.nextAnswer(sdp, patienceMs);
    const { session, device, token } = play;
    const offer = { sdp, token, client_key: key.publicKey, signature, ice_servers: [] };
    signal.send({ type: 'offer', session, device, offer }, this.trace);
    const held = this.outgoing ?? [];
    this.outgoing = undefined;
    for (const candidate of held) this.sendCandidate(candidate);
    const answer = await answered;
    if (this.over) return;
    await checkMediaAnswer(play, sdp, answer);
    this.options.stages.mark('answer', performance.now());
    await this.apply(pc, answer);
  }

  private async apply(pc: RTCPeerConnection, answer: MediaAnswer): Promise<void> {
    if (pc.signalingState === 'stable') await signalingState(pc, 'have-local-offer');
    this.remote.noteAnswer(answer.sdp);
    const { mappedForMs } = this.remote;
    if (mappedForMs !== undefined) this.mappedThereMs = performance.now() - mappedForMs;
    await pc.setRemoteDescription({ type: 'answer', sdp: answer.sdp });
    const early = this.early ?? [];
    this.early = undefined;
    for (const candidate of early) this.addCandidate(pc, candidate);
  }

  private attach(signal: Signalling, play: PlayAnswer): void {
    if (this.signal !== signal) this.signal?.remove(play.session);
    this.signal = signal;
    signal.add(play.session, {
      onMessage: (message) => this.take(message),
      onDown: () => {
        this.waiting?.(undefined);
        // Media that has flowed does not need the SCU, unless a new way is to be found; then the
        // restart makes a new connection. Media that does not flow yet needs this one.
        if (!this.hasConnected) this.end({ type: 'signalling', detail: '' });
      },
    });
  }

  private nextAnswer(offer: string, patienceMs: number): Promise<MediaAnswer> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.waiting?.(undefined), patienceMs);
      this.waiting = (message) => {
        if (message?.type === 'answer' && answersAnother(message.answer.sdp, offer)) return;
        clearTimeout(timer);
        this.waiting = undefined;
        if (message?.type === 'answer') resolve(message.answer);
        else if (message?.type === 'refused') reject(new ProblemError(message.problem));
        else reject(problemError('timeout', 'the camera did not answer'));
      };
    });
  }

  private take(message: SessionMessage): void {
    switch (message.type) {
      case 'answer':
      case 'refused':
        this.waiting?.(message);
        break;
      case 'candidate': {
        const candidate = { candidate: message.candidate, sdpMLineIndex: 0 };
        this.remote.note(message.candidate);
        if (this.early) this.early.push(candidate);
        else if (this.pc) this.addCandidate(this.pc, candidate);
        break;
      }
      case 'ended':
        this.end(message.problem ?? { type: 'device_offline', detail: '' });
        break;
    }
  }

  private addCandidate(pc: RTCPeerConnection, candidate: RTCIceCandidateInit): void {
    // One that the browser cannot read (mDNS, other transport) is no loss: others remain.
    pc.addIceCandidate(candidate).catch(() => undefined);
  }

  private noPath(): Problem {
    const ice = this.pc?.iceConnectionState ?? 'new';
    if (ice === 'new') return { type: 'timeout', detail: '' };
    return { type: 'no_path', detail: `ICE: ${ice}` };
  }
}

function parse(data: unknown): PuToCu | undefined {
  try {
    const text = data instanceof ArrayBuffer ? new TextDecoder().decode(data) : String(data);
    return JSON.parse(text) as PuToCu;
  } catch {
    return undefined;
  }
}

async function rollBack(pc: RTCPeerConnection): Promise<void> {
  if (pc.signalingState !== 'have-local-offer') return;
  await pc.setLocalDescription({ type: 'rollback' });
}

function signalingState(pc: RTCPeerConnection, state: RTCSignalingState): Promise<void> {
  if (pc.signalingState === state) return Promise.resolve();
  return new Promise((resolve) => {
    const check = () => {
      if (pc.signalingState !== state && pc.signalingState !== 'closed') return;
      pc.removeEventListener('signalingstatechange', check);
      resolve();
    };
    pc.addEventListener('signalingstatechange', check);
  });
}
