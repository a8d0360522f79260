import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { api } from '../api/client';
import { toProblem } from '../api/problem';
import type { Timeline } from '../api/types';
import { problemText, t, timeOfDay, dateTime } from '../i18n';
import type { Lookback } from '../play/lookback';
import { nowUs } from '../play/clock';
import {
  around,
  bar,
  HOUR_US,
  lookUp,
  place,
  playable,
  ticks,
  timeAt,
  ZOOMS_US,
  type Stretch,
} from '../timeline';
import { Button, Icon } from './parts';

/** What is recorded is asked for again after this, while the present is in view. */
const REFRESH_MS = 5_000;
const DRAG_PX = 4;
/** How far keys move, in microseconds. */
const KEYS: Partial<Record<string, number>> = {
  ArrowLeft: -10e6,
  ArrowRight: 10e6,
  PageDown: -300e6,
  PageUp: 300e6,
};

interface Props {
  camera: string;
  lookback: Lookback;
  /** A day that was picked, by its first moment. */
  day: Stretch | undefined;
}

/** The recording of one camera as a strip of time: what can be played, and what is missing and why. */
export function TimelineStrip({ camera, lookback, day }: Props) {
  const [zoom, setZoom] = useState(1);
  const [shift, setShift] = useState<Stretch>();
  const [now, setNow] = useState(() => nowUs());
  const atUs = lookback.atUs.value;
  const length = ZOOMS_US[zoom] ?? HOUR_US;
  const view = shift ?? around(now, length, now);
  const { timeline, error, absent } = useTimeline(camera, view, now);
  const strip = useRef<HTMLDivElement>(null);
  /** Whether the view goes along with what is played, or stays where it was put. */
  const follows = useRef(true);
  const put = (stretch: Stretch | undefined) => {
    follows.current = false;
    setShift(stretch);
  };

  useEffect(() => {
    const timer = setInterval(() => setNow(nowUs()), 1_000);
    return () => clearInterval(timer);
  }, []);
  useEffect(() => {
    if (!day) return;
    put(day);
    setZoom(ZOOMS_US.findIndex((us) => us >= day.to - day.from));
  }, [day]);
  // The playhead stays in view, unless somebody looks elsewhere; live pictures are of the present.
  useEffect(() => {
    if (atUs === undefined) setShift(undefined);
    const isSeen = atUs === undefined || (atUs >= view.from && atUs < view.to);
    if (isSeen) follows.current = true;
    if (isSeen || !follows.current) return;
    // The device's clock may be ahead of ours.
    setShift(around(atUs, length, Math.max(nowUs(), atUs + length / 8)));
  }, [atUs]);
  if (absent) return null;

  const resize = (by: number) => {
    const next = Math.min(Math.max(zoom + by, 0), ZOOMS_US.length - 1);
    const middle = atUs ?? (view.from + view.to) / 2;
    const isPresent = atUs === undefined && !shift;
    setZoom(next);
    put(isPresent ? undefined : around(middle, ZOOMS_US[next] ?? HOUR_US, nowUs()));
  };
  const moveBy = (us: number) => {
    const moved = { from: view.from + us, to: view.to + us };
    put(moved.to >= nowUs() ? undefined : moved);
  };
  const move = (part: number) => moveBy((view.to - view.from) * part);
  const seek = (at: number) => {
    const target = timeline ? playable(timeline, at) : at;
    if (target === undefined) return;
    follows.current = true;
    const { state } = lookback.state.value;
    if (state === 'paused') lookback.show(target);
    else lookback.playFrom(target, Math.abs(lookback.scale.value));
  };
  return (
    <section class="card timeline" aria-label={t('timeline.title')} data-testid="timeline">
      <div class="row">
        <Button
          tone="ghost"
          label={t('timeline.earlier')}
          icon="back"
          onClick={() => move(-0.75)}
          testid="timeline-earlier"
        />
        <Range view={view} />
        <Button
          tone="ghost"
          label={t('timeline.later')}
          onClick={() => move(0.75)}
          testid="timeline-later"
        >
          <span class="turned">
            <Icon name="back" />
          </span>
        </Button>
        <span class="spacer" />
        <Button
          tone="ghost"
          label={t('timeline.closer')}
          disabled={zoom === 0}
          onClick={() => resize(-1)}
          testid="timeline-closer"
        >
          +
        </Button>
        <Button
          tone="ghost"
          label={t('timeline.farther')}
          disabled={zoom === ZOOMS_US.length - 1}
          onClick={() => resize(1)}
          testid="timeline-farther"
        >
          −
        </Button>
      </div>
      <Strip
        strip={strip}
        view={view}
        timeline={timeline}
        atUs={atUs}
        now={now}
        onSeek={seek}
        onMove={moveBy}
      />
      {error !== undefined && (
        <p class="fine" role="status" data-testid="timeline-error">
          {error}
        </p>
      )}
      {timeline && <Summary timeline={timeline} atUs={atUs} />}
    </section>
  );
}

function Range({ view }: { view: Stretch }) {
  return (
    <span class="range" data-testid="timeline-range" data-from={view.from} data-to={view.to}>
      {dateTime(view.from, 'minute')} – {timeOfDay(view.to, 'minute')}
    </span>
  );
}

interface StripProps {
  strip: { current: HTMLDivElement | null };
  view: Stretch;
  timeline: Timeline | undefined;
  atUs: number | undefined;
  now: number;
  onSeek: (at: number) => void;
  onMove: (us: number) => void;
}

function Strip({ strip, view, timeline, atUs, now, onSeek, onMove }: StripProps) {
  const drag = useRef<{ x: number; moved: boolean }>(undefined);
  const [hover, setHover] = useState<number>();
  const fraction = (x: number) => {
    const box = strip.current?.getBoundingClientRect();
    return box && box.width > 0 ? Math.min(Math.max((x - box.left) / box.width, 0), 1) : 0;
  };
  const value = Math.min(Math.max(atUs ?? now, view.from), view.to);
  const key = (event: KeyboardEvent) => {
    const step = KEYS[event.key];
    if (step === undefined) return;
    event.preventDefault();
    onSeek(value + step);
  };
  const marks = useMemo(
    () => ticks(view, 6, (at) => new Date(at / 1_000).getTimezoneOffset()),
    [view.from, view.to],
  );
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
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        drag.current = { x: event.clientX, moved: false };
      }}
      onPointerMove={(event) => {
        setHover(timeAt(fraction(event.clientX), view));
        const from = drag.current;
        if (!from || (!from.moved && Math.abs(event.clientX - from.x) < DRAG_PX)) return;
        const width = strip.current?.clientWidth ?? 1;
        onMove(((from.x - event.clientX) / width) * (view.to - view.from));
        drag.current = { x: event.clientX, moved: true };
      }}
      onPointerUp={(event) => {
        if (drag.current && !drag.current.moved) onSeek(timeAt(fraction(event.clientX), view));
        drag.current = undefined;
      }}
      onPointerCancel={() => (drag.current = undefined)}
      onPointerLeave={() => setHover(undefined)}
    >
      {timeline?.gaps.map((gap) => (
        <Part key={`g${gap.from}`} part={gap} view={view} kind={`gap ${gap.reason}`} />
      ))}
      {timeline?.spans.map((span) => (
        <Part
          key={`s${span.from}`}
          part={span}
          view={view}
          kind={`span ${span.causes.event ? 'event' : ''} ${span.time_known ? '' : 'guessed'}`}
        />
      ))}
      {timeline?.events.map((mark) => (
        <Part key={`e${mark.from}`} part={mark} view={view} kind="mark" />
      ))}
      {marks.map((at) => (
        <span class="tick" key={at} style={{ left: `${place(at, view) * 100}%` }}>
          {tickText(at, view)}
        </span>
      ))}
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

function Part({ part, view, kind }: { part: Stretch; view: Stretch; kind: string }) {
  const at = bar(part, view);
  if (!at) return null;
  return <span class={`part ${kind}`} style={{ left: `${at.left}%`, width: `${at.width}%` }} />;
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

/** The same in words, for whoever does not see the strip. */
function Summary({ timeline, atUs }: { timeline: Timeline; atUs: number | undefined }) {
  const found = atUs === undefined ? undefined : lookUp(timeline, atUs);
  const recorded = timeline.spans.reduce((sum, span) => sum + span.to - span.from, 0);
  const longest = [...timeline.gaps]
    .filter((gap) => gap.reason !== 'not_planned' && gap.reason !== 'being_recorded')
    .sort((a, b) => b.to - b.from - (a.to - a.from))
    .slice(0, 3);
  return (
    <div class="fine" data-testid="timeline-summary">
      <p>
        {t('timeline.recorded', { time: duration(recorded) })}
        {found && 'span' in found && !found.span.time_known && ` ${t('timeline.guessed')}`}
      </p>
      {longest.length > 0 && (
        <ul>
          {longest.map((gap) => (
            <li key={gap.from} data-testid="timeline-gap" data-reason={gap.reason}>
              {timeOfDay(gap.from)} – {timeOfDay(gap.to)}: {t(`absence.${gap.reason}`)}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

function duration(us: number): string {
  const minutes = Math.floor(us / 60e6);
  const seconds = Math.floor((us % 60e6) / 1e6);
  const hours = Math.floor(minutes / 60);
  return hours > 0 ? `${hours} h ${minutes % 60} min` : `${minutes} min ${seconds} s`;
}

/** What the recorder says of a window; asked anew when it moves, and as time passes. */
function useTimeline(camera: string, view: Stretch, now: number) {
  const [timeline, setTimeline] = useState<Timeline>();
  const [error, setError] = useState<string>();
  /** Nothing can record this camera. */
  const [absent, setAbsent] = useState(false);
  const present = view.to > now - 2 * REFRESH_MS * 1_000;
  const turn = present ? Math.floor(now / (REFRESH_MS * 1_000)) : 0;
  const length = view.to - view.from;
  // The present moves all the time; it is asked for in turns.
  const from = present ? turn * REFRESH_MS * 1_000 - length : Math.round(view.from);
  useEffect(() => {
    if (absent) return;
    const abort = new AbortController();
    // A drag goes through many windows: the last one counts.
    const timer = setTimeout(() => {
      api
        .recordings(camera, from, from + length + REFRESH_MS * 1_000, abort.signal)
        .then((found) => {
          setTimeline(found);
          setError(undefined);
        })
        .catch((problem: unknown) => {
          if (abort.signal.aborted) return;
          setAbsent(toProblem(problem).type === 'not_found');
          setError(problemText(problem));
        });
    }, 60);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [camera, from, length, absent]);
  return { timeline, error, absent };
}
