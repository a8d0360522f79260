import { t, dateTime } from '../i18n';
import { SCALES, type Lookback } from '../play/lookback';
import { Button } from './parts';

interface LookbackControlsProps {
  lookback: Lookback;
  /** Back to the live picture: these controls go away. */
  onLive: () => void;
}

/** Pause, single pictures, speed, and back to live. */
export function LookbackControls({ lookback, onLive }: LookbackControlsProps) {
  const { state } = lookback.state.value;
  const at = lookback.atUs.value;
  const runs = state === 'playing' || state === 'seeking' || state === 'caught_up';
  return (
    <div class="lookback-controls" role="toolbar" aria-label={t('lookback.title')}>
      <Button
        tone="ghost"
        icon="step_back"
        label={t('lookback.step_back')}
        onClick={() => lookback.step(true)}
        testid="step-back"
      />
      <Button
        tone="ghost"
        icon={runs ? 'pause' : 'play'}
        label={t(runs ? 'lookback.pause' : 'lookback.play')}
        onClick={() => (runs ? lookback.pause() : lookback.play())}
        testid="play-pause"
      />
      <Button
        tone="ghost"
        icon="step"
        label={t('lookback.step')}
        onClick={() => lookback.step(false)}
        testid="step"
      />
      <label class="speed">
        <span class="visually-hidden">{t('lookback.speed')}</span>
        <select
          value={String(lookback.scale.value)}
          data-testid="speed"
          onChange={(event) => lookback.play(Number(event.currentTarget.value))}
        >
          {SCALES.map((scale) => (
            <option key={scale} value={String(scale)}>
              {scaleText(scale)}
            </option>
          ))}
        </select>
      </label>
      <time class="wall" data-testid="wall" data-us={at}>
        {at === undefined ? '' : dateTime(at)}
      </time>
      <span class="spacer" />
      <Button tone="primary" onClick={onLive} testid="go-live">
        {t('lookback.live')}
      </Button>
    </div>
  );
}

function scaleText(scale: number): string {
  const size = Math.abs(scale);
  const number = size < 1 ? `1/${Math.round(1 / size)}` : String(size);
  return scale < 0 ? `−${number}×` : `${number}×`;
}
