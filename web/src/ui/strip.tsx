import { useMemo, useRef, useState } from 'preact/hooks';
import type { Timeline } from '../api/types';
import { t, timeOfDay, dateTime } from '../i18n';
import { bar, HOUR_US, keyTarget, lookUp, place, ticks, timeAt, type Stretch } from '../timeline';

const DRAG_PX = 4;

interface StripProps {
  strip: { current: HTMLDivElement | null };
  view: Stretch;
  timeline: Timeline | undefined;
  atUs: number | undefined;
  now: number;
  onSeek: (at: number, backwards: boolean) => void;
  onMove: (us: number) => void;
}

/** A stretch of time that can be dragged, and played from any of its moments. */
export function Strip({ strip, view, timeline, atUs, now, onSeek, onMove }: StripProps) {
  const value = Math.min(Math.max(atUs ?? now, view.from), view.to);
  const { hover, ...pointer } = usePointer(strip, view, onSeek, onMove);
  const key = (event: KeyboardEvent) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const target = keyTarget(event.key, value, view, now);
    if (!target) return;
    event.preventDefault();
    onSeek(target.at, target.backwards);
  };
  return (
    <div
      ref={strip}
      class="strip"
      role="slider"
      tabIndex={0}
      aria-label={t('timeline.position')}
      aria-valuemin={Math.round(view.from / 1e6)}
      aria-valuemax={Math.round(view.to / 1e6)}
      aria-valuenow={Math.round(value / 1e6)}
      aria-valuetext={dateTime(value)}
      data-testid="timeline-strip"
      onKeyDown={key}
      {...pointer}
    >
      {timeline && <Parts timeline={timeline} view={view} />}
      <Ticks view={view} />
      {atUs !== undefined && (
        <span class="playhead" style={{ left: `${place(atUs, view) * 100}%` }} />
      )}
      {hover !== undefined && (
        <span class="hover" style={{ left: `${place(hover, view) * 100}%` }} aria-hidden="true">
          {hoverText(timeline, hover)}
        </span>
      )}
    </div>
  );
}

/** Looks, drags and clicks; `hover`: the time under the pointer. */
function usePointer(
  strip: StripProps['strip'],
  view: Stretch,
  onSeek: StripProps['onSeek'],
  onMove: StripProps['onMove'],
) {
  const drag = useRef<{ x: number; moved: boolean }>(undefined);
  const [hover, setHover] = useState<number>();
  const timeUnder = (x: number) => {
    const box = strip.current?.getBoundingClientRect();
    if (!box || box.width === 0) return view.from;
    return timeAt(Math.min(Math.max((x - box.left) / box.width, 0), 1), view);
  };
  return {
    hover,
    onPointerDown: (event: PointerEvent) => {
      // The other buttons have meanings of their own, and a second finger has none.
      if (event.button !== 0 || !event.isPrimary) return;
      strip.current?.setPointerCapture(event.pointerId);
      drag.current = { x: event.clientX, moved: false };
    },
    onPointerMove: (event: PointerEvent) => {
      setHover(timeUnder(event.clientX));
      const from = drag.current;
      if (!from || !event.isPrimary) return;
      if (!from.moved && Math.abs(event.clientX - from.x) < DRAG_PX) return;
      const width = strip.current?.clientWidth ?? 1;
      onMove(((from.x - event.clientX) / width) * (view.to - view.from));
      drag.current = { x: event.clientX, moved: true };
    },
    onPointerUp: (event: PointerEvent) => {
      if (event.button !== 0 || !event.isPrimary) return;
      if (drag.current && !drag.current.moved) onSeek(timeUnder(event.clientX), false);
      drag.current = undefined;
    },
    onPointerCancel: () => (drag.current = undefined),
    onPointerLeave: () => setHover(undefined),
  };
}

function Parts({ timeline, view }: { timeline: Timeline; view: Stretch }) {
  return (
    <>
      {timeline.gaps.map((gap) => (
        <Part key={`g${gap.from}`} part={gap} view={view} kind={`gap ${gap.reason}`} />
      ))}
      {timeline.spans.map((span) => (
        <Part
          key={`s${span.from}`}
          part={span}
          view={view}
          kind={`span ${span.causes.event ? 'event' : ''} ${span.time_known ? '' : 'guessed'}`}
        />
      ))}
      {timeline.events.map((mark) => (
        <Part key={`e${mark.from}`} part={mark} view={view} kind="mark" />
      ))}
    </>
  );
}

function Part({ part, view, kind }: { part: Stretch; view: Stretch; kind: string }) {
  const at = bar(part, view);
  if (!at) return null;
  return <span class={`part ${kind}`} style={{ left: `${at.left}%`, width: `${at.width}%` }} />;
}

function Ticks({ view }: { view: Stretch }) {
  const marks = useMemo(
    () => ticks(view, 6, (at) => new Date(at / 1_000).getTimezoneOffset()),
    [view.from, view.to],
  );
  return (
    <>
      {marks.map((at) => (
        <span class="tick" key={at} style={{ left: `${place(at, view) * 100}%` }}>
          {tickText(at, view)}
        </span>
      ))}
    </>
  );
}

function tickText(at: number, view: Stretch): string {
  const midnight = new Date(at / 1_000).getHours() === 0 && new Date(at / 1_000).getMinutes() === 0;
  return view.to - view.from > 24 * HOUR_US || midnight
    ? dateTime(at, 'day')
    : timeOfDay(at, 'minute');
}

function hoverText(timeline: Timeline | undefined, at: number): string {
  const found = timeline && lookUp(timeline, at);
  const time = timeOfDay(at);
  return found && 'gap' in found ? `${time} · ${t(`absence.${found.gap.reason}`)}` : time;
}
