import { useEffect, useRef, useState } from 'preact/hooks';
import { problemText, t } from './i18n';
import { route } from './router';
import { auth, info, start, toast } from './state';
import { BindPage } from './pages/bind';
import { CameraPage } from './pages/camera';
import { GridPage } from './pages/grid';
import { OperatorPage } from './pages/operator';
import { SettingsPage } from './pages/settings';
import { SignInPage } from './pages/signin';
import type { TogetherPage } from './pages/together';
import { Button, Card, Icon, type IconName } from './ui/parts';
import type { User } from './api/types';

export function App() {
  return (
    <>
      <a class="skip" href="#main" onClick={skip}>
        {t('app.skip')}
      </a>
      <Body />
      <div class="toast-region" role="status" aria-live="polite" data-testid="toast">
        {toast.value && <div class={`toast ${toast.value.tone}`}>{toast.value.text}</div>}
      </div>
    </>
  );
}

function skip(event: Event): void {
  event.preventDefault();
  document.getElementById('main')?.focus();
}

function Body() {
  if (!window.isSecureContext) return <Alone title={t('app.name')} text={t('app.insecure')} />;
  const now = auth.value;
  switch (now.state) {
    case 'loading':
      return (
        <main id="main" class="alone" aria-busy="true">
          <span class="spinner" aria-label={t('app.loading')} />
        </main>
      );
    case 'unreachable':
      return (
        <Alone title={t('app.unreachable')} text={problemText(now.problem)}>
          <Button tone="primary" onClick={() => void start()} testid="retry">
            {t('app.retry')}
          </Button>
        </Alone>
      );
    case 'signed_out':
      return <SignInPage />;
    case 'signed_in':
      return <SignedIn user={now.user} />;
  }
}

function Alone(props: { title: string; text: string; children?: preact.ComponentChildren }) {
  return (
    <main id="main" class="alone">
      <Card title={props.title}>
        <p>{props.text}</p>
        {props.children}
      </Card>
    </main>
  );
}

function SignedIn({ user }: { user: User }) {
  const page = route.value;
  const operator = info.value?.operator ?? t('account.the_operator');
  const held = user.subscription !== 'active' && page.page !== 'settings';
  return (
    <div class="shell">
      <header class="top">
        <a class="brand" href="#/" data-testid="home">
          <Icon name="brand" />
          <span>{t('app.name')}</span>
        </a>
        <Nav isOperator={user.is_operator} page={page.page} />
      </header>
      <Main key={page.page + (page.page === 'camera' ? page.id : '')}>
        {held && !(user.is_operator && page.page === 'operator') ? (
          <section class="alone" data-testid={`subscription-${user.subscription}`}>
            <Card
              title={t(
                user.subscription === 'pending'
                  ? 'account.pending_title'
                  : 'account.suspended_title',
              )}
            >
              <p role="status">
                {t(user.subscription === 'pending' ? 'account.pending' : 'account.suspended', {
                  operator,
                })}
              </p>
            </Card>
          </section>
        ) : (
          <Page isOperator={user.is_operator} />
        )}
      </Main>
    </div>
  );
}

/** The focus follows the page, so that screen readers notice that it is another one. */
function Main({ children }: { children: preact.ComponentChildren }) {
  const main = useRef<HTMLElement>(null);
  useEffect(() => {
    if (document.activeElement === document.body) main.current?.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }, []);
  return (
    <main id="main" tabIndex={-1} ref={main}>
      {children}
    </main>
  );
}

function Page({ isOperator }: { isOperator: boolean }) {
  const page = route.value;
  switch (page.page) {
    case 'grid':
      return <GridPage />;
    case 'bind':
      return <BindPage code={page.code} />;
    case 'camera':
      return <CameraPage id={page.id} />;
    case 'together':
      return <Together cameras={page.cameras} at={page.at} />;
    case 'settings':
      return <SettingsPage />;
    case 'operator':
      return isOperator ? <OperatorPage /> : <NotFound />;
    case 'unknown':
      return <NotFound />;
  }
}

type TogetherProps = Parameters<typeof TogetherPage>[0];

/** Fetched when it is wanted: few look back at several cameras. */
function Together(props: TogetherProps) {
  const [load, setLoad] = useState<{ page?: typeof TogetherPage; failed?: true }>({});
  useEffect(() => {
    import('./pages/together').then(
      (module) => setLoad({ page: module.TogetherPage }),
      () => setLoad({ failed: true }),
    );
  }, []);
  if (load.failed) return <p class="empty">{t('problem.network')}</p>;
  const Page = load.page;
  return Page ? <Page {...props} /> : <span class="spinner" aria-label={t('app.loading')} />;
}

function NotFound() {
  return <p class="empty">{t('app.not_found')}</p>;
}

function Nav({ isOperator, page }: { isOperator: boolean; page: string }) {
  const link = (name: string, href: string, icon: IconName, text: string) => (
    <a href={href} aria-current={page === name ? 'page' : undefined} data-testid={`nav-${name}`}>
      <Icon name={icon} />
      <span>{text}</span>
    </a>
  );
  return (
    <nav class="nav" aria-label={t('nav.main')}>
      {link('grid', '#/', 'grid', t('nav.cameras'))}
      {link('bind', '#/bind', 'plus', t('nav.bind'))}
      {isOperator && link('operator', '#/operator', 'shield', t('nav.operator'))}
      {link('settings', '#/settings', 'gear', t('nav.settings'))}
    </nav>
  );
}
