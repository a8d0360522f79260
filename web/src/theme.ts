import { signal } from '@preact/signals';

export type Theme = 'auto' | 'light' | 'dark';

const STORED = 'sightline.theme';
export const theme = signal<Theme>('auto');

export function startTheme(): void {
  const kept = localStorage.getItem(STORED);
  setTheme(kept === 'light' || kept === 'dark' ? kept : 'auto');
}

export function setTheme(value: Theme): void {
  theme.value = value;
  localStorage.setItem(STORED, value);
  if (value === 'auto') document.documentElement.removeAttribute('data-theme');
  else document.documentElement.dataset['theme'] = value;
}
