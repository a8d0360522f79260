import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { Timeline, TimelineSpan } from '../api/types';
import { t, timeOfDay, dateTime } from '../i18n';
import type { Peek } from '../play/peek/peeker';
import {
  bar,
  eventsAt,
  HOUR_US,
  keyTarget,
  lookUp,
  place,
  ticks,
  timeAt,
  type Stretch,
} from '../timeline';

const DRAG_PX = 4;
/** What lies nearer than this part of the strip is hit. */
const NEAR = 200;

/** One camera's recordings on a strip. */
export interface Lane {
  camera: string;
  /** What the person calls it; only where there are several. */
  name?: string;
  timeline: Timeline | undefined;
}

interface StripProps {
  strip: { current: HTMLDivElement | null };
  view: Stretch;
  lanes: Lane[];
  atUs: number | undefined;
  now: number;
  onSeek: (at: number, backwards: boolean) => void;
  onMove: (us: number) => void;
  /** Where somebody looks for a time; undefined: nobody does any more. */
  onLook?: (at: number | undefined) => void;
  /** The picture of there. */
  peek?: Peek | undefined;
}

/** A stretch of time that can be looked over, played from any of its moments, and dragged by its ruler. */
export function Strip(props: StripProps) {
  const { strip, view, lanes, atUs, now, onSeek, peek } = props;
  const value = Math.min(Math.max(atUs ?? now, view.from), view.to);
  const { hover, ...pointer } = usePointer(props);
  const key = (event: KeyboardEvent) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const target = keyTarget(event.key, value, view, now);
    if (!target) return;
    event.preventDefault();
    onSeek(target.at, target.backwards);
  };
  return (
    <div class="strip-box">
      {hover !== undefined && (
        <Look at={hover} view={view} lanes={lanes} peek={peek} />
      )}
      <div
        ref={strip}
        class={lanes.length > 1 ? 'strip many' : 'strip'}
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
        {lanes.map(({ camera, name, timeline }) => (
          <div class="lane" key={camera} data-camera={camera}>
            {timeline && <Parts timeline={timeline} view={view} />}
            {name !== undefined && <span class="lane-name">{name}</span>}
          </div>
        ))}
        <div class="ruler">
          <Ticks view={view} />
        </div>
        {atUs !== undefined && (
          <span class="playhead" style={{ left: `${place(atUs, view) * 100}%` }} />
        )}
        {hover !== undefined && (
          <span class="hover" style={{ left: `${place(hover, view) * 100}%` }} />
        )}
      </div>
    </div>
  );
}

/** Looks, drags and clicks; `hover`: the time under the pointer. */
function usePointer({ strip, view, onSeek, onMove, onLook }: StripProps) {
  const drag = useRef<{ x: number; moved: boolean; moves: boolean }>(undefined);
  const [hover, setHover] = useState<number>();
  const timeUnder = (x: number) => {
    const box = strip.current?.getBoundingClientRect();
    if (!box || box.width === 0) return view.from;
    return timeAt(Math.min(Math.max((x - box.left) / box.width, 0), 1), view);
  };
  const look = (at: number | undefined) => {
    setHover(at);
    onLook?.(at);
  };
  return {
    hover,
    onPointerDown: (event: PointerEvent) => {
      // The other buttons have meanings of their own, and a second finger has none.
      if (event.button !== 0 || !event.isPrimary) return;
      strip.current?.setPointerCapture(event.pointerId);
      const moves = event.target instanceof Element && event.target.closest('.ruler') !== null;
      drag.current = { x: event.clientX, moved: false, moves };
      look(timeUnder(event.clientX));
    },
    onPointerMove: (event: PointerEvent) => {
      const from = drag.current;
      if (!from?.moves || !event.isPrimary) {
        look(timeUnder(event.clientX));
        return;
      }
      if (!from.moved && Math.abs(event.clientX - from.x) < DRAG_PX) return;
      const width = strip.current?.clientWidth ?? 1;
      onMove(((from.x - event.clientX) / width) * (view.to - view.from));
      drag.current = { ...from, x: event.clientX, moved: true };
      look(undefined);
    },
    onPointerUp: (event: PointerEvent) => {
      if (event.button !== 0 || !event.isPrimary) return;
      if (drag.current && !drag.current.moved) onSeek(timeUnder(event.clientX), false);
      drag.current = undefined;
    },
    onPointerCancel: () => {
      drag.current = undefined;
      look(undefined);
    },
    onPointerLeave: () => {
      // A finger that is held down looks on beside the strip.
      if (!drag.current) look(undefined);
    },
    onLostPointerCapture: (event: PointerEvent) => {
      // A finger that was lifted hovers nowhere.
      if (event.pointerType !== 'mouse') look(undefined);
    },
  };
}

interface LookProps {
  at: number;
  view: Stretch;
  lanes: Lane[];
  peek: Peek | undefined;
}

/** What there is at a time that somebody looks at. What is told by keys alone is told by the slider's value. */
function Look({ at, view, lanes, peek }: LookProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const element = canvas.current;
    if (!element || !peek) return;
    element.width = peek.picture.width;
    element.height = peek.picture.height;
    element.getContext('2d')?.drawImage(peek.picture, 0, 0);
  }, [peek]);
  const only = lanes.length === 1 ? lanes[0]?.timeline : undefined;
  return (
    <div
      class="look"
      style={{ '--part': String(place(at, view)) }}
      aria-hidden="true"
      data-testid="look"
      data-at={at}
      data-pictured={peek?.wallUs}
    >
      <canvas ref={canvas} hidden={!peek} />
      <span>{lookText(only, at, (view.to - view.from) / NEAR)}</span>
    </div>
  );
}

function lookText(timeline: Timeline | undefined, at: number, slack: number): string {
  const time = timeOfDay(at);
  if (!timeline) return time;
  const [event] = eventsAt(timeline, at, slack);
  if (event) return `${time} · ${t(`event.${event.kind}`)}`;
  const found = lookUp(timeline, at);
  return found && 'gap' in found ? `${time} · ${t(`absence.${found.gap.reason}`)}` : time;
}

function Parts({ timeline, view }: { timeline: Timeline; view: Stretch }) {
  return (
    <>
      {timeline.gaps.map((gap) => (
        <Part key={`g${gap.from}`} part={gap} view={view} kind={`gap ${gap.reason}`} />
      ))}
      {timeline.spans.map((span) => (
        <Part key={`s${span.from}`} part={span} view={view} kind={spanKind(timeline, span)} />
      ))}
      {timeline.events.map((mark) => (
        <Part
          key={`e${mark.kind}${mark.from}`}
          // One that has no length is seen as well.
          part={{ from: mark.from, to: mark.to + 1 }}
          view={view}
          kind={`mark ${mark.kind}`}
        />
      ))}
    </>
  );
}

function spanKind(timeline: Timeline, span: TimelineSpan): string {
  const place = timeline.sources[span.source]?.place ?? '';
  const event = span.causes.event ? 'event' : '';
  return `span ${place} ${event} ${span.time_known ? '' : 'guessed'}`;
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
