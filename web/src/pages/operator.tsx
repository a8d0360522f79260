import { useEffect, useState } from 'preact/hooks';
import { api } from '../api/client';
import type { AuditEntry, Subscription, SubscriptionRow } from '../api/types';
import { dateTime, problemText, t } from '../i18n';
import { say } from '../state';
import { Networks } from '../ui/networks';
import { Alert, Button, Card } from '../ui/parts';
import { Relays } from '../ui/relays';

export function OperatorPage() {
  const [rows, setRows] = useState<SubscriptionRow[]>();
  const [audit, setAudit] = useState<AuditEntry[]>();
  const [busy, setBusy] = useState<string>();
  const [error, setError] = useState<string>();
  const [turn, setTurn] = useState(0);
  const load = async () => {
    setError(undefined);
    try {
      const [subscriptions, entries] = await Promise.all([api.subscriptions(), api.audit()]);
      setRows(subscriptions);
      setAudit(entries);
    } catch (problem) {
      setError(problemText(problem));
    }
  };
  useEffect(() => void load(), []);
  const change = async (user: string, subscription: Subscription) => {
    setBusy(user);
    try {
      await api.setSubscription(user, subscription);
      say(t('operator.changed'));
      await load();
    } catch (problem) {
      setError(problemText(problem));
    } finally {
      setBusy(undefined);
    }
  };
  const refresh = () => {
    setTurn(turn + 1);
    void load();
  };
  return (
    <div class="wide operator" data-testid="operator">
      <div class="row between">
        <h1>{t('operator.title')}</h1>
        <Button onClick={refresh} testid="refresh">
          {t('operator.refresh')}
        </Button>
      </div>
      <Alert text={error} />
      <Card title={t('operator.subscriptions')}>
        <Subscriptions rows={rows} busy={busy} onChange={(u, s) => void change(u, s)} />
      </Card>
      <Networks turn={turn} />
      <Relays people={rows} turn={turn} />
      <Card title={t('operator.audit')}>
        <Audit entries={audit} />
      </Card>
    </div>
  );
}

function Subscriptions(props: {
  rows: SubscriptionRow[] | undefined;
  busy: string | undefined;
  onChange: (user: string, subscription: Subscription) => void;
}) {
  if (!props.rows) return <span class="spinner" aria-label={t('app.loading')} />;
  if (props.rows.length === 0) return <p>{t('operator.none')}</p>;
  return (
    <div class="table-scroll" role="region" aria-label={t('operator.subscriptions')} tabIndex={0}>
      <table data-testid="subscriptions">
        <thead>
          <tr>
            <th scope="col">{t('operator.phone')}</th>
            <th scope="col">{t('operator.state')}</th>
            <th scope="col">{t('operator.actions')}</th>
            <th scope="col">{t('operator.since')}</th>
          </tr>
        </thead>
        <tbody>
          {props.rows.map((row) => (
            <tr key={row.user} data-user={row.user}>
              <td>{row.phone_masked}</td>
              <td>
                <span class={`subscription ${row.subscription}`}>
                  {t(`subscription.${row.subscription}`)}
                </span>
              </td>
              <td>
                {row.subscription === 'active' ? (
                  <Button
                    tone="danger"
                    busy={props.busy === row.user}
                    onClick={() => props.onChange(row.user, 'suspended')}
                    testid="suspend"
                  >
                    {t('operator.suspend')}
                  </Button>
                ) : (
                  <Button
                    busy={props.busy === row.user}
                    onClick={() => props.onChange(row.user, 'active')}
                    testid="approve"
                  >
                    {t('operator.approve')}
                  </Button>
                )}
              </td>
              <td>{dateTime(row.since)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Audit({ entries }: { entries: AuditEntry[] | undefined }) {
  if (!entries) return <span class="spinner" aria-label={t('app.loading')} />;
  if (entries.length === 0) return <p>{t('operator.none')}</p>;
  return (
    <div class="table-scroll" role="region" aria-label={t('operator.audit')} tabIndex={0}>
      <table data-testid="audit">
        <thead>
          <tr>
            <th scope="col">{t('operator.time')}</th>
            <th scope="col">{t('operator.action')}</th>
            <th scope="col">{t('operator.outcome')}</th>
            <th scope="col">{t('operator.user')}</th>
            <th scope="col">{t('operator.target')}</th>
          </tr>
        </thead>
        <tbody>
          {entries.map((entry, i) => (
            <tr key={`${entry.at}-${i}`}>
              <td>{dateTime(entry.at)}</td>
              <td>{entry.action}</td>
              <td class={entry.outcome === 'ok' ? 'good' : 'bad'}>{entry.outcome}</td>
              <td class="id">{entry.user ?? ''}</td>
              <td class="id">{entry.target}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
