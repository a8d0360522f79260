import { useEffect, useState } from 'preact/hooks';
import { api } from '../api/client';
import { claimFromText, formatClaim, normalizeClaim, CLAIM_LENGTH } from '../identity/claim';
import type { ClaimState } from '../identity/claim';
import { pin } from '../identity/pins';
import { problemText, t } from '../i18n';
import { go } from '../router';
import { loadCameras, putCamera, say } from '../state';
import { Alert, Button, Card } from '../ui/parts';
import { ClaimField } from '../ui/claim-field';
import { QrScanner } from '../ui/qr-scanner';

export function BindPage({ code }: { code: string }) {
  const [typed, setTyped] = useState(() => formatClaim(claimFromText(code)));
  const [check, setCheck] = useState<ClaimState>({ state: 'empty' });
  const [scanning, setScanning] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  useEffect(() => {
    // The code is a secret: it does not stay in the address.
    if (code !== '') history.replaceState(null, '', '#/bind');
  }, [code]);

  const bind = async (complete: ClaimState) => {
    if (complete.state !== 'complete') return;
    setBusy(true);
    setError(undefined);
    try {
      const bound = await api.bind(complete.code);
      if (bound.device.pu !== complete.pu) {
        setError(t('bind.wrong_device'));
        return;
      }
      pin(complete.pu);
      for (const camera of bound.cameras) putCamera(camera);
      void loadCameras();
      const [first, another] = bound.cameras;
      if (!first) {
        // A recorder, most likely: what it records is chosen at each camera.
        say(t('bind.done_recorder'));
        go('#/settings');
        return;
      }
      say(t('bind.done', { name: first.name }));
      const only = another ? undefined : first;
      go(only ? `#/camera/${encodeURIComponent(only.id)}` : '#/');
    } catch (problem) {
      setError(problemText(problem));
    } finally {
      setBusy(false);
    }
  };

  const scanned = (text: string): string | undefined => {
    const found = claimFromText(text);
    if (normalizeClaim(found).length !== CLAIM_LENGTH) return t('bind.scan_foreign');
    setTyped(formatClaim(found));
    setScanning(false);
    return undefined;
  };

  return (
    <div class="narrow">
      <h1>{t('bind.title')}</h1>
      <Card>
        <form
          noValidate
          onSubmit={(event) => {
            event.preventDefault();
            void bind(check);
          }}
        >
          <p>{t('bind.intro')}</p>
          <ClaimField value={typed} onInput={setTyped} onCheck={setCheck} />
          <Alert text={error} />
          <div class="row">
            <Button
              type="submit"
              tone="primary"
              busy={busy}
              disabled={check.state !== 'complete'}
              testid="bind"
            >
              {t('bind.submit')}
            </Button>
            <Button
              icon="qr"
              onClick={() => setScanning(!scanning)}
              pressed={scanning}
              testid="scan"
            >
              {t(scanning ? 'bind.scan_stop' : 'bind.scan')}
            </Button>
          </div>
        </form>
        {scanning && <QrScanner onText={scanned} />}
      </Card>
    </div>
  );
}
