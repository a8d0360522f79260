import { useEffect, useRef } from 'preact/hooks';
import type { Camera } from '../api/types';
import { problemText, t } from '../i18n';
import type { Lookback, LookbackState } from '../play/lookback';
import type { Watch } from '../play/watch';
import { Button, Icon } from './parts';

function LookbackStatus({ back }: { back: LookbackState }) {
  let text = '';
  if (back.state === 'failed') text = problemText(back.problem);
  else if (back.state === 'seeking' || back.state === 'ended' || back.state === 'caught_up') {
    text = t(`lookback.${back.state}`);
  }
  return (
    <div
      class={text === '' ? 'overlay playing' : 'overlay'}
      role="status"
      aria-live="polite"
      data-testid="lookback-state"
      data-state={back.state}
    >
      {text !== '' && <p>{text}</p>}
    </div>
  );
}

/** The picture of a recording, over the live one. */
export function RecordedPicture({ lookback, name }: { lookback: Lookback; name: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const on = lookback.state.value.state !== 'live';
  useEffect(() => {
    lookback.screen.attach(on ? (canvas.current ?? undefined) : undefined);
    return () => lookback.screen.attach(undefined);
  }, [on]);
  return (
    <canvas
      ref={canvas}
      class="recorded"
      role="img"
      aria-label={name}
      hidden={!on}
      data-testid="recorded"
    />
  );
}

interface OverlayProps {
  watch: Watch;
  camera: Camera;
  lookback: Lookback;
}

/** What is going on, over the picture; nothing while it plays. */
export function StateOverlay({ watch, camera, lookback }: OverlayProps) {
  const back = lookback.state.value;
  // A recording may come from elsewhere, whatever has become of the live picture.
  const session = back.state === 'live' ? watch : lookback.source.value;
  const now = session.state.value;
  // What was recorded is there while the camera is away.
  const inCloud = lookback.place.value === 'cs';
  const works = inCloud || now.state === 'playing' || now.state === 'no_camera';
  if (back.state !== 'live' && works) return <LookbackStatus back={back} />;
  if (now.state === 'failed' && now.problem.type === 'security') {
    return (
      <div class="overlay security" role="alert" data-testid="security-alert">
        <Icon name="warning" />
        <h2>{t('security.title')}</h2>
        <p>{t('security.text')}</p>
        <p class="fine">{now.problem.detail}</p>
      </div>
    );
  }
  let text = t(`state.${now.state}`);
  if (now.state === 'waiting' || now.state === 'failed') text = problemText(now.problem);
  const fault = now.state === 'no_camera' ? now.detail : camera.fault;
  return (
    <div
      class={`overlay ${now.state}`}
      role="status"
      aria-live="polite"
      data-testid="play-state"
      data-state={now.state}
    >
      {now.state === 'playing' ? (
        <span class="visually-hidden">{text}</span>
      ) : (
        <>
          {now.state !== 'failed' && <span class="spinner" />}
          <p>{text}</p>
          {now.state !== 'connecting' && fault && <p class="fine">{fault}</p>}
          {now.state === 'waiting' && <p class="fine">{t('state.waiting')}</p>}
          {(now.state === 'waiting' || now.state === 'failed') && (
            <Button onClick={() => session.retry()} testid="retry">
              {t('app.retry')}
            </Button>
          )}
        </>
      )}
    </div>
  );
}
