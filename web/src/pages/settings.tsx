import { useEffect, useState } from 'preact/hooks';
import { problemText, t } from '../i18n';
import { auth, cameras, info, say, signOut } from '../state';
import { ReleasedRecordings } from '../ui/cloud';
import { NvrList } from '../ui/nvrs';
import { Button, Card, Preferences } from '../ui/parts';

interface InstallPrompt extends Event {
  prompt: () => Promise<unknown>;
}

let installable: InstallPrompt | undefined;
window.addEventListener('beforeinstallprompt', (event) => {
  event.preventDefault();
  installable = event as InstallPrompt;
});

export function SettingsPage() {
  const [busy, setBusy] = useState(false);
  const [install, setInstall] = useState(() => installable !== undefined);
  useEffect(() => setInstall(installable !== undefined), []);
  const user = auth.value.state === 'signed_in' ? auth.value.user : undefined;
  const centre = info.value;
  const leave = async () => {
    setBusy(true);
    try {
      await signOut();
    } catch (error) {
      say(problemText(error), 'bad');
    }
  };
  return (
    <div class="narrow">
      <h1>{t('settings.title')}</h1>
      <Card>
        <Preferences />
      </Card>
      <Card title={t('settings.account')}>
        {user && <p>{t('settings.signed_in_as', { phone: user.phone_masked })}</p>}
        <Button busy={busy} onClick={() => void leave()} testid="sign-out">
          {t('settings.sign_out')}
        </Button>
      </Card>
      <Card title={t('settings.cameras')}>
        {cameras.value?.length ? (
          <ul class="plain-list">
            {cameras.value.map((camera) => (
              <li key={camera.id}>
                <a href={`#/camera/${encodeURIComponent(camera.id)}`}>{camera.name}</a>
              </li>
            ))}
          </ul>
        ) : (
          <p>{t('grid.empty_title')}</p>
        )}
      </Card>
      <NvrList />
      <ReleasedRecordings />
      <Card title={t('settings.install')}>
        {install ? (
          <Button onClick={() => void installable?.prompt()} testid="install">
            {t('settings.install')}
          </Button>
        ) : (
          <p>{t('settings.install_hint')}</p>
        )}
      </Card>
      <Card title={t('settings.trust')}>
        <p>{t('panel.page_honest')}</p>
      </Card>
      {centre && (
        <p class="fine">
          {t('settings.version', {
            operator: centre.operator,
            domain: centre.domain,
            version: centre.version,
          })}
        </p>
      )}
    </div>
  );
}
