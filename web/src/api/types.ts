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
export type DeviceId = Schemas['DeviceId'];
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
export type PlanChange = Schemas['PlanChange'];
export type PlanList = Schemas['PlanList'];
export type PlanState = Schemas['PlanState'];
export type Presence = Schemas['Presence'];
export type RecordedDays = Schemas['RecordedDays'];
export type RecordingPlace = Schemas['RecordingPlace'];
export type RecordingPlan = Schemas['RecordingPlan'];
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
export type Timeline = Schemas['Timeline'];
export type TimelineGap = Schemas['TimelineGap'];
export type TimelineSpan = Schemas['TimelineSpan'];
export type UsageList = Schemas['UsageList'];
export type UsageRow = Schemas['UsageRow'];
export type User = Schemas['User'];
export type VideoCodec = Schemas['VideoCodec'];
