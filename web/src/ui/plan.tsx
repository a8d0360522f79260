import { useEffect, useState } from 'preact/hooks';
import { api } from '../api/client';
import { toProblem } from '../api/problem';
import type { Camera, PlanState, Strategy } from '../api/types';
import { problemText, t, byteSize } from '../i18n';
import { say } from '../state';
import { Alert, Button, Card, Select } from './parts';

type Mode = 'nothing' | 'main' | 'sub' | 'both' | 'hours' | 'own';

const AGES_DAYS = [0, 1, 3, 7, 14, 30, 90, 365];

/** What is recorded of a camera on its own device, and for how long it stays. */
export function PlanCard({ camera }: { camera: Camera }) {
  const [plan, setPlan] = useState<PlanState>();
  /** Nothing can record this camera. */
  const [absent, setAbsent] = useState(false);
  const [mode, setMode] = useState<Mode>('nothing');
  const [days, setDays] = useState(0);
  const [hours, setHours] = useState<Hours>({ from: '08:00', to: '18:00' });
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  const load = async () => {
    try {
      const { plans } = await api.plans(camera.id);
      const found = plans.find((p) => p.plan.place === 'pu');
      setAbsent(!found);
      setError(undefined);
      if (!found) return;
      setPlan(found);
      setMode(modeOf(found.plan.strategies));
      setHours((before) => hoursOf(found.plan.strategies) ?? before);
      setDays(Math.ceil((found.plan.keep?.max_age_s ?? 0) / 86_400));
    } catch (problem) {
      // What is shown stays: an answer that did not come changes no plan.
      if (toProblem(problem).type === 'not_found') setAbsent(true);
      else setError(problemText(problem));
    }
  };
  const online = camera.presence === 'online' || camera.presence === 'active';
  useEffect(() => {
    if (online) void load();
  }, [camera.id, online]);
  if (absent) return null;
  if (!plan) {
    if (error === undefined) return null;
    return (
      <Card title={t('plan.title')} testid="plan">
        <Alert text={error} />
        <Button onClick={() => void load()} testid="plan-retry">
          {t('app.retry')}
        </Button>
      </Card>
    );
  }
  const save = async () => {
    setBusy(true);
    setError(undefined);
    try {
      const strategies = mode === 'own' ? plan.plan.strategies : strategiesOf(mode, hours);
      const keep = { ...plan.plan.keep, max_age_s: days === 0 ? null : days * 86_400 };
      await api.setPlan(camera.id, 'pu', { seen_revision: plan.plan.revision, strategies, keep });
      say(t('plan.saved'));
      await load();
    } catch (problem) {
      setError(problemText(problem));
    } finally {
      setBusy(false);
    }
  };
  const modes: Mode[] = ['nothing', 'main'];
  if (camera.streams.some((s) => s.tier === 'sub')) modes.push('sub', 'both');
  modes.push('hours');
  if (mode === 'own') modes.push('own');
  return (
    <details class="card manage" data-testid="plan">
      <summary>{t('plan.title')}</summary>
      <p class="fine" role="status" data-testid="plan-now">
        {t(plan.recording.length > 0 ? 'plan.records_now' : 'plan.records_nothing')}
      </p>
      <Select
        label={t('plan.what')}
        value={mode}
        options={modes.map((value) => ({ value, text: t(`plan.mode.${value}`) }))}
        onChange={(value) => setMode(value as Mode)}
        testid="plan-mode"
      />
      {mode === 'hours' && (
        <div class="row">
          {(['from', 'to'] as const).map((end) => (
            <label key={end} class="field">
              <span>{t(`plan.${end}`)}</span>
              <input
                type="time"
                value={hours[end]}
                required
                data-testid={`plan-${end}`}
                onInput={(event) => setHours({ ...hours, [end]: event.currentTarget.value })}
              />
            </label>
          ))}
        </div>
      )}
      <Select
        label={t('plan.keep')}
        value={String(days)}
        options={[...new Set([...AGES_DAYS, days])].map((n) => ({
          value: String(n),
          text: n === 0 ? t('plan.keep_space') : t('plan.keep_days', { days: n }),
        }))}
        onChange={(value) => setDays(Number(value))}
        testid="plan-keep"
      />
      {plan.plan.keep?.max_bytes != null && (
        <p class="fine">{t('plan.max_bytes', { size: byteSize(plan.plan.keep.max_bytes) })}</p>
      )}
      <Button tone="primary" busy={busy} onClick={() => void save()} testid="plan-save">
        {t('plan.save')}
      </Button>
      <Alert text={error} />
    </details>
  );
}

function modeOf(strategies: readonly Strategy[]): Mode {
  if (strategies.length === 0) return 'nothing';
  if (strategies.every((s) => s.trigger.on === 'continuous')) {
    const tiers = new Set(strategies.map((s) => s.tier));
    return tiers.size > 1 ? 'both' : tiers.has('main') ? 'main' : 'sub';
  }
  return hoursOf(strategies) ? 'hours' : 'own';
}

const WEEK = [
  'monday',
  'tuesday',
  'wednesday',
  'thursday',
  'friday',
  'saturday',
  'sunday',
] as const;

interface Hours {
  from: string;
  to: string;
}

/** The same hours of every day, by this person's clock; undefined when it is anything else. */
function hoursOf(strategies: readonly Strategy[]): Hours | undefined {
  const [strategy, more] = strategies;
  if (!strategy || more || strategy.tier !== 'main') return undefined;
  if (strategy.trigger.on !== 'schedule') return undefined;
  const { zone, spans } = strategy.trigger.schedule;
  const [span, another] = spans;
  if (!span || another || span.days.length < WEEK.length || zone !== ownZone()) return undefined;
  // Browsers know no 24:00.
  return { from: span.from, to: span.to === '24:00' ? '00:00' : span.to };
}

function ownZone(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone;
}

function strategiesOf(mode: Mode, hours: Hours): Strategy[] {
  const always = (tier: 'main' | 'sub'): Strategy => ({
    id: `always-${tier}`,
    tier,
    trigger: { on: 'continuous' },
  });
  switch (mode) {
    case 'nothing':
    case 'own':
      return [];
    case 'main':
    case 'sub':
      return [always(mode)];
    case 'both':
      return [always('main'), always('sub')];
    case 'hours': {
      const to = hours.to === '00:00' ? '24:00' : hours.to;
      const schedule = { zone: ownZone(), spans: [{ days: [...WEEK], from: hours.from, to }] };
      return [{ id: 'hours', tier: 'main', trigger: { on: 'schedule', schedule } }];
    }
  }
}
