import { useEffect, useRef, useState } from 'preact/hooks';
import { isAborted } from '../api/events';
import { t } from '../i18n';
import { Alert } from './parts';

type Detect = (video: HTMLVideoElement) => Promise<string | undefined>;

interface NativeDetector {
  detect: (source: HTMLVideoElement) => Promise<{ rawValue: string }[]>;
}

declare global {
  interface Window {
    BarcodeDetector?: {
      new (options: { formats: string[] }): NativeDetector;
      getSupportedFormats: () => Promise<string[]>;
    };
  }
}

/** Looks at the device's camera until `onText` takes a code (gives no complaint). */
export function QrScanner({ onText }: { onText: (text: string) => string | undefined }) {
  const video = useRef<HTMLVideoElement>(null);
  const [error, setError] = useState<string>();
  useEffect(() => {
    const stop = new AbortController();
    void scan(video.current, onText, setError, stop.signal);
    return () => stop.abort();
  }, []);
  return (
    <div class="scanner" data-testid="scanner">
      <div class="scanner-frame">
        <video ref={video} muted playsInline aria-label={t('bind.scan_aim')} />
      </div>
      <p class="hint">{t('bind.scan_aim')}</p>
      <Alert text={error} />
    </div>
  );
}

async function scan(
  video: HTMLVideoElement | null,
  onText: (text: string) => string | undefined,
  onError: (text: string | undefined) => void,
  signal: AbortSignal,
): Promise<void> {
  if (!video) return;
  let stream: MediaStream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: 'environment', width: { ideal: 1280 } },
    });
  } catch (error) {
    const name = error instanceof DOMException ? error.name : '';
    onError(t(name === 'NotAllowedError' ? 'bind.scan_denied' : 'bind.scan_none'));
    return;
  }
  const stop = () => stream.getTracks().forEach((track) => track.stop());
  if (isAborted(signal)) {
    stop();
    return;
  }
  signal.addEventListener('abort', stop, { once: true });
  video.srcObject = stream;
  await video.play().catch(() => undefined);
  const detect = await detector();
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 120));
    if (isAborted(signal)) return;
    const text = await detect(video).catch(() => undefined);
    if (text === undefined) continue;
    const complaint = onText(text);
    onError(complaint);
    if (complaint === undefined) {
      stop();
      return;
    }
  }
}

/** The browser's own detector where there is one that knows QR, else a library fetched now. */
async function detector(): Promise<Detect> {
  const Native = window.BarcodeDetector;
  const formats = (await Native?.getSupportedFormats().catch(() => [])) ?? [];
  if (Native && formats.includes('qr_code')) {
    const native = new Native({ formats: ['qr_code'] });
    return async (video) => (await native.detect(video))[0]?.rawValue;
  }
  const { default: decodeQR } = await import('qr/decode.js');
  const canvas = document.createElement('canvas');
  const context = canvas.getContext('2d', { willReadFrequently: true });
  return (video) => {
    if (!context || video.videoWidth === 0) return Promise.resolve(undefined);
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    context.drawImage(video, 0, 0);
    const { data, width, height } = context.getImageData(0, 0, canvas.width, canvas.height);
    return Promise.resolve(decodeQR({ data, width, height }));
  };
}
