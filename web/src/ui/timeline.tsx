import { useEffect, useMemo, useRef } from 'preact/hooks';
import type { Camera } from '../api/types';
import { t } from '../i18n';
import { cloudStore } from '../play/cloud/store';
import type { Lookback } from '../play/lookback';
import { isMetered } from '../play/metered';
import { Peeker } from '../play/peek/peeker';
import { CloudStills, DeviceStills, Stills } from '../play/peek/stills';
import { Watch } from '../play/watch';
import {
  handover,
  peekSource,
  placeAt,
  recorderAt,
  seekTarget,
  type Answer,
  type Stretch,
} from '../timeline';
import { Silent } from './silent';
import { Strip } from './strip';
import { Events, Summary, TimelineTools, useTimeline, useView } from './timeline-parts';

/** What another recorder has of a gap, that playing goes over to it. */
const LEAST_GAP_US = 2e6;
/** The same at the newest picture: what one device has finished before the other is none. */
const LEAST_NEWER_US = 30e6;
/** So many pictures along the strip differ; of what lies closer together one stands for all. */
const PEEKS = 80;
/** Closer together than this, in microseconds, they are not asked for either. */
const LEAST_GRAIN_US = 1e6;

interface Props {
  camera: Camera;
  lookback: Lookback;
  /** A day that was picked, by its first moment. */
  day: Stretch | undefined;
  /** Whether it may ask what is recorded: the live picture comes first. */
  asks: boolean;
  strip: { current: HTMLDivElement | null };
  /** Nothing records this camera. */
  onAbsent: () => void;
}

/** The recording of one camera as a strip of time: what can be played, and what is missing and why. */
export function TimelineStrip({ camera, lookback, day, asks, strip, onAbsent }: Props) {
  const atUs = lookback.atUs.value;
  const { view, now, zoom, resize, moveBy, follow } = useView(atUs, day);
  const { answer, error, absent } = useTimeline(camera.id, view, now, asks);
  const { peeker, look } = usePeeks(camera, answer, view);
  useHandover(lookback, answer);
  useEffect(() => {
    if (absent) onAbsent();
  }, [absent]);
  useEffect(() => {
    lookback.placeOf = (at) => answer && placeAt(answer.timeline, at);
  }, [answer]);
  if (absent) return null;

  const seek = (at: number, backwards: boolean) => {
    const target = seekTarget(answer, at, backwards);
    if (target === undefined) return;
    follow();
    const { state } = lookback.state.value;
    const recorder = answer && recorderAt(answer.timeline, target);
    if (state === 'paused') lookback.show(target, recorder);
    else lookback.playFrom(target, Math.abs(lookback.scale.value), recorder);
  };
  return (
    <section class="card timeline" aria-label={t('timeline.title')} data-testid="timeline">
      <TimelineTools view={view} zoom={zoom} onMove={moveBy} onResize={resize} />
      <Strip
        strip={strip}
        view={view}
        lanes={[{ camera: camera.id, timeline: answer?.timeline }]}
        atUs={atUs}
        now={now}
        onSeek={seek}
        onMove={moveBy}
        onLook={look}
        peek={peeker.shown.value}
      />
      <Silent recorders={answer?.timeline.silent} />
      {error !== undefined && (
        <p class="fine" role="status" data-testid="timeline-error">
          {error}
        </p>
      )}
      {/* In words it would be taken for what holds now. */}
      {answer && error === undefined && (
        <>
          <Summary timeline={answer.timeline} view={view} atUs={atUs} />
          <Events timeline={answer.timeline} view={view} onSeek={(at) => seek(at, false)} />
        </>
      )}
    </section>
  );
}

/** Small pictures of where somebody looks on the strip. */
function usePeeks(camera: Camera, answer: Answer | undefined, view: Stretch) {
  const peeker = useMemo(() => {
    const connect = (recorder: string) => {
      const base = { camera, audio: false, clickedMs: performance.now() };
      // An NVR sends live pictures only to who asks for a quality.
      return recorder === camera.device.pu
        ? new Watch({ ...base, quality: { mode: 'keyframes' } })
        : new Watch({ ...base, quality: { mode: 'auto' }, recorder });
    };
    const cloud = new CloudStills(cloudStore(camera.id));
    return new Peeker(new Stills(new DeviceStills(connect), cloud));
  }, []);
  useEffect(() => () => peeker.close(), []);
  const look = (at: number | undefined) => {
    if (at === undefined) {
      peeker.rest();
      return;
    }
    const grainUs = Math.max((view.to - view.from) / PEEKS, LEAST_GRAIN_US);
    const source = answer && peekSource(answer.timeline, at, peeker.asked, isMetered());
    peeker.want(at, grainUs, source);
  };
  return { peeker, look };
}

/** Where the device that plays has nothing, it goes on with another that has. */
function useHandover(lookback: Lookback, answer: Answer | undefined): void {
  const { state } = lookback.state.value;
  const atUs = lookback.atUs.value;
  const shown = useRef<{ atUs: number; jumps: number }>(undefined);
  useEffect(() => {
    const before = shown.current;
    const { jumps } = lookback;
    shown.current = atUs === undefined || state === 'seeking' ? undefined : { atUs, jumps };
    if (state !== 'playing' && state !== 'ended' && state !== 'caught_up') return;
    if (!answer || atUs === undefined || lookback.scale.peek() <= 0) return;
    if (before?.jumps !== jumps) return;
    const left = { from: before.atUs, to: state === 'playing' ? atUs : Infinity };
    const least = state === 'caught_up' ? LEAST_NEWER_US : LEAST_GAP_US;
    const inCloud = lookback.place.peek() === 'cs';
    const playing = inCloud ? undefined : lookback.source.peek().device;
    const next = handover(answer.timeline, playing, left, least);
    if (next) lookback.playFrom(next.at, lookback.scale.peek(), next.recorder);
  }, [atUs, state]);
}
