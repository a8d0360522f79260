/**
 * Bodies of interface Cm by their short names. They come from the CMU's OpenAPI document
 * (`npm run generate`), so a change there that this client does not follow fails to compile.
 */

import type { components } from './schema';

type Schemas = components['schemas'];

export type AudioCodec = Schemas['AudioCodec'];
export type AuditEntry = Schemas['AuditEntry'];
export type AuditList = Schemas['AuditList'];
export type BindRequest = Schemas['BindRequest'];
export type Bound = Schemas['Bound'];
export type Camera = Schemas['Camera'];
export type CameraChange = Schemas['CameraChange'];
export type CameraList = Schemas['CameraList'];
export type Capabilities = Schemas['Capabilities'];
export type CentreEvent = Schemas['Event'];
export type CentreProblemKind = Schemas['ProblemKind'];
export type CloudSegment = Schemas['CloudSegment'];
export type CloudSegmentList = Schemas['CloudSegmentList'];
export type CloudSpace = Schemas['CloudSpace'] & { devices?: CloudDevice[] };
export type DeviceId = Schemas['DeviceId'];
export type EventKind = Schemas['EventKind'];
export type EventMark = Schemas['EventMark'];
export type IceServer = Schemas['IceServer'];
export type Info = Schemas['Info'];
export type MtuList = Schemas['MtuList'];
export type MtuRow = Schemas['MtuRow'];
export type MtuShare = Schemas['MtuShare'];
export type NetworkList = Schemas['NetworkList'];
export type NetworkRow = Schemas['NetworkRow'];
export type NetworkSide = Schemas['NetworkSide'];
export type PlayAnswer = Schemas['PlayAnswer'];
export type PlayRequest = Schemas['PlayRequest'];
export type Nvr = Schemas['Nvr'];
export type NvrList = Schemas['NvrList'];
export type PlanChange = Schemas['PlanChange'];
export type PlanList = Schemas['PlanList'];
export type PlanState = Schemas['PlanState'];
export type Presence = Schemas['Presence'];
export type RecordedDays = Schemas['RecordedDays'] & Silence;
export type RecordingPlace = Schemas['RecordingPlace'];
export type RecordingSource = Schemas['RecordingSource'];
export type RecordingPlan = Schemas['RecordingPlan'];
export type Related = Schemas['Related'];
export type RelayCause = Schemas['RelayCause'];
export type Rung = Schemas['Rung'];
export type SignedIn = Schemas['SignedIn'];
export type SignInRequest = Schemas['SignInRequest'];
export type SmsCodeRequest = Schemas['SmsCodeRequest'];
export type SmsCodeSent = Schemas['SmsCodeSent'];
export type StageFigures = Schemas['StageFigures'];
export type Strategy = Schemas['Strategy'];
export type StreamTier = Schemas['StreamTier'];
export type Subscription = Schemas['Subscription'];
export type SubscriptionChange = Schemas['SubscriptionChange'];
export type SubscriptionList = Schemas['SubscriptionList'];
export type SubscriptionRow = Schemas['SubscriptionRow'];
export type Timeline = Schemas['Timeline'] & Silence;
export type TimelineGap = Schemas['TimelineGap'];
export type TimelineSpan = Schemas['TimelineSpan'];
export type UsageList = Schemas['UsageList'];
export type UsageRow = Schemas['UsageRow'];
export type User = Schemas['User'];
export type VideoCodec = Schemas['VideoCodec'];

/** Why a recorder said nothing (crates/protocol/src/cm/recording.rs). */
export type SilenceReason = 'offline' | 'no_answer' | 'storage_away' | 'busy' | 'failed';

/** A recorder that should have answered: what it has is not in the answer. */
export interface SilentRecorder {
  place: RecordingPlace;
  recorder: string;
  reason: SilenceReason;
}

/** What the user has in the cloud storage of one device (crates/protocol/src/cm/cloud.rs). */
export interface CloudDevice {
  device: string;
  /** Whether it is the user's now. */
  bound: boolean;
  segments: number;
  bytes: number;
  from: number;
  to: number;
}

interface Silence {
  silent?: SilentRecorder[];
}
