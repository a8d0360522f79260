/** The REST API of the CMU (interface Cm). The access token lives in memory only. */

import { ProblemError, parseProblem, problemError } from './problem';
import { newTrace } from './trace';
import type {
  AuditList,
  BindRequest,
  Bound,
  Camera,
  CameraChange,
  CameraList,
  Capabilities,
  CloudSegmentList,
  CloudSpace,
  Info,
  MtuList,
  NetworkList,
  NetworkSide,
  NvrList,
  PlanChange,
  PlanList,
  PlayAnswer,
  PlayRequest,
  RecordedDays,
  RecordingPlace,
  Related,
  SignedIn,
  SignInRequest,
  SmsCodeRequest,
  SmsCodeSent,
  StreamTier,
  Subscription,
  SubscriptionChange,
  SubscriptionList,
  Timeline,
  UsageList,
  User,
} from './types';

export const PREFIX = '/api/v1';
const REQUEST_TIMEOUT_MS = 15_000;

let accessToken: string | undefined;
let expiresAtMs = 0;
let refreshing: Promise<SignedIn | undefined> | undefined;
let onSignedOut: () => void = () => undefined;

/** Called when the sign-in has ended and refreshing did not help. */
export function whenSignedOut(callback: () => void): void {
  onSignedOut = callback;
}

function keep(signedIn: SignedIn): SignedIn {
  accessToken = signedIn.access_token;
  expiresAtMs = Date.now() + signedIn.expires_in_s * 1000;
  return signedIn;
}

/** Forgets the access token. */
export function forget(): void {
  accessToken = undefined;
  expiresAtMs = 0;
}

/** A token that still works for a while; refreshed by cookie when needed. */
export async function freshToken(): Promise<string> {
  // 20 s early, so that no request starts with a token that expires under way.
  if (!accessToken || Date.now() > expiresAtMs - 20_000) await refresh();
  if (!accessToken) {
    onSignedOut();
    throw problemError('unauthenticated', '');
  }
  return accessToken;
}

/** Signs in again by the refresh cookie; `undefined` when there is none that works. */
export function refresh(): Promise<SignedIn | undefined> {
  refreshing ??= lockedRefresh().finally(() => (refreshing = undefined));
  return refreshing;
}

async function lockedRefresh(): Promise<SignedIn | undefined> {
  const work = async () => {
    try {
      return keep(await send<SignedIn>('POST', '/sessions/refresh', {}));
    } catch (error) {
      if (error instanceof ProblemError && error.problem.type === 'network') throw error;
      if (error instanceof ProblemError && !isSignInEnd(error)) throw error;
      forget();
      return undefined;
    }
  };
  // Refresh tokens work once: two tabs must not show the same one at the same time.
  return 'locks' in navigator ? await navigator.locks.request('sightline-refresh', work) : work();
}

function isSignInEnd(error: ProblemError): boolean {
  return ['unauthenticated', 'invalid_token', 'token_expired', 'invalid_request'].includes(
    error.problem.type,
  );
}

/** What a request belongs to. */
interface Call {
  signal?: AbortSignal;
  /** The `traceparent` of more than this request; else it is a trace by itself. */
  trace?: string;
}

async function send<T>(
  method: string,
  path: string,
  body?: unknown,
  token?: string,
  { signal, trace = newTrace() }: Call = {},
): Promise<T> {
  const headers: Record<string, string> = { accept: 'application/json', traceparent: trace };
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (token) headers['authorization'] = `Bearer ${token}`;
  const timeout = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
  let response: Response;
  try {
    response = await fetch(PREFIX + path, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      credentials: 'same-origin',
      cache: 'no-store',
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
  } catch (error) {
    throw problemError('network', error instanceof Error ? error.message : '');
  }
  if (response.ok) {
    const text = await response.text();
    return (text === '' ? undefined : JSON.parse(text)) as T;
  }
  const value: unknown = await response.json().catch(() => undefined);
  const fallback = response.status === 401 ? 'unauthenticated' : 'internal';
  const retry = Number(response.headers.get('retry-after'));
  throw new ProblemError(
    parseProblem(value, fallback),
    Number.isFinite(retry) && retry > 0 ? retry : undefined,
  );
}

/** A request as the signed-in user; a token that has died under way is renewed once. */
async function call<T>(method: string, path: string, body?: unknown, of?: Call) {
  try {
    return await send<T>(method, path, body, await freshToken(), of);
  } catch (error) {
    if (!(error instanceof ProblemError) || error.problem.type !== 'unauthenticated') throw error;
    forget();
    if (!(await refresh())) {
      onSignedOut();
      throw error;
    }
    return send<T>(method, path, body, await freshToken(), of);
  }
}

const id = encodeURIComponent;

function rfc3339(unixMicros: number): string {
  return new Date(unixMicros / 1_000).toISOString();
}

export const api = {
  info: () => send<Info>('GET', '/info'),
  smsCode: (phone: string) =>
    send<SmsCodeSent>('POST', '/sms-codes', { phone } satisfies SmsCodeRequest),
  signIn: async (request: SignInRequest) =>
    keep(await send<SignedIn>('POST', '/sessions', request)),
  signOut: async () => {
    // The cookie must be dead even if the access token already is.
    await call('DELETE', '/sessions/current').finally(forget);
  },
  me: () => call<User>('GET', '/me'),
  cameras: async () => (await call<CameraList>('GET', '/cameras')).cameras,
  bind: (claimCode: string) =>
    call<Bound>('POST', '/bindings', { claim_code: claimCode } satisfies BindRequest),
  release: (pu: string) => call('DELETE', `/devices/${id(pu)}/binding`),
  rename: (camera: string, name: string) =>
    call<Camera>('PATCH', `/cameras/${id(camera)}`, { name } satisfies CameraChange),
  /** `recorder`: the NVR whose recordings are wanted. */
  play: (camera: string, capabilities: Capabilities, of: Call, recorder?: string) =>
    call<PlayAnswer>(
      'POST',
      `/cameras/${id(camera)}/play`,
      {
        capabilities,
        player: 'client',
        ...(recorder === undefined ? {} : { recorder }),
      } satisfies PlayRequest,
      of,
    ),
  recordings: (camera: string, fromUs: number, toUs: number, signal: AbortSignal) =>
    call<Timeline>(
      'GET',
      `/cameras/${id(camera)}/recordings?from=${id(rfc3339(fromUs))}&to=${id(rfc3339(toUs))}`,
      undefined,
      { signal },
    ),
  recordedDays: (camera: string, zone: string, year: number, month: number, signal: AbortSignal) =>
    call<RecordedDays>(
      'GET',
      `/cameras/${id(camera)}/recordings/days?zone=${id(zone)}&year=${year}&month=${month}`,
      undefined,
      { signal },
    ),
  cloudSegments: (
    camera: string,
    fromUs: number,
    toUs: number,
    tier: StreamTier,
    after: string | undefined,
  ) => {
    const span = `from=${id(rfc3339(fromUs))}&to=${id(rfc3339(toUs))}&tier=${tier}`;
    const next = after === undefined ? '' : `&after=${id(after)}`;
    const path = `/cameras/${id(camera)}/recordings/segments?${span}${next}`;
    return call<CloudSegmentList>('GET', path);
  },
  cloudSpace: () => call<CloudSpace>('GET', '/cloud'),
  eraseCloud: (pu: string) => call('DELETE', `/cloud/devices/${id(pu)}`),
  plans: (camera: string) => call<PlanList>('GET', `/cameras/${id(camera)}/plans`),
  setPlan: (camera: string, place: RecordingPlace, change: PlanChange) =>
    call('PUT', `/cameras/${id(camera)}/plans/${place}`, change),
  nvrs: async () => (await call<NvrList>('GET', '/nvrs')).nvrs,
  relate: (nvr: string, camera: string) =>
    call<Related>('PUT', `/nvrs/${id(nvr)}/cameras/${id(camera)}`),
  unrelate: (nvr: string, camera: string) =>
    call('DELETE', `/nvrs/${id(nvr)}/cameras/${id(camera)}`),
  subscriptions: async () =>
    (await call<SubscriptionList>('GET', '/operator/subscriptions')).subscriptions,
  setSubscription: (user: string, subscription: Subscription) =>
    call('PUT', `/operator/subscriptions/${id(user)}`, {
      subscription,
    } satisfies SubscriptionChange),
  networks: async (side: NetworkSide, days: number) =>
    (await call<NetworkList>('GET', `/operator/networks?side=${side}&days=${days}`)).networks,
  mtus: async () => (await call<MtuList>('GET', '/operator/mtus')).mtus,
  usage: (days: number) => call<UsageList>('GET', `/operator/usage?days=${days}`),
  audit: async () => (await call<AuditList>('GET', '/operator/audit')).entries,
};
