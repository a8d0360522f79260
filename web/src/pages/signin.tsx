import { useEffect, useState } from 'preact/hooks';
import { api } from '../api/client';
import { ProblemError } from '../api/problem';
import type { SmsCodeSent } from '../api/types';
import { clientKey } from '../identity/keys';
import { checkPhone, clientName } from '../identity/phone';
import { problemText, t } from '../i18n';
import { become, info } from '../state';
import { Alert, Button, Card, Field, Icon, Preferences } from '../ui/parts';

interface Sent extends SmsCodeSent {
  phone: string;
}

export function SignInPage() {
  const [sent, setSent] = useState<Sent>();
  const [phone, setPhone] = useState('');
  return (
    <main id="main" tabIndex={-1} class="alone signin">
      <div class="hero">
        <Icon name="brand" />
        <h1>{t('app.name')}</h1>
        <p>{t('app.tagline')}</p>
      </div>
      <Card title={t('signin.title')}>
        {sent ? (
          <CodeForm sent={sent} onSent={setSent} onBack={() => setSent(undefined)} />
        ) : (
          <PhoneForm phone={phone} onPhone={setPhone} onSent={setSent} />
        )}
      </Card>
      <Preferences />
      {info.value && <p class="fine">{t('signin.by', { operator: info.value.operator })}</p>}
    </main>
  );
}

function PhoneForm(props: {
  phone: string;
  onPhone: (phone: string) => void;
  onSent: (sent: Sent) => void;
}) {
  const [touched, setTouched] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  const check = checkPhone(props.phone);
  const submit = async () => {
    setTouched(true);
    setError(undefined);
    if (!check.ok) return;
    setBusy(true);
    try {
      props.onSent({ ...(await api.smsCode(check.phone)), phone: check.phone });
    } catch (problem) {
      setError(problemText(problem));
    } finally {
      setBusy(false);
    }
  };
  return (
    <form
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <p>{t('signin.intro')}</p>
      <Field
        label={t('signin.phone')}
        hint={t('signin.phone_hint')}
        error={touched && props.phone !== '' && !check.ok ? t(check.why) : undefined}
        input={{
          type: 'tel',
          autocomplete: 'tel',
          inputMode: 'tel',
          autofocus: true,
          required: true,
          value: props.phone,
          placeholder: '+',
          'data-testid': 'phone',
          onInput: (event) => props.onPhone(event.currentTarget.value),
          onBlur: () => setTouched(true),
        }}
      />
      <Alert text={error} />
      <Button type="submit" tone="primary" busy={busy} testid="send-code">
        {t('signin.send')}
      </Button>
    </form>
  );
}

function CodeForm(props: { sent: Sent; onSent: (sent: Sent) => void; onBack: () => void }) {
  const { sent } = props;
  const [code, setCode] = useState('');
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  const [left, restart] = useCountdown(sent.retry_after_s);
  const guard = async (work: () => Promise<void>) => {
    setBusy(true);
    setError(undefined);
    try {
      await work();
    } catch (problem) {
      setError(problemText(problem));
      if (problem instanceof ProblemError && problem.retryAfterS) restart(problem.retryAfterS);
      setBusy(false);
    }
  };
  const signIn = () =>
    guard(async () => {
      const digits = code.normalize('NFKC').replace(/\s/g, '');
      if (!/^\d{4,10}$/.test(digits)) {
        setError(t('signin.code_digits'));
        setBusy(false);
        return;
      }
      const signedIn = await api.signIn({
        phone: sent.phone,
        code: digits,
        client_key: (await clientKey()).publicKey,
        client_name: clientName(),
        refresh_in: 'cookie',
      });
      become(signedIn);
    });
  const resend = () =>
    guard(async () => {
      const again = await api.smsCode(sent.phone);
      props.onSent({ ...again, phone: sent.phone });
      restart(again.retry_after_s);
      setCode('');
      setBusy(false);
    });
  return (
    <form
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void signIn();
      }}
    >
      <p role="status">
        {t('signin.code_hint', {
          phone: sent.phone,
          minutes: Math.max(1, Math.round(sent.expires_in_s / 60)),
        })}
      </p>
      <Field
        label={t('signin.code')}
        input={{
          type: 'text',
          inputMode: 'numeric',
          autocomplete: 'one-time-code',
          autofocus: true,
          maxLength: 12,
          class: 'code',
          value: code,
          'data-testid': 'code',
          ref: focusOnce,
          onInput: (event) => setCode(event.currentTarget.value),
        }}
      />
      <Alert text={error} />
      <Button type="submit" tone="primary" busy={busy} testid="sign-in">
        {t('signin.verify')}
      </Button>
      <div class="row">
        <Button
          tone="ghost"
          disabled={left > 0 || busy}
          onClick={() => void resend()}
          testid="resend"
        >
          {left > 0 ? t('signin.resend_in', { seconds: left }) : t('signin.resend')}
        </Button>
        <Button tone="ghost" onClick={props.onBack} testid="change-number">
          {t('signin.change')}
        </Button>
      </div>
    </form>
  );
}

function focusOnce(element: HTMLInputElement | null): void {
  if (element && element.dataset['focused'] === undefined) {
    element.dataset['focused'] = '';
    element.focus();
  }
}

/** Whole seconds left. */
function useCountdown(seconds: number): [number, (seconds: number) => void] {
  const [end, setEnd] = useState(() => Date.now() + seconds * 1000);
  const [now, setNow] = useState(() => Date.now());
  const over = now >= end;
  useEffect(() => {
    if (over) return;
    const timer = setInterval(() => setNow(Date.now()), 250);
    return () => clearInterval(timer);
  }, [over, end]);
  return [
    Math.max(0, Math.ceil((end - now) / 1000)),
    (s) => {
      setNow(Date.now());
      setEnd(Date.now() + s * 1000);
    },
  ];
}
