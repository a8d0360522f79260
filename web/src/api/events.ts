/**
 * Server-sent events over fetch: `EventSource` can send no Authorization header, and a token in a
 * URL would end up in logs.
 */

import { PREFIX, freshToken } from './client';
import type { CentreEvent } from './types';

/** Splits a stream of text into the `data` of its events (WHATWG HTML 9.2.6). */
export class SseParser {
  private rest = '';
  private data: string[] = [];

  /** Takes text as it comes; gives the events that it completed. */
  push(text: string): string[] {
    this.rest += text;
    const events: string[] = [];
    for (;;) {
      const end = /\r\n|\n|\r(?!$)/.exec(this.rest);
      if (!end) return events;
      const line = this.rest.slice(0, end.index);
      this.rest = this.rest.slice(end.index + end[0].length);
      if (line === '') {
        if (this.data.length > 0) events.push(this.data.join('\n'));
        this.data = [];
      } else if (line.startsWith('data:')) {
        this.data.push(line.slice(line.startsWith('data: ') ? 6 : 5));
      }
    }
  }
}

export interface EventHandlers {
  onEvent: (event: CentreEvent) => void;
  /** The stream is open; its first event is a `resync`. */
  onOpen: () => void;
  onDown: () => void;
}

// The centre sends a comment at least every 15 s; a stream silent for longer is dead.
const SILENCE_MS = 45_000;

/** Listens until `signal` aborts; connects again by itself with a growing pause. */
export async function listen(handlers: EventHandlers, signal: AbortSignal): Promise<void> {
  let pauseMs = 500;
  while (!isAborted(signal)) {
    try {
      await once(
        {
          ...handlers,
          onOpen: () => {
            pauseMs = 500;
            handlers.onOpen();
          },
        },
        signal,
      );
    } catch {
      // Every cause is mended in the same way: connect again.
    }
    if (isAborted(signal)) return;
    handlers.onDown();
    await pause(pauseMs + Math.random() * 250, signal);
    pauseMs = Math.min(pauseMs * 2, 10_000);
  }
}

async function once(handlers: EventHandlers, signal: AbortSignal): Promise<void> {
  const watchdog = new AbortController();
  let timer = setTimeout(() => watchdog.abort(), SILENCE_MS);
  try {
    const response = await fetch(`${PREFIX}/events`, {
      headers: { accept: 'text/event-stream', authorization: `Bearer ${await freshToken()}` },
      cache: 'no-store',
      signal: AbortSignal.any([signal, watchdog.signal]),
    });
    if (!response.ok || !response.body) return;
    handlers.onOpen();
    const parser = new SseParser();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => watchdog.abort(), SILENCE_MS);
      for (const data of parser.push(value)) {
        const event = parse(data);
        if (event) handlers.onEvent(event);
      }
    }
  } finally {
    clearTimeout(timer);
  }
}

function parse(data: string): CentreEvent | undefined {
  try {
    return JSON.parse(data) as CentreEvent;
  } catch {
    return undefined;
  }
}

/** A call, since a property that was read once counts as unchanged for the type checker. */
export function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

/** Waits, or until `signal` aborts, or until the network or the page comes back. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      window.removeEventListener('online', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done, { once: true });
    window.addEventListener('online', done, { once: true });
  });
}
