/** `window.__sightline`: what the current session does, for tests and for the curious. */

import type { Camera } from './api/types';
import type { InStep } from './play/in-step/conductor';
import type { Lookback } from './play/lookback';
import type { Watch } from './play/watch';

export interface DebugView {
  camera: string | undefined;
  state: string | undefined;
  problem: unknown;
  session: string | undefined;
  attempts: number;
  iceRestarts: number;
  stages: unknown;
  route: unknown;
  renewals: number;
  stats: unknown;
  serving: unknown;
  latency: unknown;
  clockOffsetUs: number | undefined;
  video: HTMLVideoElement | undefined;
  lookback: LookbackView;
  setQuality: ((quality: Parameters<Watch['setQuality']>[0]) => void) | undefined;
}

/** What of a recording was shown, and when. */
export interface LookbackView {
  state: string;
  problem: unknown;
  atUs: number | undefined;
  seekMs: number | undefined;
  shown: { wallUs: number; atMs: number }[];
  playFrom: (atUs: number, scale?: number) => void;
  show: (atUs: number) => void;
}

/** Several cameras in step. */
export interface TogetherView {
  state: string;
  atUs: number | undefined;
  /** What each shows. */
  parts: { camera: string; atUs: number | undefined; absence: string | undefined }[];
  playFrom: (atUs: number, scale?: number) => void;
}

declare global {
  interface Window {
    __sightline?: DebugView;
    __together?: TogetherView;
  }
}

/** The same for several cameras. */
export function exposeTogether(inStep: InStep): () => void {
  const view: TogetherView = {
    get state() {
      return inStep.state.value.state;
    },
    get atUs() {
      return inStep.atUs.value;
    },
    get parts() {
      return inStep.parts.map(({ camera, player, absence }) => ({
        camera: camera.id,
        atUs: player.atUs.value,
        absence: absence.value,
      }));
    },
    playFrom: (atUs, scale) => inStep.playFrom(atUs, scale),
  };
  window.__together = view;
  return () => {
    if (window.__together === view) delete window.__together;
  };
}

/** Shows a session; gives a function that takes it away again. No token or key is shown. */
export function exposeWatch(
  watch: Watch,
  lookback: Lookback,
  video: HTMLVideoElement,
  camera: Camera,
): () => void {
  const view: DebugView = {
    camera: camera.id,
    get state() {
      return watch.state.value.state;
    },
    get problem() {
      const now = watch.state.value;
      return 'problem' in now ? now.problem : undefined;
    },
    get session() {
      return watch.play?.session;
    },
    get attempts() {
      return watch.attempts;
    },
    get iceRestarts() {
      return watch.iceRestarts;
    },
    get stages() {
      return watch.stages.value;
    },
    get route() {
      return watch.route.value;
    },
    get renewals() {
      return watch.renewals;
    },
    get stats() {
      return watch.stats.value;
    },
    get serving() {
      return watch.serving.value;
    },
    get latency() {
      return watch.latency.value;
    },
    get clockOffsetUs() {
      return watch.clock.offsetUs;
    },
    video,
    lookback: {
      get state() {
        return lookback.state.value.state;
      },
      get problem() {
        const now = lookback.state.value;
        return 'problem' in now ? now.problem : undefined;
      },
      get atUs() {
        return lookback.atUs.value;
      },
      get seekMs() {
        return lookback.seekMs.value;
      },
      get shown() {
        return lookback.shown;
      },
      playFrom: (atUs, scale) => lookback.playFrom(atUs, scale),
      show: (atUs) => lookback.show(atUs),
    },
    setQuality: (quality) => watch.setQuality(quality),
  };
  window.__sightline = view;
  return () => {
    if (window.__sightline === view) delete window.__sightline;
  };
}
