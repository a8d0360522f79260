import { useEffect } from 'preact/hooks';
import { t } from '../i18n';
import { pinSource } from '../identity/pins';
import { warmUp } from '../play/signalling';
import { dropSpare, keepSpare } from '../play/spare';
import { route } from '../router';
import { cameras, canBeTogether, live } from '../state';
import { Icon, PresenceBadge } from '../ui/parts';
import { Thumbnail } from '../ui/thumbnail';
import type { Camera } from '../api/types';

export function GridPage() {
  useEffect(() => {
    // What the first play session will need, so that a click finds it ready.
    warmUp();
  }, []);
  const list = cameras.value;
  const sound = list?.some((c) => c.rights.includes('listen') && c.audio) ?? false;
  const some = (list?.length ?? 0) > 0;
  useEffect(() => {
    if (!some) return;
    // After the thumbnails have had their turn, and again before it is too old.
    const first = setTimeout(() => keepSpare(sound), 400);
    const renewal = setInterval(() => keepSpare(sound), 30_000);
    return () => {
      clearTimeout(first);
      clearInterval(renewal);
      // The player that follows takes it; whoever goes elsewhere leaves nothing behind.
      setTimeout(() => route.value.page !== 'grid' && dropSpare(), 2_000);
    };
  }, [some, sound]);
  return (
    <div class="wide">
      <h1 class="visually-hidden">{t('grid.title')}</h1>
      <p class="stale" role="status" hidden={live.value}>
        {live.value ? '' : t('grid.stale')}
      </p>
      {list === undefined && <span class="spinner" aria-label={t('app.loading')} />}
      {list?.length === 0 && (
        <div class="empty" data-testid="no-cameras">
          <Icon name="camera" />
          <h2>{t('grid.empty_title')}</h2>
          <p>{t('grid.empty')}</p>
          <a class="button primary" href="#/bind">
            <Icon name="plus" />
            {t('nav.bind')}
          </a>
        </div>
      )}
      {canBeTogether() && (
        <p class="grid-tools">
          <a class="button" href="#/together" data-testid="nav-together">
            <Icon name="grid" />
            {t('together.title')}
          </a>
        </p>
      )}
      {list && list.length > 0 && (
        <ul class="grid" data-testid="camera-grid">
          {list.map((camera) => (
            <li key={camera.id}>
              <CameraCard camera={camera} />
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

function CameraCard({ camera }: { camera: Camera }) {
  return (
    <a
      class={`camera-card ${camera.presence}`}
      href={`#/camera/${encodeURIComponent(camera.id)}`}
      data-testid="camera-card"
      data-camera={camera.id}
    >
      <Thumbnail camera={camera} />
      <span class="camera-line">
        <span class="camera-name">{camera.name}</span>
        {pinSource(camera.device.pu) === 'code' && (
          <span class="pinned" title={t('grid.code_pinned')}>
            <Icon name="shield" />
            <span class="visually-hidden">{t('grid.code_pinned')}</span>
          </span>
        )}
        <PresenceBadge presence={camera.presence} />
      </span>
    </a>
  );
}
