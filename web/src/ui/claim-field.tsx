import { useEffect, useId, useState } from 'preact/hooks';
import {
  checkClaim,
  claimFromText,
  formatClaim,
  normalizeClaim,
  CLAIM_LENGTH,
} from '../identity/claim';
import type { ClaimState } from '../identity/claim';
import { t } from '../i18n';

/** The claim code while it is typed: in groups of four, with what is wrong or missing in words. */
export function ClaimField(props: {
  value: string;
  onInput: (value: string) => void;
  onCheck: (state: ClaimState) => void;
}) {
  const id = useId();
  const [check, setCheck] = useState<ClaimState>({ state: 'empty' });
  const { value, onCheck } = props;
  useEffect(() => {
    let stale = false;
    void checkClaim(value).then((state) => {
      if (stale) return;
      setCheck(state);
      onCheck(state);
    });
    return () => {
      stale = true;
    };
  }, [value]);
  const bad = ['foreign_character', 'long', 'wrong_check'].includes(check.state);
  const done = Math.min(normalizeClaim(value).length, CLAIM_LENGTH);
  return (
    <div class={`field ${bad ? 'bad' : ''} ${check.state === 'complete' ? 'good' : ''}`}>
      <label for={id}>{t('bind.code')}</label>
      <textarea
        id={id}
        class="claim"
        rows={3}
        autocomplete="off"
        autocapitalize="none"
        spellcheck={false}
        placeholder="abcd-efgh-…"
        value={value}
        aria-describedby={`${id}-hint`}
        aria-invalid={bad ? true : undefined}
        data-testid="claim-code"
        onInput={(event) => props.onInput(retype(event.currentTarget))}
      />
      <progress max={CLAIM_LENGTH} value={done} aria-hidden="true" />
      <div id={`${id}-hint`} class="hint" aria-live="polite" data-testid="claim-hint">
        {hint(check, done)}
      </div>
    </div>
  );
}

/** Formats what stands in the field and keeps the cursor after the same character. */
function retype(area: HTMLTextAreaElement): string {
  const before = normalizeClaim(area.value.slice(0, area.selectionStart)).length;
  const formatted = formatClaim(claimFromText(area.value));
  // A dash after every fourth character; at a group's end the cursor stays before it.
  const cursor = before === 0 ? 0 : before + Math.floor((before - 1) / 4);
  area.value = formatted;
  area.setSelectionRange(cursor, cursor);
  return formatted;
}

function hint(check: ClaimState, done: number): string {
  switch (check.state) {
    case 'empty':
    case 'short':
      return t('bind.progress', { done });
    case 'foreign_character':
      return t('bind.foreign', { character: check.character });
    case 'long':
      return t('bind.long', { extra: check.extra });
    case 'wrong_check':
      return t('bind.wrong_check');
    case 'complete':
      return t('bind.complete');
  }
}
