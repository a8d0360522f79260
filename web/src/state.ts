/** What the whole page knows: who is signed in, which cameras there are. */

import { signal } from '@preact/signals';
import { api, forget, refresh, whenSignedOut } from './api/client';
import { listen } from './api/events';
import { toProblem, type Problem } from './api/problem';
import type { Camera, CentreEvent, Info, SignedIn, User } from './api/types';
import { t } from './i18n';
import { clientKey } from './identity/keys';
import { forgetPictures } from './play/pictures';
import { closeSignalling } from './play/signalling';

export type Auth =
  | { state: 'loading' }
  | { state: 'unreachable'; problem: Problem }
  | { state: 'signed_out' }
  | { state: 'signed_in'; user: User };

export const auth = signal<Auth>({ state: 'loading' });
export const info = signal<Info | undefined>(undefined);
/** `undefined` until the list has come. */
export const cameras = signal<Camera[] | undefined>(undefined);
/** Whether changes are being pushed. */
export const live = signal(true);
/** A short message for everybody, read out by screen readers. */
export const toast = signal<{ text: string; tone: 'ok' | 'bad' } | undefined>(undefined);

/** Cameras whose recordings this user may see. */
export function playable(): Camera[] {
  return cameras.value?.filter(({ rights }) => rights.includes('playback')) ?? [];
}

/** Whether there are several that can be looked back at together. */
export function canBeTogether(): boolean {
  return playable().length > 1;
}

let toastTimer: ReturnType<typeof setTimeout> | undefined;
let downTimer: ReturnType<typeof setTimeout> | undefined;
let events: AbortController | undefined;

/** An alert stays until it has been read even by somebody who was looking elsewhere. */
const ALERT_MS = 30_000;

export function say(text: string, tone: 'ok' | 'bad' = 'ok', ms = 6000): void {
  toast.value = { text, tone };
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (toast.value = undefined), ms);
}

/** At load: sign in by the refresh cookie, if there is one. */
export async function start(): Promise<void> {
  whenSignedOut(signedOut);
  // The key is needed for the first play request; making it takes a moment.
  void clientKey().catch(() => undefined);
  void api.info().then(
    (value) => (info.value = value),
    () => undefined,
  );
  try {
    const signedIn = await refresh();
    if (signedIn) become(signedIn);
    else auth.value = { state: 'signed_out' };
  } catch (error) {
    auth.value = { state: 'unreachable', problem: toProblem(error) };
  }
}

export function become(signedIn: SignedIn): void {
  auth.value = { state: 'signed_in', user: signedIn.user };
  if (signedIn.user.subscription === 'active') void loadCameras();
  events?.abort();
  events = new AbortController();
  void listen(
    {
      onEvent: take,
      onOpen: () => {
        clearTimeout(downTimer);
        live.value = true;
      },
      onDown: () => {
        // The stream ends with each access token: only a gap that lasts is worth a word.
        clearTimeout(downTimer);
        downTimer = setTimeout(() => (live.value = false), 3_000);
      },
    },
    events.signal,
  );
}

function signedOut(): void {
  events?.abort();
  events = undefined;
  forget();
  closeSignalling();
  forgetPictures();
  cameras.value = undefined;
  clearTimeout(downTimer);
  live.value = true;
  auth.value = { state: 'signed_out' };
}

export async function signOut(): Promise<void> {
  try {
    await api.signOut();
  } finally {
    signedOut();
  }
}

async function resync(): Promise<void> {
  try {
    const user = await api.me();
    auth.value = { state: 'signed_in', user };
    if (user.subscription === 'active') await loadCameras();
  } catch {
    // The event stream connects again and with it comes the next try.
  }
}

export async function loadCameras(): Promise<void> {
  try {
    cameras.value = sorted(await api.cameras());
  } catch (error) {
    // A list that is on the screen stays there; the next resync mends it.
    if (!cameras.value) say(toProblem(error).detail, 'bad');
  }
}

function take(event: CentreEvent): void {
  switch (event.type) {
    case 'camera':
      putCamera(event.camera);
      break;
    case 'camera_gone':
      cameras.value = cameras.value?.filter((c) => c.id !== event.id);
      break;
    case 'alert':
      alertOwner(event);
      break;
    case 'subscription':
    case 'resync':
      void resync();
      break;
  }
}

/** Says what has happened around a device, in the user's language where the kind is known. */
function alertOwner(event: Extract<CentreEvent, { type: 'alert' }>): void {
  const here = cameras.value?.filter((c) => event.cameras.includes(c.id)) ?? [];
  const name = here.map((c) => c.name).join(', ') || t('alert.device');
  const known = {
    wrong_key: t('alert.wrong_key', { name }),
    storage_slow: t('alert.storage_slow', { name }),
    storage_full: t('alert.storage_full', { name }),
    storage_read_only: t('alert.storage_read_only', { name }),
    storage_away: t('alert.storage_away', { name }),
    storage_failing: t('alert.storage_failing', { name }),
  } as Partial<Record<string, string>>;
  say(known[event.kind] ?? event.text, 'bad', ALERT_MS);
}

/** Adds a camera, or puts its new state in place of the old. */
export function putCamera(camera: Camera): void {
  const others = (cameras.value ?? []).filter((c) => c.id !== camera.id);
  cameras.value = sorted([...others, camera]);
}

function sorted(list: Camera[]): Camera[] {
  return [...list].sort((a, b) => a.name.localeCompare(b.name) || a.id.localeCompare(b.id));
}
