import { useState } from 'preact/hooks';
import { api } from '../api/client';
import type { NetworkRow, NetworkSide } from '../api/types';
import { t } from '../i18n';
import { byteCount, directShare, firstFrame, percent } from './figures';
import { useLoaded } from './loaded';
import { Alert, Card, Select } from './parts';
import { Cell, Table } from './table';

const DAYS = [1, 7, 30, 90];

/** How sessions reach their viewers, by network. `turn` asks anew when it changes. */
export function Networks({ turn }: { turn: number }) {
  const [side, setSide] = useState<NetworkSide>('viewer');
  const [days, setDays] = useState(7);
  const { value, error } = useLoaded(() => api.networks(side, days), [side, days, turn]);
  return (
    <Card title={t('networks.title')} testid="networks">
      <p class="fine">{t('networks.intro')}</p>
      <div class="filters">
        <Select
          label={t('networks.side')}
          value={side}
          options={(['viewer', 'pu'] as const).map((of) => ({ value: of, text: t(`side.${of}`) }))}
          onChange={(of) => setSide(of as NetworkSide)}
          testid="networks-side"
        />
        <Select
          label={t('networks.period')}
          value={String(days)}
          options={DAYS.map((n) => ({ value: String(n), text: t('networks.days', { days: n }) }))}
          onChange={(n) => setDays(Number(n))}
          testid="networks-days"
        />
      </div>
      <Alert text={error} testid="networks-error" />
      {!error && (
        <Table
          label={t('networks.title')}
          testid="networks-table"
          heads={[
            t('networks.network'),
            t('networks.sessions'),
            t('networks.direct'),
            t('networks.rungs'),
            t('networks.first_frame'),
            t('networks.relayed'),
            t('networks.why'),
          ]}
          empty={t('networks.none')}
          rows={value}
          row={(row) => <Row key={row.network} row={row} />}
        />
      )}
    </Card>
  );
}

function Row({ row }: { row: NetworkRow }) {
  const [share, frame] = [directShare(row), firstFrame(row)];
  return (
    <tr data-network={row.network}>
      <Cell head={t('networks.network')} kind="key">
        {row.network === 'other' ? t('networks.other') : row.network}
      </Cell>
      <Cell head={t('networks.sessions')} kind="number">
        {row.sessions}
      </Cell>
      <Cell head={t('networks.direct')} kind="number">
        {share === undefined ? '–' : percent(share)}
        {share !== undefined && <progress max={1} value={share} aria-hidden="true" />}
      </Cell>
      <Cell head={t('networks.rungs')} kind="words">
        {row.rungs.map(({ rung, sessions }) => (
          <Count key={rung} name={t(`rung_short.${rung}`)} count={sessions} />
        ))}
      </Cell>
      <Cell head={t('networks.first_frame')} kind="number">
        {frame ? `${frame.p50_ms} / ${frame.p95_ms} ms` : '–'}
      </Cell>
      <Cell head={t('networks.relayed')} kind="number">
        {byteCount(row.relayed_bytes)}
      </Cell>
      <Cell head={t('networks.why')} kind="words">
        {row.relay_causes.length === 0
          ? '–'
          : row.relay_causes.map(({ cause, sessions }) => (
              <Count key={cause} name={t(`cause.${cause}`)} count={sessions} />
            ))}
      </Cell>
    </tr>
  );
}

function Count({ name, count }: { name: string; count: number }) {
  return (
    <span class="count">
      {name} <b>{count}</b>
    </span>
  );
}
