/** What the plan card makes of a recording plan, and back; no browser needed. */

import type { PlanChange, PlanState, RecordingPlan, Strategy } from './api/types';
import { t } from './i18n';

export type Mode = 'nothing' | 'main' | 'sub' | 'both' | 'hours' | 'own';

export interface Hours {
  from: string;
  to: string;
}

/** The fields of the card. */
export interface PlanForm {
  mode: Mode;
  hours: Hours;
  /** How long recordings stay, in seconds; 0: until the space is needed. */
  ageS: number;
}

/** The plan that the person has seen, and what they have made of it. */
export interface PlanView {
  seen: PlanState;
  form: PlanForm;
}

const DAY_S = 86_400;
/** What is offered. */
export const AGES_S = [0, 1, 3, 7, 14, 30, 90, 365].map((days) => days * DAY_S);

const OFFICE_HOURS: Hours = { from: '08:00', to: '18:00' };

/** A plan as it holds; `before`: what the card says of hours when the plan says nothing of them. */
export function viewOf(found: PlanState, before?: Hours): PlanView {
  return { seen: found, form: formOf(found.plan, before) };
}

/** Takes over what holds by now. What the person has begun to change stays, with the revision that
 * they have seen: so saving tells them of a change that they have not. */
export function takeOver(before: PlanView | undefined, found: PlanState): PlanView {
  if (!before) return viewOf(found);
  const { seen, form } = before;
  // An answer may have been under way while another plan was saved.
  if (found.plan.revision < seen.plan.revision) return before;
  if (isSame(form, formOf(seen.plan, form.hours))) return viewOf(found, form.hours);
  return { seen: { ...seen, recording: found.recording }, form };
}

/** What is to be sent. What nobody changed stays as it was, also where the card says less of it. */
export function changeOf({ seen, form }: PlanView): PlanChange {
  const { plan } = seen;
  const shown = formOf(plan, form.hours);
  const keepsWhat = isSame({ ...form, ageS: 0 }, { ...shown, ageS: 0 });
  const strategies = keepsWhat ? plan.strategies : strategiesOf(form.mode, form.hours);
  const change = { seen_revision: plan.revision, strategies };
  if (form.ageS !== shown.ageS) {
    return { ...change, keep: { ...plan.keep, max_age_s: form.ageS === 0 ? null : form.ageS } };
  }
  return plan.keep ? { ...change, keep: plan.keep } : change;
}

/** How long recordings stay, in words. */
export function ageText(ageS: number): string {
  if (ageS === 0) return t('plan.keep_space');
  if (ageS % DAY_S === 0) return t('plan.keep_days', { days: ageS / DAY_S });
  return t('plan.keep_hours', { hours: Math.round(ageS / 360) / 10 });
}

function isSame(a: PlanForm, b: PlanForm): boolean {
  const hours = a.hours.from === b.hours.from && a.hours.to === b.hours.to;
  return a.mode === b.mode && a.ageS === b.ageS && (a.mode !== 'hours' || hours);
}

function formOf(plan: RecordingPlan, before: Hours = OFFICE_HOURS): PlanForm {
  return {
    mode: modeOf(plan.strategies),
    hours: hoursOf(plan.strategies) ?? before,
    ageS: plan.keep?.max_age_s ?? 0,
  };
}

/** How the card calls what is recorded. */
export function modeOf(strategies: readonly Strategy[]): Mode {
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
