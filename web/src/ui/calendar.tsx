import { useEffect, useState } from 'preact/hooks';
import { api } from '../api/client';
import { isAborted } from '../api/events';
import type { Camera, RecordedDays, SilentRecorder } from '../api/types';
import { dateTime, monthName, problemText, t, weekdayNames } from '../i18n';
import type { Stretch } from '../timeline';
import { Alert, Button, Icon } from './parts';
import { useSeen } from './seen';
import { Silent } from './silent';

/** So often it is asked whether today has a recording by now. */
const TODAY_MS = 60_000;

interface Month {
  year: number;
  /** 1 to 12. */
  month: number;
}

interface CalendarProps {
  /** Days of any of them count. */
  cameras: Camera[];
  onPick: (day: Stretch) => void;
}

/** A month, its days with recordings to be picked. */
export function Calendar({ cameras, onPick }: CalendarProps) {
  const [open, setOpen] = useState(false);
  const [month, setMonth] = useState<Month>(() => monthOf(new Date()));
  const { days, silent, error, askAgain } = useDays(cameras, month, open);
  const first = new Date(month.year, month.month - 1, 1);
  const turn = (by: number) => setMonth(monthOf(new Date(month.year, month.month - 1 + by, 1)));
  return (
    <details
      class="card calendar"
      data-testid="calendar"
      onToggle={(event) => setOpen(event.currentTarget.open)}
    >
      <summary>{t('calendar.title')}</summary>
      <div class="row">
        <Button
          tone="ghost"
          icon="back"
          label={t('calendar.earlier')}
          onClick={() => turn(-1)}
          testid="calendar-earlier"
        />
        <span class="spacer centred">{monthName(first)}</span>
        <Button
          tone="ghost"
          label={t('calendar.later')}
          onClick={() => turn(1)}
          testid="calendar-later"
        >
          <span class="turned">
            <Icon name="back" />
          </span>
        </Button>
      </div>
      <Days month={month} days={days} onPick={onPick} />
      <Silent recorders={silent} />
      <Alert text={error} testid="calendar-error" />
      {error !== undefined && (
        <Button onClick={askAgain} testid="calendar-retry">
          {t('app.retry')}
        </Button>
      )}
    </details>
  );
}

interface DaysProps {
  month: Month;
  /** Days with recordings; undefined while that is not known. */
  days: ReadonlySet<number> | undefined;
  onPick: (day: Stretch) => void;
}

function Days({ month, days, onPick }: DaysProps) {
  const first = new Date(month.year, month.month - 1, 1);
  const count = new Date(month.year, month.month, 0).getDate();
  const beginUs = (day: number) => new Date(month.year, month.month - 1, day).getTime() * 1_000;
  // Weeks begin on Monday (ISO 8601).
  const blanks = (first.getDay() + 6) % 7;
  const label = (day: number) => {
    const key = days?.has(day) ? 'calendar.day' : 'calendar.no_day';
    return t(days ? key : 'calendar.unknown_day', { day: dateTime(beginUs(day), 'day') });
  };
  return (
    <div class="days" role="group" aria-label={monthName(first)}>
      {/* The days' own labels name them too. */}
      {weekdayNames().map((name) => (
        <span key={name} class="weekday" aria-hidden="true">
          {name}
        </span>
      ))}
      {Array.from({ length: blanks }, (_, n) => (
        <span key={`b${n}`} />
      ))}
      {Array.from({ length: count }, (_, n) => n + 1).map((day) => (
        <button
          key={day}
          type="button"
          class={days?.has(day) ? 'day has' : 'day'}
          disabled={!days?.has(day)}
          aria-label={label(day)}
          data-testid={`day-${day}`}
          onClick={() => onPick({ from: beginUs(day), to: beginUs(day + 1) })}
        >
          {day}
        </button>
      ))}
    </div>
  );
}

/** The days of a month that have recordings, while somebody looks. */
function useDays(cameras: Camera[], { year, month }: Month, open: boolean) {
  const [found, setFound] = useState<Month & Found>();
  const [error, setError] = useState<string>();
  const [turn, setTurn] = useState(0);
  const askAgain = () => setTurn((n) => n + 1);
  const seen = useSeen();
  // Which there are, and who of them answers.
  const key = cameras.map((camera) => `${camera.id} ${isReachable(camera) ? 1 : 0}`).join();
  // What is known of another month says nothing of this one.
  const known = found?.year === year && found.month === month ? found : undefined;
  const days = known?.days;
  useEffect(() => {
    if (!open || !seen) return;
    const abort = new AbortController();
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    setError(undefined);
    const ask = async () => {
      const questions = cameras.map(({ id }) =>
        api.recordedDays(id, zone, year, month, abort.signal),
      );
      const answers = await Promise.allSettled(questions);
      if (isAborted(abort.signal)) return;
      const failure = answers.find((answer) => answer.status === 'rejected');
      if (failure) setError(problemText(failure.reason));
      const heard = answers.flatMap((answer) =>
        answer.status === 'fulfilled' ? [answer.value] : [],
      );
      if (heard.length > 0) setFound({ year, month, ...joined(heard) });
    };
    void ask();
    return () => abort.abort();
  }, [key, year, month, open, seen, turn]);
  // Of what lies behind nothing new is recorded; today may get its first recording at any time.
  useEffect(() => {
    if (!open || !seen || !days) return;
    const timer = setInterval(() => {
      if (mayGrow({ year, month }, days)) askAgain();
    }, TODAY_MS);
    return () => clearInterval(timer);
  }, [open, seen, days, year, month]);
  return { days, silent: known?.silent, error, askAgain };
}

interface Found {
  days: ReadonlySet<number>;
  silent: SilentRecorder[];
}

function joined(answers: RecordedDays[]): Found {
  const days = new Set(answers.flatMap((answer) => answer.days));
  return { days, silent: answers.flatMap((answer) => answer.silent ?? []) };
}

function isReachable({ presence }: Camera): boolean {
  return presence === 'online' || presence === 'active';
}

/** Whether a recording of today would be a new day of the month. */
function mayGrow(month: Month, days: ReadonlySet<number>): boolean {
  const today = new Date();
  const current = monthOf(today);
  const isCurrent = month.year === current.year && month.month === current.month;
  return isCurrent && !days.has(today.getDate());
}

function monthOf(date: Date): Month {
  return { year: date.getFullYear(), month: date.getMonth() + 1 };
}
