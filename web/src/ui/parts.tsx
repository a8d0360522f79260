/** Small parts that the pages are made of. */

import type { ComponentChildren, InputHTMLAttributes } from 'preact';
import { useId } from 'preact/hooks';
import { language, setLanguage, t, type Language } from '../i18n';
import { setTheme, theme, type Theme } from '../theme';
import type { Presence } from '../api/types';

/** 24 × 24 line drawings. */
const ICONS = {
  brand:
    'M12 6C7.5 6 4.2 9.3 3 12c1.2 2.7 4.5 6 9 6s7.8-3.3 9-6c-1.2-2.7-4.5-6-9-6z M12 9.4a2.6 2.6 0 1 0 0 5.2 2.6 2.6 0 0 0 0-5.2z',
  grid: 'M4 4h7v7H4z M13 4h7v7h-7z M4 13h7v7H4z M13 13h7v7h-7z',
  plus: 'M12 5v14 M5 12h14',
  gear: 'M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z M12 2.8v2.7 M12 18.5v2.7 M2.8 12h2.7 M18.5 12h2.7 M5.5 5.5l1.9 1.9 M16.6 16.6l1.9 1.9 M5.5 18.5l1.9-1.9 M16.6 7.4l1.9-1.9',
  shield: 'M12 3l7.5 3v5.5c0 4.5-3.2 8-7.5 9.5-4.3-1.5-7.5-5-7.5-9.5V6z',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  back: 'M14.5 5.5L8 12l6.5 6.5',
  sound: 'M4 9.5v5h3.5L12 18.5v-13L7.5 9.5z M15.5 9a4.2 4.2 0 0 1 0 6 M18 6.5a7.8 7.8 0 0 1 0 11',
  muted: 'M4 9.5v5h3.5L12 18.5v-13L7.5 9.5z M15.5 9.5l5 5 M20.5 9.5l-5 5',
  fullscreen: 'M4 9V4h5 M20 9V4h-5 M4 15v5h5 M20 15v5h-5',
  fullscreen_exit: 'M9 4v5H4 M15 4v5h5 M9 20v-5H4 M15 20v-5h5',
  pip: 'M3.5 5h17v14h-17z M12.5 12h6v5h-6z',
  snapshot: 'M3.5 8h4l1.5-2.5h6L16.5 8h4v11h-17z M12 10a3.3 3.3 0 1 0 0 6.6 3.3 3.3 0 0 0 0-6.6z',
  record: 'M12 6.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11z',
  stop: 'M7 7h10v10H7z',
  qr: 'M4 4h6v6H4z M14 4h6v6h-6z M4 14h6v6H4z M14 14h2.5v2.5H14z M17.5 17.5H20V20h-2.5z',
  play: 'M7 5l12 7-12 7z',
  pause: 'M8 5v14 M16 5v14',
  step: 'M6 5l9 7-9 7z M18.5 5v14',
  step_back: 'M18 5l-9 7 9 7z M5.5 5v14',
  camera: 'M3.5 7.5h11v9h-11z M14.5 11l6-3.2v8.4l-6-3.2z',
  warning: 'M12 4l9 15.5H3z M12 10v4.5 M12 16.8v.4',
} as const;

export type IconName = keyof typeof ICONS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={ICONS[name]} />
    </svg>
  );
}

interface ButtonProps {
  children?: ComponentChildren;
  tone?: 'primary' | 'plain' | 'danger' | 'ghost';
  type?: 'button' | 'submit';
  disabled?: boolean;
  busy?: boolean;
  onClick?: () => void;
  testid?: string;
  pressed?: boolean;
  label?: string;
  icon?: IconName;
}

export function Button(props: ButtonProps) {
  return (
    <button
      type={props.type ?? 'button'}
      class={`button ${props.tone ?? 'plain'}`}
      disabled={props.disabled === true || props.busy === true}
      aria-busy={props.busy}
      aria-pressed={props.pressed}
      aria-label={props.label}
      title={props.label}
      data-testid={props.testid}
      {...(props.onClick ? { onClick: props.onClick } : {})}
    >
      {props.icon && <Icon name={props.icon} />}
      {props.children}
    </button>
  );
}

export function Card(props: { title?: string; children: ComponentChildren; testid?: string }) {
  return (
    <section class="card" data-testid={props.testid}>
      {props.title && <h2>{props.title}</h2>}
      {props.children}
    </section>
  );
}

interface FieldProps {
  label: string;
  hint?: ComponentChildren;
  error?: string | undefined;
  input: InputHTMLAttributes & { [data: `data-${string}`]: string };
}

/** A labelled input; hint and error are tied to it for screen readers. */
export function Field({ label, hint, error, input }: FieldProps) {
  const id = useId();
  return (
    <div class={`field ${error ? 'bad' : ''}`}>
      <label for={id}>{label}</label>
      <input
        {...input}
        id={id}
        aria-describedby={`${id}-hint`}
        aria-invalid={error ? true : undefined}
      />
      <div id={`${id}-hint`} class="hint" aria-live="polite">
        {error ?? hint}
      </div>
    </div>
  );
}

interface SelectProps {
  label: string;
  value: string;
  options: { value: string; text: string }[];
  onChange: (value: string) => void;
  testid: string;
  disabled?: boolean;
}

export function Select(props: SelectProps) {
  const id = useId();
  return (
    <div class="field select">
      <label for={id}>{props.label}</label>
      <select
        id={id}
        value={props.value}
        disabled={props.disabled}
        data-testid={props.testid}
        onChange={(event) => props.onChange(event.currentTarget.value)}
      >
        {props.options.map((o) => (
          <option key={o.value} value={o.value}>
            {o.text}
          </option>
        ))}
      </select>
    </div>
  );
}

/** A message about something that went wrong, read out at once. */
export function Alert({ text, testid }: { text: string | undefined; testid?: string }) {
  return (
    <div role="alert" data-testid={testid ?? 'error'}>
      {text && (
        <p class="alert">
          <Icon name="warning" />
          <span>{text}</span>
        </p>
      )}
    </div>
  );
}

export function PresenceBadge({ presence }: { presence: Presence }) {
  return (
    <span class={`presence ${presence}`} data-testid="presence" data-presence={presence}>
      {t(`presence.${presence}`)}
    </span>
  );
}

/** Language and appearance: on the sign-in page and in the settings. */
export function Preferences() {
  return (
    <div class="preferences">
      <Select
        label={t('settings.language')}
        value={language.value}
        options={[
          { value: 'en', text: 'English' },
          { value: 'zh', text: '简体中文' },
        ]}
        onChange={(value) => void setLanguage(value as Language)}
        testid="language"
      />
      <Select
        label={t('settings.theme')}
        value={theme.value}
        options={(['auto', 'light', 'dark'] as const).map((value) => ({
          value,
          text: t(`theme.${value}`),
        }))}
        onChange={(value) => setTheme(value as Theme)}
        testid="theme"
      />
    </div>
  );
}
