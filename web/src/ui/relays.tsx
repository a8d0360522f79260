import { api } from '../api/client';
import type { SubscriptionRow } from '../api/types';
import { bitRate, dateTime, t } from '../i18n';
import { byteCount, percent, relays, usageByUser, type Relay, type UserUsage } from './figures';
import { useLoaded } from './loaded';
import { Alert, Card } from './parts';
import { Cell, Table } from './table';

const USAGE_DAYS = 30;
/** The centre gives no more sessions at a time. */
const MOST_SESSIONS = 500;

interface RelaysProps {
  /** For the numbers of users. */
  people: SubscriptionRow[] | undefined;
  /** Asks anew when it changes. */
  turn: number;
}

/** The relays that run, and who had how much relayed. */
export function Relays({ people, turn }: RelaysProps) {
  const mtus = useLoaded(api.mtus, [turn]);
  const usage = useLoaded(() => api.usage(USAGE_DAYS), [turn]);
  const name = (user: string | undefined) =>
    people?.find((person) => person.user === user)?.phone_masked ?? user ?? t('relays.nobody');
  return (
    <Card title={t('relays.title')} testid="relays">
      <Alert text={mtus.error} testid="mtus-error" />
      {!mtus.error && (
        <Table
          label={t('relays.title')}
          testid="mtus-table"
          heads={[
            t('relays.mtu'),
            t('operator.state'),
            t('relays.load'),
            t('relays.now'),
            t('relays.capacity'),
            t('relays.allocations'),
            t('relays.relayed', { days: USAGE_DAYS }),
          ]}
          empty={t('relays.no_mtu')}
          rows={mtus.value && relays(mtus.value, usage.value?.mtus)}
          row={(row) => <Mtu key={row.mtu} row={row} />}
        />
      )}
      <h3>{t('relays.usage', { days: USAGE_DAYS })}</h3>
      <Alert text={usage.error} testid="usage-error" />
      {usage.value?.sessions.length === MOST_SESSIONS && (
        <p class="fine">{t('relays.cut', { count: MOST_SESSIONS })}</p>
      )}
      {!usage.error && (
        <Table
          label={t('relays.usage', { days: USAGE_DAYS })}
          testid="usage-table"
          heads={[
            t('operator.user'),
            t('networks.sessions'),
            t('networks.relayed'),
            t('relays.held'),
            t('relays.last'),
          ]}
          empty={t('relays.no_usage')}
          rows={usage.value && usageByUser(usage.value.sessions)}
          row={(row) => <Usage key={row.user ?? ''} row={row} name={name(row.user)} />}
        />
      )}
    </Card>
  );
}

function stateOf({ now }: Relay) {
  if (!now) return 'gone';
  if (now.draining) return 'draining';
  return now.accepting ? 'serving' : 'full';
}

function Mtu({ row }: { row: Relay }) {
  const { now } = row;
  const state = stateOf(row);
  return (
    <tr data-mtu={row.mtu}>
      <Cell head={t('relays.mtu')} kind="key">
        {row.mtu}
      </Cell>
      <Cell head={t('operator.state')} kind="words">
        <span class={`mtu ${state}`}>{t(`mtu.${state}`)}</span>
      </Cell>
      <Cell head={t('relays.load')} kind="number">
        {now ? percent(now.load) : '–'}
        {now && <progress max={1} value={now.load} aria-hidden="true" />}
      </Cell>
      <Cell head={t('relays.now')} kind="number">
        {now ? bitRate(now.relayed_bps) : '–'}
      </Cell>
      <Cell head={t('relays.capacity')} kind="number">
        {now?.capacity_bps ? bitRate(now.capacity_bps) : '–'}
      </Cell>
      <Cell head={t('relays.allocations')} kind="number">
        {now?.allocations ?? '–'}
      </Cell>
      <Cell head={t('relays.relayed', { days: USAGE_DAYS })} kind="number">
        {row.bytes === undefined ? '–' : byteCount(row.bytes)}
      </Cell>
    </tr>
  );
}

function Usage({ row, name }: { row: UserUsage; name: string }) {
  const minutes = Math.round(row.allocatedS / 60);
  return (
    <tr>
      <Cell head={t('operator.user')} kind="key">
        {name}
      </Cell>
      <Cell head={t('networks.sessions')} kind="number">
        {row.sessions}
      </Cell>
      <Cell head={t('networks.relayed')} kind="number">
        {byteCount(row.bytes)}
      </Cell>
      <Cell head={t('relays.held')} kind="number">
        {t('relays.hours', { hours: Math.floor(minutes / 60), minutes: minutes % 60 })}
      </Cell>
      <Cell head={t('relays.last')} kind="number">
        {dateTime(row.last)}
      </Cell>
    </tr>
  );
}
