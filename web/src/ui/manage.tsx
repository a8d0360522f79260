import { useRef, useState } from 'preact/hooks';
import { api } from '../api/client';
import type { Camera } from '../api/types';
import { unpin } from '../identity/pins';
import { problemText, t } from '../i18n';
import { go } from '../router';
import { cameras, putCamera, say } from '../state';
import { Alert, Button, Field } from './parts';

/** New name, or good-bye. */
export function Manage({ camera }: { camera: Camera }) {
  const [name, setName] = useState(camera.name);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  const dialog = useRef<HTMLDialogElement>(null);
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
  const rename = () =>
    guard(async () => {
      putCamera(await api.rename(camera.id, name.trim()));
      say(t('player.renamed'));
    });
  const release = () =>
    guard(async () => {
      dialog.current?.close();
      await api.release(camera.device.pu);
      unpin(camera.device.pu);
      cameras.value = cameras.value?.filter((c) => c.device.pu !== camera.device.pu);
      say(t('player.released', { name: camera.name }));
      go('#/');
    });
  const changed = name.trim() !== camera.name && name.trim() !== '';
  return (
    <details class="card manage" data-testid="manage">
      <summary>{t('player.manage')}</summary>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (changed) void rename();
        }}
      >
        <Field
          label={t('player.name')}
          input={{
            value: name,
            maxLength: 64,
            required: true,
            'data-testid': 'camera-name',
            onInput: (event) => setName(event.currentTarget.value),
          }}
        />
        <div class="row">
          <Button type="submit" disabled={!changed} busy={busy} testid="rename">
            {t('player.rename')}
          </Button>
          <Button tone="danger" onClick={() => dialog.current?.showModal()} testid="release">
            {t('player.release')}
          </Button>
        </div>
      </form>
      <Alert text={error} />
      <dialog ref={dialog} aria-label={t('player.release')}>
        <p>{t('player.release_confirm', { name: camera.name })}</p>
        <div class="row end">
          <Button onClick={() => dialog.current?.close()}>{t('app.cancel')}</Button>
          <Button tone="danger" onClick={() => void release()} testid="release-confirm">
            {t('player.release')}
          </Button>
        </div>
      </dialog>
    </details>
  );
}
