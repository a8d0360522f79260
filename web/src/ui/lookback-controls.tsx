import { dateOf, t, timeOfDay } from '../i18n';
import { SCALES, type Playback } from '../play/lookback';
import { Button } from './parts';

interface LookbackControlsProps {
  playback: Playback;
  /** Back to the live picture: these controls go away. Absent: there is none. */
  onLive?: () => void;
}

/** One picture of every second, a second each. */
const EACH_SECOND = 'each_second';

/** Pause, single pictures, speed, and back to live. */
export function LookbackControls({ playback, onLive }: LookbackControlsProps) {
  const { state } = playback.state.value;
  const at = playback.atUs.value;
  const runs = state === 'playing' || state === 'seeking' || state === 'caught_up';
  const everySecond = playback.pictures.value === EACH_SECOND;
  const choose = (value: string) => {
    if (value === EACH_SECOND) playback.play(1, EACH_SECOND);
    else playback.play(Number(value), 'fitting');
  };
  return (
    <div class="lookback-controls" role="toolbar" aria-label={t('lookback.title')}>
      <Button
        tone="ghost"
        icon="step_back"
        label={t('lookback.step_back')}
        onClick={() => playback.step(true)}
        testid="step-back"
      />
      <Button
        tone="ghost"
        icon={runs ? 'pause' : 'play'}
        label={t(runs ? 'lookback.pause' : 'lookback.play')}
        onClick={() => (runs ? playback.pause() : playback.play())}
        testid="play-pause"
      />
      <Button
        tone="ghost"
        icon="step"
        label={t('lookback.step')}
        onClick={() => playback.step(false)}
        testid="step"
      />
      <label class="speed">
        <span class="visually-hidden">{t('lookback.speed')}</span>
        <select
          value={everySecond ? EACH_SECOND : String(playback.scale.value)}
          data-testid="speed"
          onChange={(event) => choose(event.currentTarget.value)}
        >
          {SCALES.map((scale) => (
            <option key={scale} value={String(scale)}>
              {scaleText(scale)}
            </option>
          ))}
          <option value={EACH_SECOND}>{t('lookback.each_second')}</option>
        </select>
      </label>
      <time class="wall" data-testid="wall" data-us={at}>
        {at !== undefined && (
          <>
            <span class="date">{dateOf(at)} </span>
            {timeOfDay(at)}
          </>
        )}
      </time>
      <span class="spacer" />
      {onLive && (
        <Button tone="primary" onClick={onLive} testid="go-live">
          {t('lookback.live')}
        </Button>
      )}
    </div>
  );
}

function scaleText(scale: number): string {
  const size = Math.abs(scale);
  const number = size < 1 ? `1/${Math.round(1 / size)}` : String(size);
  return scale < 0 ? `−${number}×` : `${number}×`;
}
