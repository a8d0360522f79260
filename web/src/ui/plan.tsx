import { useEffect, useState } from 'preact/hooks';
import { api } from '../api/client';
import { toProblem } from '../api/problem';
import type { Camera, CloudSpace, PlanState, RecordingPlace } from '../api/types';
import { problemText, t, byteSize } from '../i18n';
import {
  AGES_S,
  ageText,
  changeOf,
  modeOf,
  takeOver,
  viewOf,
  type Mode,
  type PlanForm,
  type PlanView,
} from '../plan';
import { say } from '../state';
import { Alert, Button, Select } from './parts';
import { useSeen } from './seen';

/** While the card is open, what holds and what is being recorded is asked for again after this. */
const REFRESH_MS = 5_000;

/** What is said where a plan is carried out: on the camera's own device, on the NVR that records it, or
 * in the cloud storage. */
const WORDS = {
  pu: { title: 'plan.title', absent: 'plan.absent', testid: 'plan' },
  nvr: { title: 'plan.nvr_title', absent: 'plan.nvr_absent', testid: 'nvr-plan' },
  cs: { title: 'plan.cloud_title', absent: 'plan.cloud_absent', testid: 'cloud-plan' },
} as const;

/** What is recorded of a camera at one place, and for how long it stays. */
export function PlanCard({ camera, place }: { camera: Camera; place: RecordingPlace }) {
  const [open, setOpen] = useState(false);
  const plan = usePlan(camera, place, open);
  const { view, setForm, absent, error, refusal, busy, refresh, save } = plan;
  const words = WORDS[place];
  return (
    <details
      class="card manage"
      data-testid={words.testid}
      onToggle={(event) => setOpen(event.currentTarget.open)}
    >
      <summary>{t(words.title)}</summary>
      {place === 'cs' && open && <SpaceLine />}
      {absent && <p class="fine">{t(words.absent)}</p>}
      {!absent && !view && error === undefined && (
        <span class="spinner" aria-label={t('app.loading')} />
      )}
      {!absent && view && (
        <>
          <PlanFields camera={camera} view={view} onChange={setForm} />
          <Button tone="primary" busy={busy} onClick={() => void save()} testid="plan-save">
            {t('plan.save')}
          </Button>
        </>
      )}
      <Alert text={refusal ?? error} testid="plan-error" />
      {error !== undefined && (
        <Button onClick={() => void refresh()} testid="plan-retry">
          {t('app.retry')}
        </Button>
      )}
    </details>
  );
}

/** How much space the person has in the cloud, and uses. */
function SpaceLine() {
  const [space, setSpace] = useState<CloudSpace>();
  useEffect(() => {
    // Without it the plan can be changed all the same.
    api
      .cloudSpace()
      .then(setSpace)
      .catch(() => undefined);
  }, []);
  if (!space?.available) return null;
  const used = byteSize(space.used_bytes);
  return (
    <p class="fine" data-testid="cloud-space">
      {t('plan.cloud_space', { used, quota: byteSize(space.quota_bytes) })}
    </p>
  );
}

/** The plan while it is looked at. */
function usePlan(camera: Camera, place: RecordingPlace, open: boolean) {
  const [view, setView] = useState<PlanView>();
  /** Nothing records this camera. */
  const [absent, setAbsent] = useState(false);
  const [busy, setBusy] = useState(false);
  /** Why it is not known what holds. */
  const [error, setError] = useState<string>();
  /** Why the plan was not saved; it stays until the next try. */
  const [refusal, setRefusal] = useState<string>();
  const seen = useSeen();

  const ask = async (take: (before: PlanView | undefined, found: PlanState) => PlanView) => {
    try {
      const { plans } = await api.plans(camera.id);
      const found = plans.find((p) => p.plan.place === place);
      setAbsent(!found);
      setError(undefined);
      if (found) setView((before) => take(before, found));
    } catch (problem) {
      // What is shown stays: an answer that did not come changes no plan.
      if (toProblem(problem).type === 'not_found') setAbsent(true);
      else setError(problemText(problem));
    }
  };
  /** Shows what holds, whatever the person has begun to change. */
  const reload = () => ask((before, found) => viewOf(found, before?.form.hours));
  const refresh = () => ask(takeOver);
  const online = camera.presence === 'online' || camera.presence === 'active';
  useEffect(() => {
    if (!open || !seen || absent) return;
    void refresh();
    const timer = setInterval(() => void refresh(), REFRESH_MS);
    return () => clearInterval(timer);
  }, [camera.id, online, open, seen, absent]);

  const save = async () => {
    if (!view) return;
    setBusy(true);
    setRefusal(undefined);
    try {
      await api.setPlan(camera.id, place, changeOf(view));
      say(t('plan.saved'));
      await reload();
    } catch (problem) {
      // The next try has to be made from what holds by now.
      if (toProblem(problem).type === 'plan_changed') await reload();
      setRefusal(problemText(problem));
    } finally {
      setBusy(false);
    }
  };
  const setForm = (form: PlanForm) => setView((before) => before && { ...before, form });
  return { view, setForm, absent, error, refusal, busy, refresh, save };
}

interface FieldsProps {
  camera: Camera;
  view: PlanView;
  onChange: (form: PlanForm) => void;
}

function PlanFields({ camera, view: { seen, form }, onChange }: FieldsProps) {
  const modes: Mode[] = ['nothing', 'main'];
  if (camera.streams.some((s) => s.tier === 'sub')) modes.push('sub', 'both');
  modes.push('hours');
  if (modeOf(seen.plan.strategies) === 'own') modes.push('own');
  const ages = [...new Set([...AGES_S, seen.plan.keep?.max_age_s ?? 0])].sort((a, b) => a - b);
  return (
    <>
      <p class="fine" role="status" data-testid="plan-now">
        {t(seen.recording.length > 0 ? 'plan.records_now' : 'plan.records_nothing')}
      </p>
      <Select
        label={t('plan.what')}
        value={form.mode}
        options={modes.map((value) => ({ value, text: t(`plan.mode.${value}`) }))}
        onChange={(value) => onChange({ ...form, mode: value as Mode })}
        testid="plan-mode"
      />
      {seen.plan.strategies.some(({ trigger }) => trigger.on === 'event') && (
        <p class="fine" data-testid="plan-events">
          {t('plan.no_events')}
        </p>
      )}
      {form.mode === 'hours' && <HoursFields form={form} onChange={onChange} />}
      <Select
        label={t('plan.keep')}
        value={String(form.ageS)}
        options={ages.map((ageS) => ({ value: String(ageS), text: ageText(ageS) }))}
        onChange={(value) => onChange({ ...form, ageS: Number(value) })}
        testid="plan-keep"
      />
      {seen.plan.keep?.max_bytes != null && (
        <p class="fine">{t('plan.max_bytes', { size: byteSize(seen.plan.keep.max_bytes) })}</p>
      )}
    </>
  );
}

function HoursFields({ form, onChange }: Pick<FieldsProps, 'onChange'> & { form: PlanForm }) {
  const { hours } = form;
  return (
    <div class="row">
      {(['from', 'to'] as const).map((end) => (
        <label key={end} class="field">
          <span>{t(`plan.${end}`)}</span>
          <input
            type="time"
            value={hours[end]}
            required
            data-testid={`plan-${end}`}
            onInput={(event) =>
              onChange({ ...form, hours: { ...hours, [end]: event.currentTarget.value } })
            }
          />
        </label>
      ))}
    </div>
  );
}
