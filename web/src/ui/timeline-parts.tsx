/** Parts of a timeline that one camera and several in step have in common. */

import { useEffect, useRef, useState } from 'preact/hooks';
import { api } from '../api/client';
import { toProblem } from '../api/problem';
import type { Timeline } from '../api/types';
import { dateTimeRange, problemText, t, timeOfDay } from '../i18n';
import { nowUs } from '../play/clock';
import {
  around,
  countEvents,
  HOUR_US,
  lookUp,
  overlaps,
  placesIn,
  ZOOMS_US,
  type Answer,
  type Stretch,
} from '../timeline';
import { Button, Icon } from './parts';
import { useSeen } from './seen';

/** What is recorded is asked for again after this, with the present in view and after a failure. */
const REFRESH_MS = 5_000;
/** A drag goes through many windows: one that stays for so long is asked for. */
const SETTLE_MS = 60;
/** Of more events in view only the latest are listed. */
const MOST_EVENTS = 20;

/** The stretch of time in view; it goes along with what is played, until somebody looks elsewhere. */
export function useView(atUs: number | undefined, day: Stretch | undefined) {
  const [zoom, setZoom] = useState(1);
  const [shift, setShift] = useState<Stretch>();
  const [now, setNow] = useState(() => nowUs());
  const length = ZOOMS_US[zoom] ?? HOUR_US;
  const view = shift ?? around(now, length, now);
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
  const follow = () => {
    follows.current = true;
  };
  return { view, now, zoom, resize, moveBy, follow };
}

interface TimelineToolsProps {
  view: Stretch;
  zoom: number;
  onMove: (us: number) => void;
  onResize: (by: number) => void;
}

/** Which stretch of time is in view, and how to see another. */
export function TimelineTools({ view, zoom, onMove, onResize }: TimelineToolsProps) {
  const move = (part: number) => onMove((view.to - view.from) * part);
  return (
    <div class="timeline-tools" role="toolbar" aria-label={t('timeline.tools')}>
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
      <Zoom zoom={zoom} onResize={onResize} />
    </div>
  );
}

function Zoom({ zoom, onResize }: { zoom: number; onResize: (by: number) => void }) {
  return (
    <>
      <Button
        tone="ghost"
        label={t('timeline.closer')}
        disabled={zoom === 0}
        onClick={() => onResize(-1)}
        testid="timeline-closer"
      >
        +
      </Button>
      <Button
        tone="ghost"
        label={t('timeline.farther')}
        disabled={zoom === ZOOMS_US.length - 1}
        onClick={() => onResize(1)}
        testid="timeline-farther"
      >
        −
      </Button>
    </>
  );
}

function Range({ view }: { view: Stretch }) {
  return (
    <span class="range" data-testid="timeline-range" data-from={view.from} data-to={view.to}>
      {dateTimeRange(view, 'minute')}
    </span>
  );
}

interface SummaryProps {
  timeline: Timeline;
  view: Stretch;
  atUs: number | undefined;
}

/** The same in words, for whoever does not see the strip. */
export function Summary({ timeline, view, atUs }: SummaryProps) {
  const found = atUs === undefined ? undefined : lookUp(timeline, atUs);
  const inView = (part: Stretch) =>
    Math.max(Math.min(part.to, view.to) - Math.max(part.from, view.from), 0);
  const recorded = timeline.spans.reduce((sum, span) => sum + inView(span), 0);
  const places = placesIn(timeline, view).map((place) => t(`place.${place}`));
  const longest = timeline.gaps
    .filter((gap) => gap.reason !== 'not_planned' && gap.reason !== 'being_recorded')
    .filter((gap) => overlaps(gap, view))
    .sort((a, b) => b.to - b.from - (a.to - a.from))
    .slice(0, 3);
  return (
    <div class="fine" data-testid="timeline-summary">
      <p>
        {t('timeline.recorded', { time: duration(recorded) })}
        {found && 'span' in found && !found.span.time_known && ` ${t('timeline.guessed')}`}
      </p>
      {places.length > 0 && (
        <p data-testid="timeline-places">{t('timeline.places', { places: places.join(', ') })}</p>
      )}
      {longest.length > 0 && (
        <ul>
          {longest.map((gap) => (
            <li key={gap.from} data-testid="timeline-gap" data-reason={gap.reason}>
              {dateTimeRange(gap)}: {t(`absence.${gap.reason}`)}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

interface EventsProps {
  timeline: Timeline;
  view: Stretch;
  onSeek: (at: number) => void;
}

/** What has happened, to be gone to; nothing where no events are known. */
export function Events({ timeline, view, onSeek }: EventsProps) {
  const counts = [...countEvents(timeline, view)];
  if (counts.length === 0) return null;
  const marks = timeline.events.filter(({ from, to }) => from < view.to && to >= view.from);
  const text = counts.map(([kind, count]) => `${t(`event.${kind}`)} ${count}`).join(' · ');
  return (
    <details class="events" data-testid="timeline-events">
      <summary>
        {t('timeline.events')} {text}
      </summary>
      <ul class="plain-list">
        {marks.slice(-MOST_EVENTS).map(({ from, kind, count }) => (
          <li key={`${kind}${from}`}>
            <Button tone="ghost" onClick={() => onSeek(from)} testid="timeline-event">
              {timeOfDay(from)} {t(`event.${kind}`)}
              {count > 1 && ` ×${count}`}
            </Button>
          </li>
        ))}
      </ul>
    </details>
  );
}

function duration(us: number): string {
  const minutes = Math.floor(us / 60e6);
  const seconds = Math.floor((us % 60e6) / 1e6);
  const hours = Math.floor(minutes / 60);
  return hours > 0
    ? t('timeline.hours', { hours, minutes: minutes % 60 })
    : t('timeline.minutes', { minutes, seconds });
}

/** What the recorder says of a window; asked anew when it or time moves, and after a failure. */
export function useTimeline(camera: string, view: Stretch, now: number, asks: boolean) {
  const [answer, setAnswer] = useState<Answer>();
  const [error, setError] = useState<string>();
  /** Nothing records this camera. */
  const [absent, setAbsent] = useState(false);
  const [failures, setFailures] = useState(0);
  const seen = useSeen();
  const present = view.to > now - 2 * REFRESH_MS * 1_000;
  const turn = present ? Math.floor(now / (REFRESH_MS * 1_000)) : 0;
  const length = view.to - view.from;
  // The present moves all the time; it is asked for in turns.
  const from = present ? turn * REFRESH_MS * 1_000 - length : Math.round(view.from);
  useEffect(() => {
    if (absent || !asks || !seen) return;
    const abort = new AbortController();
    // So far ahead that the present is in it until the next answer.
    const asked = { from, to: from + length + 2 * REFRESH_MS * 1_000 };
    const ask = async () => {
      try {
        const timeline = await api.recordings(camera, asked.from, asked.to, abort.signal);
        setAnswer({ window: asked, timeline });
        setError(undefined);
      } catch (problem) {
        if (abort.signal.aborted) return;
        setAbsent(toProblem(problem).type === 'not_found');
        setError(problemText(problem));
        timer = setTimeout(() => setFailures((n) => n + 1), REFRESH_MS);
      }
    };
    let timer = setTimeout(() => void ask(), SETTLE_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [camera, from, length, absent, asks, seen, failures]);
  // What was said of another stretch of time says nothing of this one.
  const here = answer && overlaps(answer.window, view) ? answer : undefined;
  return { answer: here, error, absent };
}
