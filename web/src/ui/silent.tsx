import type { SilentRecorder } from '../api/types';
import { t } from '../i18n';
import { Icon } from './parts';

/** Who could not be asked: what they have is missing in all that is shown. */
export function Silent({ recorders }: { recorders: SilentRecorder[] | undefined }) {
  // One may record several of the cameras.
  const each = new Map<string, SilentRecorder>();
  for (const one of recorders ?? []) each.set(`${one.place} ${one.recorder}`, one);
  return (
    <div role="status">
      {[...each].map(([key, { place, reason }]) => (
        <p key={key} class="silent" data-testid="timeline-silent" data-reason={reason}>
          <Icon name="warning" />
          <span>
            {t(`silent.${reason}`, { who: t(`silent_who.${place}`) })} {t('silent.missing')}
          </span>
        </p>
      ))}
    </div>
  );
}
