import { useState } from 'preact/hooks';
import type { Camera } from '../api/types';
import { bitRate, t } from '../i18n';
import { pin, pinSource } from '../identity/pins';
import type { ClaimState } from '../identity/claim';
import { isSymmetric, type NatReport } from '../play/nat';
import { isRelayed, type Route } from '../play/route';
import { STAGES, type StageTimes } from '../play/stages';
import type { Watch } from '../play/watch';
import { ClaimField } from './claim-field';
import { Button, Icon } from './parts';

/** Path, figures, time to first frame and who vouches for the picture. */
export function Panel({ watch, camera }: { watch: Watch; camera: Camera }) {
  const stages = watch.stages.value;
  return (
    <details class="card panel" open data-testid="panel">
      <summary>{t('player.panel')}</summary>
      <PathRow route={watch.route.value} />
      <Figures watch={watch} />
      {stages && <Stages stages={stages} />}
      <Trust camera={camera} refused={isRefused(watch)} />
    </details>
  );
}

function PathRow({ route }: { route: Route | undefined }) {
  if (!route) {
    return (
      <p class="path" data-testid="path" data-path="unknown">
        {t('panel.path')}: {t('panel.unknown')}
      </p>
    );
  }
  const kind = isRelayed(route.rung) ? 'relayed' : 'direct';
  const networks = [
    { name: t('panel.nat_here'), words: natWords(route.here) },
    { name: t('panel.nat_there'), words: natWords(route.there) },
  ].filter(({ words }) => words !== '');
  return (
    <div class={`path ${kind}`} data-testid="path" data-path={kind} data-rung={route.rung}>
      <strong>
        {t('panel.path')}: {t(`panel.${kind}`)}
      </strong>
      <p class="fine">{t(`rung.${route.rung}`)}</p>
      {route.why.length > 0 && (
        <>
          <p class="fine">{t('panel.why_not')}:</p>
          <ul class="fine" data-testid="why-not-better">
            {route.why.map((reason) => (
              <li key={reason}>{t(`why.${reason}`)}</li>
            ))}
          </ul>
        </>
      )}
      {networks.map(({ name, words }) => (
        <p key={name} class="fine">
          {name}: {words}.
        </p>
      ))}
    </div>
  );
}

/** What is known of a network's NAT, in words; empty when nothing is. */
export function natWords(nat: NatReport): string {
  const words: string[] = [];
  if (nat.udp === false) words.push(t('nat.udp_blocked'));
  else if (isSymmetric(nat)) words.push(t('nat.symmetric'));
  else if (nat.mapping && nat.translated !== false) words.push(t('nat.steady'));
  else if (nat.translated === true) words.push(t('nat.translated'));
  else if (nat.translated === false) words.push(t('nat.none'));
  if (nat.mapping_lifetime_ms !== undefined) {
    words.push(t('nat.lifetime', { seconds: Math.round(nat.mapping_lifetime_ms / 1000) }));
  }
  return words.join(', ');
}

function Figures({ watch }: { watch: Watch }) {
  const stats = watch.stats.value;
  const latency = watch.latency.value;
  const serving = watch.serving.value;
  const path = watch.puPath.value;
  const dash = '–';
  const whole = (value: number) => Math.round(value);
  return (
    <dl class="figures">
      <Row
        name="resolution"
        label={t('panel.resolution')}
        value={stats && stats.width > 0 ? `${stats.width}×${stats.height}` : dash}
      />
      <Row name="fps" label={t('panel.fps')} value={stats ? stats.fps.toFixed(1) : dash} />
      <Row
        name="bitrate"
        label={t('panel.bitrate')}
        value={stats ? bitRate(stats.videoBps + stats.audioBps) : dash}
      />
      <Row
        name="loss"
        label={t('panel.loss')}
        value={stats ? `${stats.lossPercent.toFixed(1)} %` : dash}
      />
      <Row
        name="rtt"
        label={t('panel.rtt')}
        value={stats?.path?.rttMs === undefined ? dash : `${stats.path.rttMs.toFixed(1)} ms`}
      />
      <Row
        name="latency"
        label={t('panel.latency')}
        title={t('panel.latency_hint')}
        value={
          latency
            ? t('panel.latency_value', {
                p50: whole(latency.p50),
                p95: whole(latency.p95),
                max: whole(latency.max),
              })
            : dash
        }
      />
      {stats?.jitterBufferMs !== undefined && (
        <Row
          name="jitter"
          label={t('panel.jitter')}
          value={`${stats.jitterBufferMs.toFixed(1)} ms`}
        />
      )}
      {serving && (
        <Row
          name="serving"
          label={t('panel.stream')}
          value={[
            t(`quality.${serving.tier}`),
            serving.codec.toUpperCase(),
            `${serving.width}×${serving.height}`,
            ...(serving.transcoded ? [t('panel.transcoded')] : []),
            ...(serving.keyframes_only ? [t('panel.keyframes')] : []),
          ].join(', ')}
          {...(serving.reason ? { title: serving.reason } : {})}
        />
      )}
      {path?.estimate_bps != null && (
        <Row name="estimate" label={t('panel.estimate')} value={bitRate(path.estimate_bps)} />
      )}
    </dl>
  );
}

function Row(props: { name: string; label: string; value: string; title?: string }) {
  return (
    <div title={props.title}>
      <dt>{props.label}</dt>
      <dd data-testid={`figure-${props.name}`}>{props.value}</dd>
    </div>
  );
}

function Stages({ stages }: { stages: StageTimes }) {
  return (
    <section class="stages" data-testid="stages">
      <h3>
        {t('panel.ttff')}: {Math.round(stages.total)} ms
      </h3>
      <div class="stage-bar" aria-hidden="true">
        {STAGES.map((name) => (
          <span key={name} class={`stage-${name}`} style={{ flexGrow: stages[name] }} />
        ))}
      </div>
      <dl class="figures">
        {STAGES.map((name) => (
          <div key={name}>
            <dt>
              <span class={`dot stage-${name}`} aria-hidden="true" />
              {t(`stage.${name}`)}
            </dt>
            <dd data-testid={`stage-${name}`}>{stages[name].toFixed(1)} ms</dd>
          </div>
        ))}
        <div class="sum">
          <dt>{t('stage.total')}</dt>
          <dd data-testid="stage-total">{stages.total.toFixed(1)} ms</dd>
        </div>
      </dl>
    </section>
  );
}

function isRefused(watch: Watch): boolean {
  const now = watch.state.value;
  return now.state === 'failed' && now.problem.type === 'security';
}

function Trust({ camera, refused }: { camera: Camera; refused: boolean }) {
  const [source, setSource] = useState(() => pinSource(camera.device.pu));
  const [asking, setAsking] = useState(false);
  const [typed, setTyped] = useState('');
  const [verdict, setVerdict] = useState<'good' | 'bad'>();
  const take = (check: ClaimState) => {
    if (check.state !== 'complete') return;
    const good = check.pu === camera.device.pu;
    setVerdict(good ? 'good' : 'bad');
    if (!good) return;
    pin(check.pu);
    setSource('code');
    setAsking(false);
    setTyped('');
  };
  return (
    <section class="trust">
      <h3>
        <Icon name="shield" /> {t('panel.security')}
      </h3>
      <p class="fine" data-testid="pin" data-pin={source}>
        {refused
          ? t('problem.security')
          : t(source === 'code' ? 'panel.pinned_code' : 'panel.pinned_centre')}
      </p>
      {source === 'centre' && (
        <Button onClick={() => setAsking(!asking)} pressed={asking} testid="verify-code">
          {t('panel.verify_code')}
        </Button>
      )}
      {asking && <ClaimField value={typed} onInput={setTyped} onCheck={take} />}
      <p role="status" class={`fine ${verdict ?? ''}`}>
        {verdict && t(verdict === 'good' ? 'panel.verify_ok' : 'panel.verify_bad')}
      </p>
      <p class="fine">{t('panel.page_honest')}</p>
    </section>
  );
}
