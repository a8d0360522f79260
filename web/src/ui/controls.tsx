import { useEffect, useState } from 'preact/hooks';
import type { Camera } from '../api/types';
import { t } from '../i18n';
import { fileName, pictureName, Recorder, saveSnapshot } from '../play/recorder';
import type { Lookback } from '../play/lookback';
import type { Watch } from '../play/watch';
import { say } from '../state';
import { Button } from './parts';

interface ControlsProps {
  watch: Watch;
  lookback: Lookback;
  camera: Camera;
  video: { current: HTMLVideoElement | null };
  stage: { current: HTMLDivElement | null };
  hasSound: boolean;
}

/** The buttons under the picture. */
export function Controls({ watch, lookback, camera, video, stage, hasSound }: ControlsProps) {
  const playing = watch.state.value.state === 'playing';
  const looksBack = lookback.state.value.state !== 'live';
  const [muted, setMuted] = useState(true);
  const full = useFullscreen(stage, video);
  const toggleSound = () => {
    if (!video.current) return;
    video.current.muted = !muted;
    lookback.sound.setOn(muted);
    setMuted(!muted);
    void video.current.play().catch(() => undefined);
  };
  const snapshot = () => {
    const picture = looksBack ? lookback.screen.picture() : video.current;
    if (!picture) return;
    const atUs = looksBack ? lookback.atUs.value : undefined;
    void saveSnapshot(picture, pictureName(camera.name, atUs)).then((saved) => {
      if (saved) say(t('player.snapshot_done'));
    });
  };
  const pip = () => {
    const element = video.current;
    if (!element) return;
    if (document.pictureInPictureElement) void document.exitPictureInPicture();
    else void element.requestPictureInPicture().catch((e: unknown) => say(String(e), 'bad'));
  };
  return (
    <div class="controls" role="toolbar" aria-label={t('player.play')}>
      <Button
        tone="ghost"
        icon={muted ? 'muted' : 'sound'}
        disabled={!hasSound}
        label={hasSound ? t(muted ? 'player.unmute' : 'player.mute') : t('player.no_sound')}
        onClick={toggleSound}
        testid="sound"
      />
      <span class="spacer" />
      <RecordButton watch={watch} camera={camera} video={video} playing={playing && !looksBack} />
      <Button
        tone="ghost"
        icon="snapshot"
        label={t('player.snapshot')}
        disabled={!playing && !looksBack}
        onClick={snapshot}
        testid="snapshot"
      />
      {document.pictureInPictureEnabled && (
        <Button
          tone="ghost"
          icon="pip"
          label={t('player.pip')}
          disabled={!playing || looksBack}
          onClick={pip}
          testid="pip"
        />
      )}
      <Button
        tone="ghost"
        icon={full.on ? 'fullscreen_exit' : 'fullscreen'}
        label={t(full.on ? 'player.fullscreen_exit' : 'player.fullscreen')}
        onClick={full.toggle}
        testid="fullscreen"
      />
    </div>
  );
}

function RecordButton(props: {
  watch: Watch;
  camera: Camera;
  video: { current: HTMLVideoElement | null };
  playing: boolean;
}) {
  const [recorder, setRecorder] = useState<Recorder>();
  const [seconds, setSeconds] = useState(0);
  useEffect(() => {
    if (!recorder) return;
    const timer = setInterval(() => setSeconds(recorder.seconds), 500);
    return () => {
      clearInterval(timer);
      void recorder.stop();
    };
  }, [recorder]);
  const start = async () => {
    const stream = props.video.current?.srcObject;
    if (!(stream instanceof MediaStream)) return;
    try {
      const made = await Recorder.start(stream, (extension) =>
        fileName(props.camera.name, extension),
      );
      if (!made) return;
      setSeconds(0);
      setRecorder(made);
      const how = await made.ended;
      setRecorder(undefined);
      say(t(how === 'asked' ? 'player.recorded' : 'player.record_interrupted'));
    } catch (error) {
      setRecorder(undefined);
      const reason = error instanceof Error ? error.message : String(error);
      say(t('player.record_failed', { reason }), 'bad');
    }
  };
  const time = `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`;
  return (
    <>
      {recorder && (
        <span class="recording" role="status" data-testid="recording">
          {t('player.recording', { time })}
        </span>
      )}
      <Button
        tone="ghost"
        icon={recorder ? 'stop' : 'record'}
        label={t(recorder ? 'player.record_stop' : 'player.record')}
        pressed={recorder !== undefined}
        disabled={!props.playing && !recorder}
        onClick={() => void (recorder ? recorder.stop() : start())}
        testid="record"
      />
    </>
  );
}

function useFullscreen(
  stage: { current: HTMLDivElement | null },
  video: { current: HTMLVideoElement | null },
) {
  const [on, setOn] = useState(false);
  useEffect(() => {
    const change = () => setOn(document.fullscreenElement !== null);
    document.addEventListener('fullscreenchange', change);
    return () => document.removeEventListener('fullscreenchange', change);
  }, []);
  const toggle = () => {
    if (document.fullscreenElement) {
      void document.exitFullscreen();
      return;
    }
    const element: (HTMLVideoElement & { webkitEnterFullscreen?: () => void }) | null =
      video.current;
    // Phones of one maker can show only the video itself on the full screen.
    if ('requestFullscreen' in HTMLElement.prototype) {
      void stage.current?.requestFullscreen().catch(() => undefined);
    } else element?.webkitEnterFullscreen?.();
  };
  return { on, toggle };
}
