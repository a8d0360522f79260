import { useEffect, useState } from 'preact/hooks';
import { api } from '../api/client';
import type { CloudDevice } from '../api/types';
import { byteSize, dateTimeRange, problemText, t } from '../i18n';
import { say } from '../state';
import { Alert, Button, Card } from './parts';

/** What lies in the cloud storage of devices that were released: it is shown nowhere else, and takes space. */
export function ReleasedRecordings() {
  const [released, setReleased] = useState<CloudDevice[]>([]);
  const [error, setError] = useState<string>();
  const [busy, setBusy] = useState(false);
  const load = async () => {
    const { devices = [] } = await api.cloudSpace();
    setReleased(devices.filter(({ bound }) => !bound));
  };
  useEffect(() => {
    // Where there is no cloud storage there is nothing to be said of it.
    load().catch(() => undefined);
  }, []);
  const erase = async ({ device }: CloudDevice) => {
    setBusy(true);
    setError(undefined);
    try {
      await api.eraseCloud(device);
      say(t('cloud.erased'));
      await load();
    } catch (problem) {
      setError(problemText(problem));
    } finally {
      setBusy(false);
    }
  };
  if (released.length === 0 && error === undefined) return null;
  return (
    <Card title={t('cloud.released')} testid="cloud-released">
      <ul class="plain-list">
        {released.map((one) => (
          <Row key={one.device} of={one} busy={busy} onErase={() => void erase(one)} />
        ))}
      </ul>
      <Alert text={error} testid="cloud-error" />
    </Card>
  );
}

interface RowProps {
  of: CloudDevice;
  busy: boolean;
  onErase: () => void;
}

function Row({ of, busy, onErase }: RowProps) {
  const [sure, setSure] = useState(false);
  return (
    <li data-testid="cloud-device">
      <p>{dateTimeRange(of, 'minute')}</p>
      <p class="fine">{t('cloud.hint', { size: byteSize(of.bytes) })}</p>
      {sure && <p>{t('cloud.confirm')}</p>}
      <div class="row">
        {sure && <Button onClick={() => setSure(false)}>{t('app.cancel')}</Button>}
        <Button
          tone="danger"
          busy={busy}
          onClick={() => (sure ? onErase() : setSure(true))}
          testid="cloud-erase"
        >
          {t('cloud.erase')}
        </Button>
      </div>
    </li>
  );
}
