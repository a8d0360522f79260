import { useEffect, useRef, useState } from 'preact/hooks';
import type { Camera } from '../api/types';
import type { Problem } from '../api/problem';
import { problemText, t } from '../i18n';
import { pictureOf, storePicture } from '../play/pictures';
import { Watch } from '../play/watch';
import { onFrames } from './frames';
import { Icon } from './parts';

/**
 * A live picture while the card can be seen: a session that sends keyframes only. What it showed
 * last stays when it is gone. Pictures never leave this page.
 */
export function Thumbnail({ camera }: { camera: Camera }) {
  const box = useRef<HTMLSpanElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const video = useRef<HTMLVideoElement>(null);
  const [problem, setProblem] = useState<Problem | undefined>(undefined);
  const refused = problem?.type === 'security';
  const [shown, setShown] = useState(() => pictureOf(camera.id) !== undefined);
  const visible = useVisible(box);
  const reachable = camera.presence === 'online' || camera.presence === 'active';

  useEffect(() => {
    const kept = pictureOf(camera.id);
    if (kept && canvas.current) copy(kept, canvas.current);
  }, [camera.id]);

  useEffect(() => {
    const element = video.current;
    if (!visible || !reachable || !element) return;
    const watch = new Watch({
      camera,
      quality: { mode: 'keyframes' },
      audio: false,
      clickedMs: performance.now(),
    });
    const stop = onFrames(element, (metadata) => {
      watch.frame(metadata);
      if (!canvas.current) return;
      copy(element, canvas.current);
      storePicture(camera.id, canvas.current);
      setShown(true);
    });
    const unwatch = watch.state.subscribe((now) =>
      setProblem(now.state === 'failed' ? now.problem : undefined),
    );
    watch.onStream = (stream) => {
      element.srcObject = stream;
      void element.play().catch(() => undefined);
    };
    return () => {
      stop();
      unwatch();
      watch.close();
      element.srcObject = null;
    };
  }, [visible, reachable, camera.id]);

  return (
    <span class="thumb" ref={box} data-shown={shown} data-testid="thumbnail">
      <video ref={video} muted playsInline aria-hidden="true" tabIndex={-1} />
      <canvas ref={canvas} aria-hidden="true" hidden={!shown} />
      {refused && (
        <span class="thumb-off security">
          <Icon name="warning" />
          <span>{t('security.title')}</span>
        </span>
      )}
      {!shown && reachable && problem && !refused && (
        <span class="thumb-off">
          <Icon name="camera" />
          <span>{problemText(problem)}</span>
        </span>
      )}
      {!shown && reachable && !problem && <span class="spinner small" />}
      {!reachable && (
        <span class="thumb-off">
          <Icon name="camera" />
          <span>{camera.fault ?? t(`presence.${camera.presence}`)}</span>
        </span>
      )}
    </span>
  );
}

function copy(source: HTMLVideoElement | HTMLCanvasElement, target: HTMLCanvasElement): void {
  const width = source instanceof HTMLVideoElement ? source.videoWidth : source.width;
  const height = source instanceof HTMLVideoElement ? source.videoHeight : source.height;
  if (width === 0 || height === 0) return;
  target.width = Math.min(width, 960);
  target.height = Math.round((target.width * height) / width);
  target.getContext('2d')?.drawImage(source, 0, 0, target.width, target.height);
}

function useVisible(box: { current: Element | null }): boolean {
  const [inView, setInView] = useState(false);
  const [awake, setAwake] = useState(!document.hidden);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const observer = new IntersectionObserver(
      (entries) => setInView(entries.some((e) => e.isIntersecting)),
      { rootMargin: '100px' },
    );
    observer.observe(element);
    const change = () => setAwake(!document.hidden);
    document.addEventListener('visibilitychange', change);
    return () => {
      observer.disconnect();
      document.removeEventListener('visibilitychange', change);
    };
  }, []);
  return inView && awake;
}
