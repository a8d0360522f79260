import { useEffect, useState } from 'preact/hooks';
import { api } from '../api/client';
import type { Camera, Nvr } from '../api/types';
import { unpin } from '../identity/pins';
import { byteSize, problemText, t } from '../i18n';
import { cameras, say } from '../state';
import { Alert, Button, Card, Select } from './parts';
import { PlanCard } from './plan';

/** So many characters of an id tell one recorder from the other. */
const SHORT_ID = 6;

/** How a recorder is called: it has no name but its id. */
function nvrName(nvr: Nvr): string {
  return t('nvr.name', { id: nvr.device.pu.slice(0, SHORT_ID) });
}

/** The user's recorders; `undefined` until they are known. */
function useNvrs(wanted: boolean) {
  const [nvrs, setNvrs] = useState<Nvr[]>();
  const [error, setError] = useState<string>();
  const [busy, setBusy] = useState(false);
  const load = async () => {
    setNvrs(await api.nvrs());
    setError(undefined);
  };
  /** Does something, and shows what holds after it. */
  const guard = async (work: () => Promise<void>) => {
    setBusy(true);
    setError(undefined);
    try {
      await work();
    } catch (problem) {
      setError(problemText(problem));
    } finally {
      setBusy(false);
    }
  };
  useEffect(() => {
    if (wanted) void guard(load);
  }, [wanted]);
  return { nvrs, error, busy, guard, load };
}

interface NvrFieldProps {
  camera: Camera;
  /** Another recorder, or none. */
  onChange: () => void;
}

/** Which recorder records a camera besides its own device. */
export function NvrCard({ camera, onChange }: NvrFieldProps) {
  const [open, setOpen] = useState(false);
  const { nvrs, error, busy, guard, load } = useNvrs(open);
  const others = nvrs?.filter((nvr) => nvr.device.pu !== camera.device.pu);
  const now = others?.find((nvr) => nvr.records.some((of) => of.camera === camera.id));
  const choose = (pu: string) =>
    guard(async () => {
      if (now) await api.unrelate(now.device.pu, camera.id);
      try {
        if (pu !== '') {
          const told = await api.relate(pu, camera.id);
          say(t(told.nvr_told && told.pu_told ? 'nvr.related' : 'nvr.related_later'));
        }
      } finally {
        // The first half may have been done.
        await load();
        onChange();
      }
    });
  return (
    <details
      class="card manage"
      data-testid="nvr"
      onToggle={(event) => setOpen(event.currentTarget.open)}
    >
      <summary>{t('nvr.title')}</summary>
      {!others && error === undefined && <span class="spinner" aria-label={t('app.loading')} />}
      {others?.length === 0 && (
        <p class="fine">
          {t('nvr.none')} <a href="#/bind">{t('nav.bind')}</a>
        </p>
      )}
      {others && others.length > 0 && (
        <>
          <Select
            label={t('nvr.which')}
            value={now?.device.pu ?? ''}
            options={[
              { value: '', text: t('nvr.no_one') },
              ...others.map((nvr) => ({ value: nvr.device.pu, text: nvrName(nvr) })),
            ]}
            onChange={(value) => void choose(value)}
            disabled={busy}
            testid="nvr-choice"
          />
          <p class="fine">{t(now ? 'nvr.plan_hint' : 'nvr.hint')}</p>
          {now && <PlanCard key={now.device.pu} camera={camera} place="nvr" />}
        </>
      )}
      <Alert text={error} testid="nvr-error" />
    </details>
  );
}

/** All recorders of the user: how they are, what they record, and good-bye. */
export function NvrList() {
  const { nvrs, error, busy, guard, load } = useNvrs(true);
  if (!nvrs?.length && error === undefined) return null;
  const release = (nvr: Nvr) =>
    guard(async () => {
      await api.release(nvr.device.pu);
      unpin(nvr.device.pu);
      say(t('player.released', { name: nvrName(nvr) }));
      await load();
    });
  return (
    <Card title={t('nvr.list')} testid="nvrs">
      <ul class="plain-list">
        {nvrs?.map((nvr) => (
          <NvrRow key={nvr.device.pu} nvr={nvr} busy={busy} onRelease={() => void release(nvr)} />
        ))}
      </ul>
      <Alert text={error} testid="nvrs-error" />
    </Card>
  );
}

interface NvrRowProps {
  nvr: Nvr;
  busy: boolean;
  onRelease: () => void;
}

function NvrRow({ nvr, busy, onRelease }: NvrRowProps) {
  const [sure, setSure] = useState(false);
  const names = nvr.records.map(
    ({ camera }) => cameras.value?.find((c) => c.id === camera)?.name ?? camera,
  );
  return (
    <li data-testid="nvr-row">
      <p>
        {nvrName(nvr)}: {t(nvr.online ? 'presence.online' : 'presence.offline')}
      </p>
      {nvr.storage && (
        <p class="fine">
          {t(`storage.${nvr.storage.state}`)}{' '}
          {t('nvr.recorded', { size: byteSize(nvr.storage.recorded_bytes) })}
        </p>
      )}
      <p class="fine">
        {names.length > 0
          ? t('nvr.records', { cameras: names.join(', ') })
          : t('nvr.records_nothing')}
      </p>
      {sure && <p>{t('nvr.release_confirm')}</p>}
      <div class="row">
        {sure && <Button onClick={() => setSure(false)}>{t('app.cancel')}</Button>}
        <Button
          tone="danger"
          busy={busy}
          onClick={() => (sure ? onRelease() : setSure(true))}
          testid="nvr-release"
        >
          {t('nvr.release')}
        </Button>
      </div>
    </li>
  );
}
