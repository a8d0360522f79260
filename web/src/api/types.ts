/** Bodies of interface Cm (crates/protocol/src/cm.rs) and the value types of crates/model. */

export type Subscription = 'pending' | 'active' | 'suspended';
export type Presence = 'offline' | 'inactive' | 'online' | 'active';
export type Right = 'view' | 'listen' | 'talk' | 'ptz' | 'playback' | 'manage';
export type StreamTier = 'main' | 'sub';
export type VideoCodec = 'h264' | 'h265';
export type AudioCodec = 'pcmu' | 'pcma' | 'g722' | 'opus' | 'aac';

export interface Info {
  operator: string;
  domain: string;
  version: string;
  approval: 'automatic' | 'operator';
}

export interface SmsCodeSent {
  expires_in_s: number;
  retry_after_s: number;
}

export interface User {
  id: string;
  phone_masked: string;
  subscription: Subscription;
  is_operator: boolean;
}

export interface SignInRequest {
  phone: string;
  code: string;
  client_key: string;
  client_name: string;
  refresh_in: 'cookie';
}

export interface SignedIn {
  access_token: string;
  expires_in_s: number;
  user: User;
  client: string;
}

export interface StreamInfo {
  tier: StreamTier;
  codec: VideoCodec;
  width: number;
  height: number;
  fps: number;
}

export interface DeviceId {
  domain: string;
  pu: string;
}

export interface Camera {
  id: string;
  device: DeviceId;
  name: string;
  presence: Presence;
  fault?: string | null;
  streams: StreamInfo[];
  audio?: AudioCodec | null;
  device_key: string;
  rights: Right[];
}

export interface Bound {
  device: DeviceId;
  cameras: Camera[];
}

export interface Capabilities {
  max_width?: number;
  max_height?: number;
  max_fps?: number;
  max_bitrate_bps?: number;
  video_codecs: VideoCodec[];
}

export interface IceServer {
  urls: string[];
  username?: string | null;
  credential?: string | null;
}

export interface PlayAnswer {
  session: string;
  device: DeviceId;
  camera: string;
  token: string;
  expires_at: number;
  device_key: string;
  signal_url: string;
  ice_servers: IceServer[];
}

export type CentreEvent =
  | { type: 'camera'; camera: Camera }
  | { type: 'camera_gone'; id: string }
  | { type: 'subscription'; subscription: Subscription }
  | { type: 'resync' };

export interface SubscriptionRow {
  user: string;
  phone_masked: string;
  subscription: Subscription;
  since: number;
}

export interface AuditEntry {
  at: number;
  user: string | null;
  action: string;
  target: string;
  outcome: string;
}
