import { t } from '../i18n';
import type { QualityChoice } from '../play/messages';
import type { Watch } from '../play/watch';
import { Select } from './parts';

const SIZES = {
  cif: { width: 352, height: 288 },
  d1: { width: 704, height: 576 },
  '720p': { width: 1280, height: 720 },
} as const;

const RATES = [1, 5, 10, 15, 25];

type Name = 'auto' | 'main' | 'sub' | keyof typeof SIZES;

/** What the menu shows for a choice. */
export function nameOf(choice: QualityChoice): { name: Name; fps: number } {
  switch (choice.mode) {
    case 'auto':
    case 'keyframes':
      return { name: 'auto', fps: 25 };
    case 'tier':
      return { name: choice.tier, fps: 25 };
    case 'exact': {
      const found = Object.entries(SIZES).find(([, size]) => size.width === choice.width);
      return { name: (found?.[0] ?? 'cif') as Name, fps: choice.fps };
    }
  }
}

/** The choice that the menu's two lists stand for (A6.1.3). */
export function choiceOf(name: string, fps: number): QualityChoice {
  if (name === 'main' || name === 'sub') return { mode: 'tier', tier: name };
  if (name in SIZES) return { mode: 'exact', ...SIZES[name as keyof typeof SIZES], fps };
  return { mode: 'auto' };
}

export function QualityMenu({ watch }: { watch: Watch }) {
  const { name, fps } = nameOf(watch.quality.value);
  const names: Name[] = ['auto', 'main', 'sub', 'cif', 'd1', '720p'];
  return (
    <div class="quality">
      <Select
        label={t('player.quality')}
        value={name}
        options={names.map((value) => ({ value, text: t(`quality.${value}`) }))}
        onChange={(value) => watch.setQuality(choiceOf(value, fps))}
        testid="quality"
      />
      <Select
        label={t('player.fps')}
        value={String(fps)}
        options={RATES.map((rate) => ({ value: String(rate), text: `${rate}` }))}
        onChange={(value) => watch.setQuality(choiceOf(name, Number(value)))}
        testid="fps"
        disabled={!(name in SIZES)}
      />
    </div>
  );
}
