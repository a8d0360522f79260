import { useEffect, useState } from 'preact/hooks';
import { api } from '../api/client';
import { t, monthName } from '../i18n';
import type { Stretch } from '../timeline';
import { Button, Icon } from './parts';

/** A month, its days with recordings to be picked. */
export function Calendar({ camera, onPick }: { camera: string; onPick: (day: Stretch) => void }) {
  const today = new Date();
  const [month, setMonth] = useState({ year: today.getFullYear(), month: today.getMonth() + 1 });
  const [days, setDays] = useState<ReadonlySet<number>>(new Set());
  useEffect(() => {
    const abort = new AbortController();
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    setDays(new Set());
    api
      .recordedDays(camera, zone, month.year, month.month, abort.signal)
      .then((found) => setDays(new Set(found.days)))
      .catch(() => undefined);
    return () => abort.abort();
  }, [camera, month.year, month.month]);
  const turn = (by: number) => {
    const date = new Date(month.year, month.month - 1 + by, 1);
    setMonth({ year: date.getFullYear(), month: date.getMonth() + 1 });
  };
  const first = new Date(month.year, month.month - 1, 1);
  const count = new Date(month.year, month.month, 0).getDate();
  // Weeks begin on Monday (ISO 8601).
  const blanks = (first.getDay() + 6) % 7;
  const pick = (day: number) => {
    const from = new Date(month.year, month.month - 1, day).getTime() * 1_000;
    const to = new Date(month.year, month.month - 1, day + 1).getTime() * 1_000;
    onPick({ from, to });
  };
  return (
    <details class="card calendar" data-testid="calendar">
      <summary>{t('calendar.title')}</summary>
      <div class="row">
        <Button tone="ghost" icon="back" label={t('calendar.earlier')} onClick={() => turn(-1)} />
        <span class="spacer centred">{monthName(first)}</span>
        <Button tone="ghost" label={t('calendar.later')} onClick={() => turn(1)}>
          <span class="turned">
            <Icon name="back" />
          </span>
        </Button>
      </div>
      <div class="days" role="group" aria-label={monthName(first)}>
        {Array.from({ length: blanks }, (_, n) => (
          <span key={`b${n}`} />
        ))}
        {Array.from({ length: count }, (_, n) => n + 1).map((day) => (
          <button
            key={day}
            type="button"
            class={days.has(day) ? 'day has' : 'day'}
            disabled={!days.has(day)}
            aria-label={t(days.has(day) ? 'calendar.day' : 'calendar.no_day', { day })}
            data-testid={`day-${day}`}
            onClick={() => pick(day)}
          >
            {day}
          </button>
        ))}
      </div>
    </details>
  );
}
