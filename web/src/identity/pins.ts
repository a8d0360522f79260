/**
 * Which cameras this browser knows from the code on the camera itself. A device id is the hash of
 * the device's key, so to keep the id is to pin the key.
 */

const KEY = 'sightline.pins';

export type PinSource = 'code' | 'centre';

type Pins = Record<string, { since: number }>;

function read(): Pins {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(KEY) ?? '{}');
    return typeof value === 'object' && value !== null ? (value as Pins) : {};
  } catch {
    return {};
  }
}

/** Remembers a device whose code was typed or scanned here. */
export function pin(pu: string): void {
  const pins = read();
  pins[pu] ??= { since: Date.now() };
  localStorage.setItem(KEY, JSON.stringify(pins));
}

export function unpin(pu: string): void {
  const pins = Object.fromEntries(Object.entries(read()).filter(([id]) => id !== pu));
  localStorage.setItem(KEY, JSON.stringify(pins));
}

/** Where this browser knows the device from. */
export function pinSource(pu: string): PinSource {
  return Object.hasOwn(read(), pu) ? 'code' : 'centre';
}
