import { render } from 'preact';
import { App } from './app';
import { preferredLanguage, setLanguage } from './i18n';
import { startRouter } from './router';
import { start } from './state';
import { startTheme } from './theme';
import './style/base.css';
import './style/operator.css';
import './style/pages.css';
import './style/player.css';
import './style/timeline.css';

startTheme();
startRouter();
await setLanguage(preferredLanguage(), false);
const root = document.getElementById('app');
if (root) render(<App />, root);
if (window.isSecureContext) await start();

if ('serviceWorker' in navigator && import.meta.env.PROD) {
  // Last, so that it takes nothing from the first picture. Without it the page works too, only not
  // offline.
  navigator.serviceWorker.register('/sw.js').catch(() => undefined);
}
