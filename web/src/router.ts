/** Pages by the address's fragment: the server needs to know one path only. */

import { signal } from '@preact/signals';

export type Route =
  | { page: 'grid' }
  | { page: 'bind'; code: string }
  | { page: 'camera'; id: string }
  /** Several cameras at one time, in microseconds since 1970. */
  | { page: 'together'; cameras: string[]; at: number | undefined }
  | { page: 'settings' }
  | { page: 'operator' }
  | { page: 'unknown' };

export function parseRoute(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#/, '').split('?');
  const parts = path.split('/').filter((p) => p !== '');
  switch (parts[0]) {
    case undefined:
      return { page: 'grid' };
    case 'bind':
      return { page: 'bind', code: new URLSearchParams(query).get('code') ?? '' };
    case 'camera':
      return parts[1] ? { page: 'camera', id: decode(parts[1]) } : { page: 'unknown' };
    case 'together': {
      const wanted = new URLSearchParams(query);
      const at = Number(wanted.get('at'));
      return {
        page: 'together',
        cameras: wanted.getAll('camera'),
        at: Number.isSafeInteger(at) && at > 0 ? at : undefined,
      };
    }
    case 'settings':
      return { page: 'settings' };
    case 'operator':
      return { page: 'operator' };
    default:
      return { page: 'unknown' };
  }
}

/** The address of looking back at several cameras. */
export function togetherHash(cameras: string[], at?: number): string {
  const wanted = new URLSearchParams(cameras.map((id) => ['camera', id]));
  if (at !== undefined) wanted.set('at', String(Math.round(at)));
  return `#/together?${wanted.toString()}`;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export const route = signal<Route>({ page: 'grid' });
/** When the person last asked for a page, by `performance.now()`: a click on a camera. */
export let navigatedMs = 0;

export function startRouter(): void {
  const read = () => {
    route.value = parseRoute(location.hash);
  };
  read();
  window.addEventListener('hashchange', read);
  // The click is earlier than the change of the address that it causes.
  window.addEventListener('click', (event) => (navigatedMs = event.timeStamp), { capture: true });
  window.addEventListener('keydown', (event) => (navigatedMs = event.timeStamp), { capture: true });
}

/** When the navigation that led here began: a click shortly before, else now. */
export function navigationStartMs(): number {
  const now = performance.now();
  return now - navigatedMs < 1_000 ? navigatedMs : now;
}

export function go(hash: string): void {
  location.hash = hash;
}
