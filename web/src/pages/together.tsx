import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { Camera } from '../api/types';
import { exposeTogether } from '../debug';
import { t } from '../i18n';
import { nowUs } from '../play/clock';
import { cloudStore } from '../play/cloud/store';
import { StepClock } from '../play/in-step/clock';
import { InStep } from '../play/in-step/conductor';
import { Part } from '../play/in-step/part';
import { StepQueue } from '../play/in-step/queue';
import { Lookback } from '../play/lookback';
import type { Picture } from '../play/replay/screen';
import { Watch } from '../play/watch';
import { go, togetherHash } from '../router';
import { cameras, playable } from '../state';
import { seekTarget, type Answer, type Stretch } from '../timeline';
import { Calendar } from '../ui/calendar';
import { LookbackControls } from '../ui/lookback-controls';
import { RecordedPicture, StateOverlay } from '../ui/overlay';
import { Icon } from '../ui/parts';
import { Silent } from '../ui/silent';
import { Strip } from '../ui/strip';
import { Summary, TimelineTools, useTimeline, useView } from '../ui/timeline-parts';
import '../style/together.css';

/** At most so many at once: each has a session and a decoder of its own. */
const MOST = 4;
/** Where it begins unless somebody says: what was recorded then can be played by now. */
const AGO_US = 60e6;
/** How often the cameras are looked after. */
const TICK_MS = 50;

interface TogetherProps {
  /** Ids of the cameras. */
  cameras: string[];
  /** From when on, in microseconds since 1970. */
  at: number | undefined;
}

/** Several cameras at the same time, with one timeline and one set of controls. */
export function TogetherPage({ cameras: ids, at }: TogetherProps) {
  const all = playable();
  const chosen = all.filter(({ id }) => ids.includes(id)).slice(0, MOST);
  const shown = useRef(at);
  const key = chosen.map(({ id }) => id).join();
  if (!cameras.value) return <span class="spinner" aria-label={t('app.loading')} />;
  return (
    <div class="wide together">
      <div class="camera-head">
        <a class="button ghost icon-only" href="#/" aria-label={t('app.back')} data-testid="back">
          <Icon name="back" />
        </a>
        <h1>{t('together.title')}</h1>
      </div>
      <Choice
        all={all}
        chosen={chosen}
        onChange={(next) => go(togetherHash(next, shown.current))}
      />
      {chosen.length > 1 ? (
        <Together
          key={key}
          cameras={chosen}
          at={shown.current}
          onShown={(us) => (shown.current = us)}
        />
      ) : (
        <p class="fine" data-testid="together-hint">
          {t('together.hint')}
        </p>
      )}
    </div>
  );
}

interface ChoiceProps {
  all: Camera[];
  chosen: Camera[];
  onChange: (ids: string[]) => void;
}

function Choice({ all, chosen, onChange }: ChoiceProps) {
  const ids = chosen.map(({ id }) => id);
  const toggle = (id: string) =>
    onChange(ids.includes(id) ? ids.filter((other) => other !== id) : [...ids, id]);
  return (
    <fieldset class="choice">
      <legend class="visually-hidden">{t('together.choose')}</legend>
      {all.map(({ id, name }) => (
        <label key={id} class="chip">
          <input
            type="checkbox"
            checked={ids.includes(id)}
            disabled={ids.length >= MOST && !ids.includes(id)}
            onChange={() => toggle(id)}
            data-testid="together-camera"
            data-camera={id}
          />
          <span>{name}</span>
        </label>
      ))}
    </fieldset>
  );
}

/** One of the cameras, and what of it has to be ended. */
interface Member {
  part: Part;
  lookback: Lookback;
  watch: Watch;
}

function member(camera: Camera, clock: StepClock): Member {
  const quality = { mode: 'keyframes' } as const;
  const clickedMs = performance.now();
  const watch = new Watch({ camera, quality, audio: false, clickedMs });
  // Nothing live is shown, and none is missed.
  watch.looksBack = true;
  const queue = new StepQueue<Picture>(clock, (picture) => picture.close());
  const lookback = new Lookback(watch, cloudStore(camera.id), () => queue);
  const part = new Part(camera, lookback, queue);
  lookback.placeOf = (at) => part.place(at);
  return { part, lookback, watch };
}

function useInStep(cameras: Camera[], at: number | undefined) {
  const made = useMemo(() => {
    const clock = new StepClock();
    const members = cameras.map((camera) => member(camera, clock));
    const inStep = new InStep(
      members.map(({ part }) => part),
      clock,
      () => performance.now(),
    );
    return { members, inStep };
  }, []);
  useLayoutEffect(() => {
    const { inStep, members } = made;
    inStep.playFrom(at ?? nowUs() - AGO_US);
    const timer = setInterval(() => inStep.tick(), TICK_MS);
    const withdraw = exposeTogether(inStep);
    return () => {
      clearInterval(timer);
      withdraw();
      inStep.close();
      for (const { watch } of members) watch.close();
    };
  }, []);
  return made;
}

interface InStepProps {
  cameras: Camera[];
  at: number | undefined;
  /** Which time is shown. */
  onShown: (us: number) => void;
}

function Together({ cameras, at, onShown }: InStepProps) {
  const { members, inStep } = useInStep(cameras, at);
  const atUs = inStep.atUs.value;
  const [day, setDay] = useState<Stretch>();
  const [answers, setAnswers] = useState<Record<string, Answer | undefined>>({});
  const strip = useRef<HTMLDivElement>(null);
  const { view, now, zoom, resize, moveBy, follow } = useView(atUs, day);
  useEffect(() => {
    if (atUs !== undefined) onShown(atUs);
  }, [atUs]);
  const note = (part: Part, answer: Answer | undefined) => {
    part.note(answer, inStep.atUs.peek());
    setAnswers((before) => ({ ...before, [part.camera.id]: answer }));
  };
  const seek = (wanted: number, backwards: boolean) => {
    const targets = cameras.flatMap(({ id }) => seekTarget(answers[id], wanted, backwards) ?? []);
    const target = nearest(targets, wanted);
    if (target === undefined) return;
    follow();
    inStep.seek(target);
  };
  return (
    <>
      <div class="tiles" data-count={cameras.length}>
        {members.map((one) => (
          <Tile key={one.part.camera.id} member={one} />
        ))}
      </div>
      <div class="recordings">
        <LookbackControls playback={inStep} />
        <section class="card timeline" aria-label={t('timeline.title')} data-testid="timeline">
          <TimelineTools view={view} zoom={zoom} onMove={moveBy} onResize={resize} />
          <Strip
            strip={strip}
            view={view}
            lanes={cameras.map(({ id, name }) => ({
              camera: id,
              name,
              timeline: answers[id]?.timeline,
            }))}
            atUs={atUs}
            now={now}
            onSeek={seek}
            onMove={moveBy}
          />
          <Silent recorders={cameras.flatMap(({ id }) => answers[id]?.timeline.silent ?? [])} />
          {members.map(({ part }) => (
            <InWords
              key={part.camera.id}
              part={part}
              view={view}
              now={now}
              atUs={atUs}
              onAnswer={note}
            />
          ))}
        </section>
        <Calendar cameras={cameras} onPick={setDay} />
      </div>
    </>
  );
}

/** Of times that are all near enough, the one that is the least away. */
function nearest(targets: number[], wanted: number): number | undefined {
  return targets.sort((a, b) => Math.abs(a - wanted) - Math.abs(b - wanted))[0];
}

/** One camera of several: its picture, or why there is none. */
function Tile({ member: { part, lookback, watch } }: { member: Member }) {
  const { camera } = part;
  const absence = part.absence.value;
  return (
    <figure
      class="tile"
      data-testid="tile"
      data-camera={camera.id}
      data-absence={absence}
    >
      <RecordedPicture lookback={lookback} name={camera.name} />
      {absence === undefined ? (
        <StateOverlay watch={watch} camera={camera} lookback={lookback} />
      ) : (
        <div class="overlay absent" role="status" data-testid="tile-absence">
          <p>{t('together.absent', { why: t(`absence.${absence}`) })}</p>
        </div>
      )}
      <figcaption>
        <a
          href={`#/camera/${encodeURIComponent(camera.id)}`}
          aria-label={t('together.alone', { name: camera.name })}
        >
          {camera.name}
        </a>
      </figcaption>
    </figure>
  );
}

interface InWordsProps {
  part: Part;
  view: Stretch;
  now: number;
  atUs: number | undefined;
  onAnswer: (part: Part, answer: Answer | undefined) => void;
}

/** What is recorded of one camera, as words; asks for it. */
function InWords({ part, view, now, atUs, onAnswer }: InWordsProps) {
  const { camera } = part;
  const { answer, error } = useTimeline(camera.id, view, now, true);
  useEffect(() => onAnswer(part, answer), [answer]);
  return (
    <details class="in-words" data-testid="in-words" data-camera={camera.id}>
      <summary>{camera.name}</summary>
      {error !== undefined && (
        <p class="fine" role="status" data-testid="timeline-error">
          {error}
        </p>
      )}
      {answer && error === undefined && (
        <Summary timeline={answer.timeline} view={view} atUs={atUs} />
      )}
    </details>
  );
}
