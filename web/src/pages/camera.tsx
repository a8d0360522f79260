import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { Camera } from '../api/types';
import { pictureOf, storePicture } from '../play/pictures';
import { cloudStore } from '../play/cloud/store';
import { Lookback } from '../play/lookback';
import { Watch } from '../play/watch';
import type { Stretch } from '../timeline';
import { Calendar } from '../ui/calendar';
import { LookbackControls } from '../ui/lookback-controls';
import { PlanCard } from '../ui/plan';
import { TimelineStrip } from '../ui/timeline';
import { exposeWatch } from '../debug';
import { t } from '../i18n';
import { go, navigationStartMs, togetherHash } from '../router';
import { cameras, canBeTogether } from '../state';
import { Controls } from '../ui/controls';
import { onFrames } from '../ui/frames';
import { Manage } from '../ui/manage';
import { NvrCard } from '../ui/nvrs';
import { RecordedPicture, StateOverlay } from '../ui/overlay';
import { Button, Icon, PresenceBadge } from '../ui/parts';
import { QualityMenu } from '../ui/quality';
import { Panel } from '../ui/panel';

export function CameraPage({ id }: { id: string }) {
  const list = cameras.value;
  const camera = list?.find((c) => c.id === id);
  if (!list) return <span class="spinner" aria-label={t('app.loading')} />;
  if (!camera) return <p class="empty">{t('problem.not_found')}</p>;
  return <Player key={camera.id} camera={camera} />;
}

function Player({ camera }: { camera: Camera }) {
  const video = useRef<HTMLVideoElement>(null);
  const poster = useRef<HTMLCanvasElement>(null);
  const stage = useRef<HTMLDivElement>(null);
  const [pictured, setPictured] = useState(false);
  const mayListen = camera.rights.includes('listen') && Boolean(camera.audio);
  const watch = useMemo(
    () =>
      new Watch({
        camera,
        quality: { mode: 'auto' },
        audio: mayListen,
        clickedMs: navigationStartMs(),
      }),
    [],
  );

  const lookback = useMemo(() => new Lookback(watch, cloudStore(camera.id)), []);
  const [day, setDay] = useState<Stretch>();
  /** Something records this camera, as far as is known. */
  const [recorded, setRecorded] = useState(true);
  /** Counts changes of who records it: each may have made the answer to that another one. */
  const [recorders, setRecorders] = useState(0);
  const strip = useRef<HTMLDivElement>(null);
  const settled = useSettled(watch, pictured);
  const mayLookBack = camera.rights.includes('playback');
  const goLive = () => {
    lookback.live();
    // The button that had the focus goes away.
    strip.current?.focus({ preventScroll: true });
  };

  // Effects wait for the next frame: of a page that is left before, none would end the session.
  useLayoutEffect(() => {
    const element = video.current;
    return () => {
      // Before the session ends: the element of an ended stream is black.
      if (element && watch.state.value.state === 'playing') keepPicture(camera.id, element);
      lookback.close();
      watch.close();
    };
  }, []);

  useEffect(() => {
    const element = video.current;
    if (!element) return;
    const kept = pictureOf(camera.id);
    if (kept && poster.current) draw(kept, poster.current);
    watch.onStream = (stream) => {
      element.srcObject = stream;
      void element.play().catch(() => undefined);
    };
    const stop = onFrames(element, (metadata) => {
      watch.frame(metadata);
      setPictured(true);
    });
    const withdraw = exposeWatch(watch, lookback, element, camera);
    return () => {
      stop();
      withdraw();
      element.srcObject = null;
    };
  }, []);

  // Presence that comes back is the best moment to try again.
  const presence = camera.presence;
  useEffect(() => {
    if (presence === 'online' || presence === 'active') watch.retry();
  }, [presence]);

  return (
    <div class="camera-page">
      <div class="camera-head">
        <a class="button ghost icon-only" href="#/" aria-label={t('app.back')} data-testid="back">
          <Icon name="back" />
        </a>
        <h1>{camera.name}</h1>
        <PresenceBadge presence={camera.presence} />
      </div>
      <div class="player" ref={stage} data-testid="player">
        <canvas ref={poster} class="poster" aria-hidden="true" hidden={pictured} />
        <video
          ref={video}
          muted
          playsInline
          autoplay
          aria-label={camera.name}
          data-testid="video"
        />
        <RecordedPicture lookback={lookback} name={camera.name} />
        <StateOverlay watch={watch} camera={camera} lookback={lookback} />
        <Controls
          watch={watch}
          lookback={lookback}
          camera={camera}
          video={video}
          stage={stage}
          hasSound={mayListen}
        />
      </div>
      {mayLookBack && (
        <div class="recordings">
          {lookback.state.value.state !== 'live' && (
            <LookbackControls playback={lookback} onLive={goLive} />
          )}
          <TimelineStrip
            key={recorders}
            camera={camera}
            lookback={lookback}
            day={day}
            asks={settled}
            strip={strip}
            onAbsent={() => setRecorded(false)}
          />
          {recorded && canBeTogether() && (
            <Button
              icon="grid"
              onClick={() => go(togetherHash([camera.id], lookback.atUs.peek()))}
              testid="together"
            >
              {t('together.with')}
            </Button>
          )}
        </div>
      )}
      <aside class="side">
        <QualityMenu watch={watch} />
        <Panel watch={watch} camera={camera} />
        {mayLookBack && recorded && <Calendar cameras={[camera]} onPick={setDay} />}
        {camera.rights.includes('manage') && recorded && (
          <PlanCard key={recorders} camera={camera} place="pu" />
        )}
        {camera.rights.includes('manage') && (
          <NvrCard
            camera={camera}
            onChange={() => {
              setRecorded(true);
              setRecorders((n) => n + 1);
            }}
          />
        )}
        {camera.rights.includes('manage') && <PlanCard camera={camera} place="cs" />}
        {camera.rights.includes('manage') && <Manage camera={camera} />}
      </aside>
    </div>
  );
}

/** Whether the live picture is there, or will not come for now: nothing that is asked delays it. */
function useSettled(watch: Watch, pictured: boolean): boolean {
  const [settled, setSettled] = useState(false);
  const { state } = watch.state.value;
  const inVain = state === 'waiting' || state === 'failed' || state === 'no_camera';
  const begins = pictured || inVain;
  useEffect(() => {
    if (begins) setSettled(true);
  }, [begins]);
  return settled;
}

function keepPicture(camera: string, video: HTMLVideoElement): void {
  if (video.videoWidth === 0) return;
  const canvas = document.createElement('canvas');
  canvas.width = Math.min(video.videoWidth, 960);
  canvas.height = Math.round((canvas.width * video.videoHeight) / video.videoWidth);
  canvas.getContext('2d')?.drawImage(video, 0, 0, canvas.width, canvas.height);
  storePicture(camera, canvas);
}

function draw(source: HTMLCanvasElement, target: HTMLCanvasElement): void {
  target.width = source.width;
  target.height = source.height;
  target.getContext('2d')?.drawImage(source, 0, 0);
}
