/**
 * The WebSocket to an SCU (interface Cs). One connection serves all sessions with that SCU; it is
 * opened before the first play request where the address is known from an earlier one.
 */

import { problemError } from '../api/problem';
import { decode, encode, KEEP_ALIVE_MS, type CuToScu, type ScuToCu } from './messages';

/** The messages that belong to a session. */
export type SessionMessage = Extract<ScuToCu, { session: string }>;

export interface SessionListener {
  onMessage: (message: SessionMessage) => void;
  /** The connection broke: what was sent may be lost. */
  onDown: () => void;
}

const OPEN_TIMEOUT_MS = 8_000;
/** How long a connection may take to show that it still works before another is opened beside it. */
const PROBE_MS = 200;
const LINGER_MS = 30_000;
const REMEMBERED = 'sightline.signal_url';

const connections = new Map<string, Signalling>();

/** One connection; dies when it breaks and is then made anew by whoever needs it. */
export class Signalling {
  readonly opened: Promise<void>;
  private readonly socket: WebSocket;
  private readonly listeners = new Map<string, SessionListener>();
  private readonly keepAlive: ReturnType<typeof setInterval>;
  private lastHeardMs = performance.now();
  private heard: (() => void)[] = [];
  private idle: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly url: string) {
    this.socket = new WebSocket(url);
    this.opened = new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.close(), OPEN_TIMEOUT_MS);
      this.socket.onopen = () => {
        clearTimeout(timer);
        this.lastHeardMs = performance.now();
        resolve();
      };
      this.socket.onclose = () => {
        clearTimeout(timer);
        reject(problemError('signalling', ''));
        this.down();
      };
    });
    // A failed warm-up is nobody's fault; those who wait for it get the rejection themselves.
    this.opened.catch(() => undefined);
    this.socket.onmessage = (event) => this.take(String(event.data));
    this.keepAlive = setInterval(() => this.beat(), KEEP_ALIVE_MS);
    this.lingerWhenIdle();
  }

  get isOpen(): boolean {
    return this.socket.readyState === WebSocket.OPEN;
  }

  /** Sends; a connection that is not open drops the message, and `onDown` has been or is called. */
  send(message: CuToScu, traceparent?: string): void {
    if (this.isOpen) this.socket.send(encode(message, traceparent));
  }

  /** Resolves with the next sign of life. */
  probe(): Promise<void> {
    const answered = new Promise<void>((resolve) => this.heard.push(resolve));
    this.send({ type: 'keep_alive', cu_time: Date.now() * 1000 });
    return answered;
  }

  add(session: string, listener: SessionListener): void {
    this.listeners.set(session, listener);
    clearTimeout(this.idle);
  }

  remove(session: string): void {
    this.listeners.delete(session);
    this.lingerWhenIdle();
  }

  close(): void {
    this.socket.close();
    this.down();
  }

  private take(text: string): void {
    this.lastHeardMs = performance.now();
    for (const resolve of this.heard.splice(0)) resolve();
    const message = decode(text);
    if (!message) return;
    if ('session' in message) this.listeners.get(message.session)?.onMessage(message);
    else if (message.type === 'malformed') console.warn('signalling:', message.problem.detail);
  }

  private beat(): void {
    if (!this.isOpen) return;
    // Three missed answers: the way is dead even though the socket does not know it yet.
    if (performance.now() - this.lastHeardMs > 3 * KEEP_ALIVE_MS) {
      this.close();
      return;
    }
    this.send({ type: 'keep_alive', cu_time: Date.now() * 1000 });
  }

  private lingerWhenIdle(): void {
    clearTimeout(this.idle);
    if (this.listeners.size > 0) return;
    this.idle = setTimeout(() => {
      if (this.listeners.size === 0) this.close();
    }, LINGER_MS);
  }

  private down(): void {
    clearInterval(this.keepAlive);
    clearTimeout(this.idle);
    if (connections.get(this.url) === this) connections.delete(this.url);
    const listeners = [...this.listeners.values()];
    this.listeners.clear();
    for (const listener of listeners) listener.onDown();
  }
}

function keyOf(url: string): string {
  // A page that came over HTTPS may not open `ws:`, and the centre may name either.
  const absolute = new URL(url, location.href.replace(/^http/, 'ws'));
  if (location.protocol === 'https:' && absolute.protocol === 'ws:') absolute.protocol = 'wss:';
  return absolute.href;
}

/** The connection to an SCU, opened when there is none. */
export function signalling(url: string): Signalling {
  const key = keyOf(url);
  let connection = connections.get(key);
  if (!connection) {
    connection = new Signalling(key);
    connections.set(key, connection);
    localStorage.setItem(REMEMBERED, url);
  }
  return connection;
}

/**
 * A connection that works now. After a change of network the old one is dead without knowing it,
 * so another is opened beside one that does not answer at once, and the faster one stays.
 */
export async function livingSignalling(url: string): Promise<Signalling> {
  const key = keyOf(url);
  const old = connections.get(key);
  if (!old?.isOpen) return opened(signalling(url));
  const answered = old.probe();
  const quick = await Promise.race([answered.then(() => true), pause(PROBE_MS)]);
  if (quick) return old;
  const fresh = new Signalling(key);
  const winner = await Promise.race([answered.then(() => old), opened(fresh)]);
  if (winner === old) {
    fresh.close();
    return old;
  }
  connections.set(key, fresh);
  old.close();
  return fresh;
}

async function opened(connection: Signalling): Promise<Signalling> {
  await connection.opened;
  return connection;
}

function pause(ms: number): Promise<false> {
  return new Promise((resolve) => setTimeout(() => resolve(false), ms));
}

/** Opens the connection that was used last, before anybody needs it. */
export function warmUp(): void {
  const url = localStorage.getItem(REMEMBERED);
  if (!url) return;
  try {
    signalling(url);
  } catch {
    localStorage.removeItem(REMEMBERED);
  }
}

export function closeSignalling(): void {
  for (const connection of [...connections.values()]) connection.close();
}
