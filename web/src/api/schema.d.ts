// Generated from docs/api/openapi.json by `npm run generate`. Do not edit.

export interface paths {
    "/api/v1/bindings": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Make a camera yours by its claim code.
         * @description A wrong code and a device that has never been online are answered alike. Binding one's own
         *     device again changes nothing.
         */
        post: operations["bindDevice"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/cameras": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The caller's cameras, by name. */
        get: operations["listCameras"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/cameras/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** One camera. */
        get: operations["getCamera"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        /** Rename a camera. */
        patch: operations["changeCamera"];
        trace?: never;
    };
    "/api/v1/cameras/{id}/plans": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * What is planned to be recorded of a camera, and what is recorded now. A recorder that could not be asked is named in
         *     `silent`.
         */
        get: operations["listPlans"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/cameras/{id}/plans/{place}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /**
         * Change what is recorded of a camera at one place, and for how long it stays. It is carried out from
         *     now on, through restarts of the recorder too.
         */
        put: operations["changePlan"];
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/cameras/{id}/plans/{place}/manual/{strategy}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /** Start or stop a manual strategy of a camera's plan. */
        put: operations["recordManually"];
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/cameras/{id}/play": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Ask to watch a camera: the answer says where it is and holds a token for it.
         * @description The video comes from the device itself. The token names the caller's client key (player
         *     `client`) or is bound to the first address that shows it (player `rtsp`). With `recorder` the answer is
         *     for the recordings that this NVR has of the camera: `device` and `camera` are then the NVR and its
         *     number of the camera.
         */
        post: operations["playCamera"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/cameras/{id}/recordings": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * What was recorded of a camera in a stretch of time, on its own device, on an NVR and in the cloud storage: spans that can be
         *     played and where, gaps with their reasons, and events. A recorder that could not be asked is named in `silent`: what
         *     it has is missing here.
         */
        get: operations["listRecordings"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/cameras/{id}/recordings/days": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** On which days of a month something was recorded. A recorder that could not be asked is named in `silent`. */
        get: operations["listRecordedDays"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/cameras/{id}/recordings/lock": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /** Keep what was recorded in a stretch of time from being overwritten, or no longer. */
        put: operations["lockRecordings"];
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/cameras/{id}/recordings/playlist": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** An address at which other players show what lies in the cloud storage (HLS). */
        post: operations["makePlaylist"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/cameras/{id}/recordings/proof": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** What proves the recordings in the cloud storage: the entries that the device has signed. */
        get: operations["proveCloudSegments"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/cameras/{id}/recordings/segments": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * What lies in the cloud storage of a camera, each segment with an address from which it can be fetched,
         *     whole or in ranges.
         */
        get: operations["listCloudSegments"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/cloud": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * How much space the caller has in the cloud storage, and uses, device by device: also of devices that were
         *     released meanwhile.
         */
        get: operations["getCloudSpace"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/cloud/devices/{pu}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /**
         * Delete everything that the caller has recorded in the cloud storage with a device, locked or not. The
         *     device may have been released meanwhile.
         */
        delete: operations["deleteCloudRecordings"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/devices/{pu}/binding": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /** Release a device: its streams end within two seconds, and its claim code works again. */
        delete: operations["releaseDevice"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Changes as they happen: each event's `data` is the JSON of an `Event`.
         * @description The stream begins with `resync` and ends with the access token: fetch the list, then follow the
         *     stream, and open another with a fresh token when it ends.
         */
        get: operations["streamEvents"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/info": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** What a CU must know before anybody signs in. */
        get: operations["getInfo"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/me": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Who is signed in. */
        get: operations["getMe"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/nvrs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Your network video recorders, and which cameras each records. */
        get: operations["listNvrs"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/nvrs/{pu}/cameras/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /**
         * Have an NVR record a camera. What it records is said by the camera's plan at the place `nvr`.
         * @description Both must be yours. A device that is away now hears of it when it is back.
         */
        put: operations["relateNvr"];
        post?: never;
        /**
         * Have an NVR record a camera no more: its stream ends within two seconds. What was recorded stays on the
         *     NVR, out of sight, until it goes by the plan or the two are related again.
         */
        delete: operations["unrelateNvr"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/operator/audit": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** What was done and refused lately, newest first. */
        get: operations["listAudit"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/operator/mtus": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The relays (MTUs) that run, with their load. */
        get: operations["listMtus"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/operator/mtus/{mtu}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /**
         * Drain a relay before it is stopped, or let it take sessions again. What runs through it goes on;
         *     new sessions are given other relays. A restart of the relay ends the draining.
         */
        put: operations["changeMtu"];
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/operator/networks": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * How sessions reach their viewers, by network: rungs of the ladder, bytes relayed, and the time
         *     to the first frame by stage. Networks are prefixes (/24, /48); those with the most sessions come
         *     first.
         */
        get: operations["listNetworks"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/operator/subscriptions": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Accounts and their subscriptions, oldest first. */
        get: operations["listSubscriptions"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/operator/subscriptions/{user}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /** Approve, refuse or suspend a subscription. Suspending ends the user's streams. */
        put: operations["changeSubscription"];
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/operator/subscriptions/{user}/cloud": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /**
         * Set how much space a user has in the cloud storage. Less than is used deletes nothing by itself: what
         *     comes next makes room.
         */
        put: operations["changeCloudSpace"];
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/operator/usage": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** What was relayed, by session and by relay, for accounting; sessions that began last come first. */
        get: operations["listUsage"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/sessions": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Sign in with the code from the SMS; the first time makes the account. */
        post: operations["signIn"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/sessions/current": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /**
         * Sign out here: the access token, the refresh token and the play tokens of this sign-in end, and
         *     so do its streams.
         */
        delete: operations["signOut"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/sessions/refresh": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Get a new access token for a refresh token, which is replaced.
         * @description A refresh token works once. When an old one comes again, somebody has a copy: the whole sign-in
         *     ends. (For ten seconds the last one is forgiven, since two pages may refresh at once.)
         */
        post: operations["refreshSession"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/sms-codes": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Send a one-time code by SMS.
         * @description The answer is the same whether the number has an account or not.
         */
        post: operations["sendSmsCode"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /**
         * @description Why there is nothing to see at a time.
         * @enum {string}
         */
        Absence: "not_planned" | "camera_away" | "recorder_off" | "storage_full" | "storage_read_only" | "storage_away" | "storage_failed" | "unusable_stream" | "expired" | "damaged" | "being_recorded" | "unknown";
        /**
         * @description What owners are alerted of.
         * @enum {string}
         */
        AlertKind: "wrong_key" | "storage_slow" | "storage_full" | "storage_read_only" | "storage_away" | "storage_failing";
        /**
         * @description How new subscriptions are approved (A6.1.1).
         * @enum {string}
         */
        Approval: "automatic" | "operator";
        /**
         * @description Audio coding of a stream.
         * @enum {string}
         */
        AudioCodec: "pcmu" | "pcma" | "g722" | "opus" | "aac";
        /** @description One thing that somebody did or was refused. */
        AuditEntry: {
            /** @description What, such as `binding.create`. */
            action: string;
            /** @description When. */
            at: components["schemas"]["UnixMicros"];
            /** @description `ok`, or the problem's type. */
            outcome: string;
            /** @description To what. */
            target: string;
            user?: components["schemas"]["UserId"] | null;
        };
        /** @description `GET /operator/audit`: newest first. */
        AuditList: {
            /** @description At most 200. */
            entries: components["schemas"]["AuditEntry"][];
        };
        /** @description `POST /bindings` (A8.2 step 1). */
        BindRequest: {
            /** @description As typed or scanned. */
            claim_code: string;
        };
        /** @description A8.2 step 3. */
        Bound: {
            /** @description Its cameras, now in the list. */
            cameras: components["schemas"]["Camera"][];
            /** @description The device. */
            device: components["schemas"]["DeviceId"];
        };
        /** @description A camera as its user sees it. */
        Camera: {
            audio?: components["schemas"]["AudioCodec"] | null;
            /** @description Its device. */
            device: components["schemas"]["DeviceId"];
            /** @description The device's key, whose hash is the device id. */
            device_key: components["schemas"]["PublicKey"];
            /** @description Why not, in words. */
            fault?: string | null;
            /** @description Its id. */
            id: components["schemas"]["CameraId"];
            /** @description What the user calls it. */
            name: string;
            /** @description Whether it can be watched. */
            presence: components["schemas"]["Presence"];
            /** @description What the caller may do with it. */
            rights: components["schemas"]["Rights"];
            /** @description Its encodings. */
            streams: components["schemas"]["StreamInfo"][];
        };
        /** @description `PATCH /cameras/{id}`. */
        CameraChange: {
            /** @description New name, 1 to 64 characters. */
            name: string;
        };
        /** @description `GET /cameras/{id}/recordings/days`. */
        CameraDays: components["schemas"]["RecordedDays"] & {
            /** @description Who could not be asked: they may have recordings of other days. */
            silent?: components["schemas"]["SilentRecorder"][];
        };
        /** @description A camera: device id, a dot, channel number. */
        CameraId: string;
        /** @description `GET /cameras`. */
        CameraList: {
            /** @description The caller's cameras, by name. */
            cameras: components["schemas"]["Camera"][];
        };
        /** @description `GET /cameras/{id}/recordings`. */
        CameraTimeline: components["schemas"]["Timeline"] & {
            /** @description Who could not be asked: where the timeline has a gap, they may have a recording. */
            silent?: components["schemas"]["SilentRecorder"][];
        };
        /** @description What a customer unit states about itself when it asks for media. Absent means no limit. */
        Capabilities: {
            /**
             * Format: int64
             * @description Most bits per second of video.
             */
            max_bitrate_bps?: number | null;
            /**
             * Format: float
             * @description Most pictures per second.
             */
            max_fps?: number | null;
            /**
             * Format: int32
             * @description Highest picture in pixels.
             */
            max_height?: number | null;
            /**
             * Format: int32
             * @description Widest picture in pixels.
             */
            max_width?: number | null;
            /** @description Video codings that it can decode; H.264 when nothing is stated. */
            video_codecs?: components["schemas"]["VideoCodec"][];
        };
        /** @description Sessions that are relayed for one cause. */
        CauseCount: {
            /** @description The cause. */
            cause: components["schemas"]["RelayCause"];
            /**
             * Format: int64
             * @description How many.
             */
            sessions: number;
        };
        /** @description Why something was recorded; several reasons may hold at once. */
        Causes: {
            /** @description Continuous recording. */
            continuous: boolean;
            /** @description An event, or the time around one. */
            event: boolean;
            /** @description Somebody pressed the button. */
            manual: boolean;
            /** @description The weekly schedule. */
            schedule: boolean;
        };
        /** @description One app or browser of a user: the holder of a client key. */
        ClientId: string;
        /** @description `DELETE /cloud/devices/{pu}`. */
        CloudDeleted: {
            /**
             * Format: int64
             * @description Segments that are being deleted.
             */
            segments: number;
        };
        /** @description What the caller has in the cloud storage of one device. */
        CloudDevice: {
            /** @description Whether it is the caller's now. What is recorded with another one is shown nowhere; it can be deleted. */
            bound: boolean;
            /**
             * Format: int64
             * @description Their bytes.
             */
            bytes: number;
            /** @description The device: a PU, or an NVR with cameras of its own. */
            device: components["schemas"]["PuId"];
            /** @description When the oldest begins. */
            from: components["schemas"]["UnixMicros"];
            /**
             * Format: int64
             * @description Segments.
             */
            segments: number;
            /** @description When the newest ends. */
            to: components["schemas"]["UnixMicros"];
        };
        /** @description `PUT /operator/subscriptions/{user}/cloud`. */
        CloudQuotaChange: {
            /**
             * Format: int64
             * @description Bytes that the user may use; absent: the free allowance.
             */
            quota_bytes?: number | null;
        };
        /** @description A segment in the cloud storage, and where it can be fetched (interface Cc). */
        CloudSegment: {
            /**
             * Format: int64
             * @description Its length, in bytes.
             */
            bytes: number;
            /** @description Why it was recorded. */
            causes: components["schemas"]["Causes"];
            /** @description Its chain, 32 hexadecimal digits. */
            chain: string;
            /** @description When it begins, corrected. */
            from: components["schemas"]["UnixMicros"];
            /**
             * Format: int32
             * @description Length of its head (`ftyp` and `moov`), in bytes.
             */
            head_bytes: number;
            /** @description Whether it is kept until it is unlocked. */
            locked: boolean;
            /**
             * Format: int64
             * @description Its run: segments of one run follow each other without a seam.
             */
            run: number;
            /**
             * Format: int64
             * @description Its number in it.
             */
            sequence: number;
            /** @description SHA-256 of its bytes as the device signed it, 64 hexadecimal digits. */
            sha256: string;
            /** @description Which of the camera's encodings. */
            tier: components["schemas"]["StreamTier"];
            /** @description Whether somebody vouches for its time. */
            time_known: boolean;
            /** @description When it ends, corrected. */
            to: components["schemas"]["UnixMicros"];
            /**
             * @description Where its bytes are, whole or in ranges (RFC 9110, 14), without any further leave. A path alone is
             *     relative to the portal. Let nobody see it.
             */
            url: string;
        };
        /** @description `GET /cameras/{id}/recordings/segments`. */
        CloudSegmentList: {
            /** @description Until when their addresses work. */
            expires_at: components["schemas"]["UnixMicros"];
            /** @description To be handed in as `after` for more; absent: there are none. */
            next?: string | null;
            /** @description In the order of their beginnings. */
            segments: components["schemas"]["CloudSegment"][];
        };
        /** @description `GET /cloud`: the caller's space. */
        CloudSpace: {
            /** @description Whether there is a cloud storage. */
            available: boolean;
            /** @description Devices of which something lies there, those that were released included. */
            devices?: components["schemas"]["CloudDevice"][];
            /**
             * Format: int64
             * @description Bytes that everybody may use for nothing.
             */
            free_bytes: number;
            /**
             * Format: int64
             * @description Bytes that the caller may use.
             */
            quota_bytes: number;
            /**
             * Format: int64
             * @description Bytes of the caller's recordings, those of cameras that were released included.
             */
            used_bytes: number;
        };
        /** @description A premises unit within its home domain. */
        DeviceId: {
            /** @description The domain where the device is registered. */
            domain: components["schemas"]["DomainName"];
            /** @description The device itself. */
            pu: components["schemas"]["PuId"];
        };
        /** @description The home domain of a device or user: one operator's installation. */
        DomainName: string;
        /** @description `GET /events`: server-sent events, each the JSON of one of these. */
        Event: {
            /** @description As it is now. */
            camera: components["schemas"]["Camera"];
            /** @enum {string} */
            type: "camera";
        } | {
            /** @description Which. */
            id: components["schemas"]["CameraId"];
            /** @enum {string} */
            type: "camera_gone";
        } | {
            /** @description To what. */
            subscription: components["schemas"]["Subscription"];
            /** @enum {string} */
            type: "subscription";
        } | {
            /** @description Its cameras, for showing their names. */
            cameras: components["schemas"]["CameraId"][];
            /** @description Which device. */
            device: components["schemas"]["DeviceId"];
            /** @description What has happened. */
            kind: components["schemas"]["AlertKind"];
            /** @description The same in words, in English; a CU that knows the kind uses words of its own. */
            text: string;
            /** @enum {string} */
            type: "alert";
        } | {
            /** @enum {string} */
            type: "resync";
        };
        /**
         * @description What has happened in front of a camera, or to it.
         * @enum {string}
         */
        EventKind: "motion" | "sound" | "tamper" | "input" | "object";
        /** @description An event, or several of a kind that lie too close together to be told apart. */
        EventMark: {
            /**
             * Format: int32
             * @description How many.
             */
            count: number;
            /** @description When the first began. */
            from: components["schemas"]["UnixMicros"];
            /** @description What happened. */
            kind: components["schemas"]["EventKind"];
            /** @description When the last ended. */
            to: components["schemas"]["UnixMicros"];
        };
        /** @description As in the W3C's `RTCIceServer`. */
        IceServer: {
            /** @description Its password. */
            credential?: string | null;
            /** @description RFC 7064 and RFC 7065 URLs. */
            urls: string[];
            /** @description Time-limited user name. */
            username?: string | null;
        };
        /** @description `GET /info`: what a CU must know before anybody signs in. */
        Info: {
            /** @description Whether a new account waits for the operator. */
            approval: components["schemas"]["Approval"];
            /** @description The home domain. */
            domain: components["schemas"]["DomainName"];
            /** @description The operator's name, for people. */
            operator: string;
            /** @description Version of the centre. */
            version: string;
        };
        /**
         * @description How long recordings stay. Absent limits are those of the storage: when it is full, the oldest
         *     goes for the newest.
         */
        Keep: {
            /**
             * Format: int32
             * @description Longest time for clips of events, in seconds. They also go last when space is needed.
             */
            event_max_age_s?: number | null;
            /**
             * Format: int32
             * @description Longest time, in seconds since a segment's end.
             */
            max_age_s?: number | null;
            /**
             * Format: int64
             * @description Most bytes of each tier.
             */
            max_bytes?: number | null;
        };
        /** @description `PUT /cameras/{id}/recordings/lock`; the answer is [`Locked`]. */
        LockChange: {
            /** @description From when on. */
            from: components["schemas"]["UnixMicros"];
            /** @description Lock, else unlock. */
            locked: boolean;
            /** @description At which place. */
            place: components["schemas"]["RecordingPlace"];
            tier?: components["schemas"]["StreamTier"] | null;
            /** @description Until when, exclusive. */
            to: components["schemas"]["UnixMicros"];
        };
        /** @description What was locked or unlocked. */
        Locked: {
            /**
             * Format: int64
             * @description Their bytes.
             */
            bytes: number;
            /**
             * Format: int64
             * @description Segments that lie in the span.
             */
            segments: number;
        };
        /** @description `PUT /cameras/{id}/plans/{place}/manual/{strategy}`. */
        ManualChange: {
            /** @description Start, else stop. */
            on: boolean;
        };
        /** @description One viewing of one camera by one client: the call whose legs the SCU keeps. */
        MediaSessionId: string;
        /** @description A time of day by the clock on the wall, to the minute, from `00:00` to `24:00`. */
        MinuteOfDay: string;
        /** @description `PUT /operator/mtus/{mtu}`. */
        MtuChange: {
            /** @description Whether it is to drain: to go on with what it relays, and to take nothing new. */
            draining: boolean;
        };
        /** @description `GET /operator/mtus`. */
        MtuList: {
            /** @description By name. */
            mtus: components["schemas"]["MtuRow"][];
        };
        /** @description A relay (MTU) as the operator sees it. */
        MtuRow: {
            /** @description Whether it takes new sessions. */
            accepting: boolean;
            /**
             * Format: int32
             * @description Allocations that it holds; an MTU that drains can be stopped when there are none.
             */
            allocations: number;
            /**
             * Format: int64
             * @description What it can relay in all, bits per second; absent while unknown.
             */
            capacity_bps?: number | null;
            /** @description Whether it was told to drain. */
            draining: boolean;
            /** @description When it was heard last. */
            heard_at: components["schemas"]["UnixMicros"];
            /**
             * Format: float
             * @description Share of its capacity in use, 0 to 1.
             */
            load: number;
            /** @description Its name. */
            mtu: string;
            /**
             * Format: int64
             * @description What it relayed lately, bits per second.
             */
            relayed_bps: number;
        };
        /** @description What one relay has relayed. */
        MtuShare: {
            /**
             * Format: int64
             * @description Bytes in both directions, payload only.
             */
            bytes: number;
            /** @description Which. */
            mtu: string;
        };
        /** @description `GET /operator/networks`. */
        NetworkList: {
            /** @description From when on sessions count. */
            from: components["schemas"]["UnixMicros"];
            /** @description Those with the most sessions first; at most 200. */
            networks: components["schemas"]["NetworkRow"][];
        };
        /** @description How sessions of one network reach their viewers. */
        NetworkRow: {
            /** @description A prefix such as `203.0.113.0/24`, or `other`. */
            network: string;
            /** @description Why those that are relayed have no direct way, the most frequent cause first. */
            relay_causes: components["schemas"]["CauseCount"][];
            /**
             * Format: int64
             * @description Bytes that MTUs relayed for them.
             */
            relayed_bytes: number;
            /** @description On which rung of the ladder they stood last, best first. */
            rungs: components["schemas"]["RungCount"][];
            /**
             * Format: int64
             * @description Sessions of which a rung is known.
             */
            sessions: number;
            /** @description From the click to the first frame: each stage, then `total`. */
            stages: components["schemas"]["StageFigures"][];
        };
        /**
         * @description Which end's network.
         * @enum {string}
         */
        NetworkSide: "viewer" | "pu";
        /** @description An NVR as its owner sees it. */
        Nvr: {
            /** @description The device. */
            device: components["schemas"]["DeviceId"];
            /** @description Its key, whose hash is the device id. */
            device_key: components["schemas"]["PublicKey"];
            /** @description Whether it is registered now. */
            online: boolean;
            /** @description What it records of other devices' cameras. */
            records: components["schemas"]["Relation"][];
            storage?: components["schemas"]["StorageStatus"] | null;
        };
        /** @description `GET /nvrs`. */
        NvrList: {
            /** @description The caller's NVRs, the oldest binding first. */
            nvrs: components["schemas"]["Nvr"][];
        };
        /**
         * @description A mobile number in E.164 form (`+` and 7 to 15 digits). Shown only by [`PhoneNumber::expose`].
         *
         *     Whether the number exists in its country's plan is the CMU's check, not this type's.
         */
        PhoneNumber: string;
        /**
         * @description `PUT /cameras/{id}/plans/{place}` (A8.7.1, A8.7.3 step 1; A8.7.2 step 9). Its revision is
         *     the next after the one that was seen.
         */
        PlanChange: {
            /** @description For how long. */
            keep?: components["schemas"]["Keep"];
            /**
             * Format: int64
             * @description The revision that the user has seen: when another holds by now, the change is refused.
             */
            seen_revision: number;
            /** @description What is to be recorded; nothing when empty. */
            strategies: components["schemas"]["Strategy"][];
        };
        /** @description `GET /cameras/{id}/plans`. */
        PlanList: {
            /** @description At most one of each place. */
            plans: components["schemas"]["PlanState"][];
            /** @description Who could not be asked: their plans are carried out all the same. */
            silent?: components["schemas"]["SilentRecorder"][];
        };
        /** @description A plan, and what comes of it now. */
        PlanState: {
            /** @description The plan that holds. */
            plan: components["schemas"]["RecordingPlan"];
            /** @description Encodings that are being recorded, and why. */
            recording: components["schemas"]["TierState"][];
        };
        /** @description A8.4 step 3. */
        PlayAnswer: {
            /** @description The camera, as that device counts it: at an NVR a number of the NVR's. */
            camera: components["schemas"]["CameraId"];
            /** @description The device that media comes from. */
            device: components["schemas"]["DeviceId"];
            /** @description The device's key; compare it with what the QR code said. */
            device_key: components["schemas"]["PublicKey"];
            /** @description No new use after this. */
            expires_at: components["schemas"]["UnixMicros"];
            /** @description STUN and TURN servers. */
            ice_servers: components["schemas"]["IceServer"][];
            /** @description Where the device answers RTSP inside QUIC, best first. */
            quic: string[];
            /** @description RTSP URLs with the token in them, best first. */
            rtsp_urls: string[];
            /** @description The session. */
            session: components["schemas"]["MediaSessionId"];
            /** @description WebSocket of the SCU, for WebRTC; a path alone is relative to the portal's address. */
            signal_url: string;
            /** @description The play token. */
            token: string;
        };
        /**
         * @description Who will show the play token.
         * @enum {string}
         */
        Player: "client" | "rtsp";
        /** @description Its answer: an HLS playlist (RFC 8216) for players that know neither us nor a sign-in. */
        PlaylistLink: {
            /** @description Until when it works. It ends earlier with the sign-in, and when the camera is released. */
            expires_at: components["schemas"]["UnixMicros"];
            /** @description The playlist. A path alone is relative to the portal. Whoever has it can watch: show it to nobody. */
            url: string;
        };
        /** @description `POST /cameras/{id}/recordings/playlist`. */
        PlaylistRequest: {
            /** @description From when on. */
            from: components["schemas"]["UnixMicros"];
            /** @description Which encoding. */
            tier: components["schemas"]["StreamTier"];
            /** @description Until when, exclusive; at most six hours later. */
            to: components["schemas"]["UnixMicros"];
        };
        /** @description `POST /cameras/{id}/play` (A8.4 step 1). */
        PlayRequest: {
            /** @description What the CU can take. */
            capabilities?: components["schemas"]["Capabilities"];
            /** @description For which kind of player. */
            player?: components["schemas"]["Player"];
            recorder?: components["schemas"]["PuId"] | null;
        };
        /**
         * @description Whether a unit can be reached (A7.2, "presence").
         * @enum {string}
         */
        Presence: "offline" | "inactive" | "online" | "active";
        /** @description A problem document as it is sent. */
        ProblemDocument: {
            /** @description What happened and what to do about it, in words for the person. */
            detail: string;
            /**
             * Format: int32
             * @description The HTTP status.
             */
            status: number;
            /** @description The HTTP status in words. */
            title: string;
            /** @description Which problem: a stable word that programs may match on. */
            type: components["schemas"]["ProblemKind"];
        };
        /**
         * @description The problems that exist.
         * @enum {string}
         */
        ProblemKind: "invalid_request" | "unauthenticated" | "forbidden" | "not_found" | "not_approved" | "wrong_code" | "wrong_claim_code" | "already_bound" | "rate_limited" | "wrong_key" | "unknown_device" | "stale_lease" | "invalid_token" | "token_expired" | "token_in_use" | "token_revoked" | "device_offline" | "camera_offline" | "storage_away" | "not_decodable" | "busy" | "timeout" | "plan_changed" | "already_related" | "no_space_left" | "internal";
        /** @description An Ed25519 public key (RFC 8032), 32 bytes, base64url without padding in text. */
        PublicKey: string;
        /**
         * @description A premises unit: the first 128 bits of SHA-256 over its Ed25519 public key, in base32
         *     (26 characters).
         *
         *     The id *is* the key's fingerprint, so knowing an id never suffices to register with it, and
         *     whoever holds the id (from the QR code) can pin the key.
         */
        PuId: string;
        /** @description The days of a month that have recordings, by the camera's calendar. */
        RecordedDays: {
            /** @description The camera. */
            camera: components["schemas"]["CameraId"];
            /** @description Days, 1 to 31. */
            days: number[];
            /**
             * Format: int32
             * @description Month, 1 to 12.
             */
            month: number;
            /**
             * Format: int32
             * @description Year of our era.
             */
            year: number;
            /** @description The zone whose days are meant. */
            zone: components["schemas"]["ZoneName"];
        };
        /**
         * @description Where a recording lies.
         * @enum {string}
         */
        RecordingPlace: "pu" | "nvr" | "cs";
        /** @description What one camera's recorder does at one place. */
        RecordingPlan: {
            /** @description The camera. */
            camera: components["schemas"]["CameraId"];
            /** @description For how long. */
            keep?: components["schemas"]["Keep"];
            /** @description The place. */
            place: components["schemas"]["RecordingPlace"];
            /**
             * Format: int64
             * @description Rises with every change; the highest holds. 0: nothing was ever set.
             */
            revision: number;
            /** @description What is recorded; nothing when empty. */
            strategies: components["schemas"]["Strategy"][];
        };
        /** @description Who holds recordings of a camera, where, and of which encoding. */
        RecordingSource: {
            /** @description The place. */
            place: components["schemas"]["RecordingPlace"];
            /** @description Who recorded: a PU or an NVR; for the cloud storage, who uploaded. */
            recorder: components["schemas"]["PuId"];
            /** @description Which of the camera's encodings. */
            tier: components["schemas"]["StreamTier"];
        };
        /**
         * @description Where a refresh token travels.
         * @enum {string}
         */
        RefreshIn: "cookie" | "body";
        /** @description `POST /sessions/refresh`; the body may be empty when a cookie is sent. */
        RefreshRequest: {
            /** @description The refresh token, when it did not come in a cookie. */
            refresh_token?: string | null;
        };
        /**
         * @description `PUT /nvrs/{pu}/cameras/{id}`: the relation holds; who of the two has said so by now. One that is away
         *     is told when it is back.
         */
        Related: {
            /** @description The NVR (A8.7.2 step 5). */
            nvr_told: boolean;
            /** @description The camera's own device (step 6). */
            pu_told: boolean;
        };
        /** @description A relation between an NVR and a camera. */
        Relation: {
            /** @description The camera. */
            camera: components["schemas"]["CameraId"];
            /** @description Since when. */
            since: components["schemas"]["UnixMicros"];
        };
        /**
         * @description Why a session is relayed, as far as what both ends have measured of their NATs tells.
         * @enum {string}
         */
        RelayCause: "viewer_udp_blocked" | "pu_udp_blocked" | "both_symmetric" | "viewer_symmetric" | "pu_symmetric" | "no_answer" | "unknown";
        /**
         * @description One thing that a user may do with a camera.
         * @enum {string}
         */
        Right: "view" | "listen" | "talk" | "ptz" | "playback" | "manage";
        /** @description What a user may do with a camera. */
        Rights: components["schemas"]["Right"][];
        /**
         * @description A rung of the connection ladder, best first: the order of the variants is the preference.
         * @enum {string}
         */
        Rung: "host" | "mapped" | "punched" | "probed" | "relay_udp" | "relay_tcp" | "relay_tls";
        /** @description Sessions on one rung. */
        RungCount: {
            /** @description The rung. */
            rung: components["schemas"]["Rung"];
            /**
             * Format: int64
             * @description How many.
             */
            sessions: number;
        };
        /** @description Signed in. */
        SignedIn: {
            /** @description Bearer token for the API. */
            access_token: string;
            /** @description Which client. */
            client: components["schemas"]["ClientId"];
            /**
             * Format: int32
             * @description How long it works.
             */
            expires_in_s: number;
            /** @description Only with [`RefreshIn::Body`]. Each use gives a new one. */
            refresh_token?: string | null;
            /** @description Who. */
            user: components["schemas"]["User"];
        };
        /** @description `POST /sessions`: sign in; the first time makes the account. */
        SignInRequest: {
            /** @description The client's own key; play tokens will be bound to it. */
            client_key: components["schemas"]["PublicKey"];
            /** @description What the person calls this client, such as "Chrome on Windows". */
            client_name?: string;
            /** @description The code from the SMS. */
            code: string;
            /** @description Whose account. */
            phone: components["schemas"]["PhoneNumber"];
            /** @description Where the refresh token goes: a cookie that scripts cannot read, or the body. */
            refresh_in?: components["schemas"]["RefreshIn"];
        };
        /**
         * @description Why a recorder says nothing.
         * @enum {string}
         */
        SilenceReason: "offline" | "no_answer" | "storage_away" | "busy" | "failed";
        /** @description A recorder of a camera that could not be asked. */
        SilentRecorder: {
            /** @description Where it records the camera. */
            place: components["schemas"]["RecordingPlace"];
            /** @description Why it says nothing. */
            reason: components["schemas"]["SilenceReason"];
            /** @description Who it is. */
            recorder: components["schemas"]["PuId"];
        };
        /** @description `POST /sms-codes`: send a one-time code. */
        SmsCodeRequest: {
            /** @description Where to. */
            phone: components["schemas"]["PhoneNumber"];
        };
        /** @description The code is on its way. */
        SmsCodeSent: {
            /**
             * Format: int32
             * @description How long the code works.
             */
            expires_in_s: number;
            /**
             * Format: int32
             * @description When another may be asked for.
             */
            retry_after_s: number;
        };
        /** @description How long a stage took. */
        StageFigures: {
            /**
             * Format: int32
             * @description Half of the sessions took no longer; up to 9 % too long.
             */
            p50_ms: number;
            /**
             * Format: int32
             * @description 95 of 100 sessions took no longer; up to 9 % too long.
             */
            p95_ms: number;
            /** @description Which, as in `cs::StageTimes`. */
            stage: string;
        };
        /**
         * @description The state of a recorder's storage.
         * @enum {string}
         */
        StorageState: "ok" | "slow" | "full" | "read_only" | "away" | "failing";
        /** @description A recorder's storage, as its owner sees it. */
        StorageStatus: {
            /**
             * Format: int64
             * @description Size, in bytes; absent when it is not there.
             */
            capacity_bytes?: number | null;
            /**
             * Format: int64
             * @description Bytes of those that are locked.
             */
            locked_bytes: number;
            oldest?: components["schemas"]["UnixMicros"] | null;
            /**
             * Format: int64
             * @description Bytes of recordings.
             */
            recorded_bytes: number;
            /** @description Its state. */
            state: components["schemas"]["StorageState"];
        };
        /** @description One reason to record. Several hold side by side. */
        Strategy: {
            /** @description Its name in the plan. */
            id: components["schemas"]["StrategyId"];
            /** @description Which of the camera's encodings. */
            tier: components["schemas"]["StreamTier"];
            /** @description When. */
            trigger: components["schemas"]["Trigger"];
        };
        /** @description Name of a strategy within its plan: 1 to 32 letters, digits, `-` and `_`. */
        StrategyId: string;
        /** @description One encoding that a camera offers. */
        StreamInfo: {
            /** @description Its coding. */
            codec: components["schemas"]["VideoCodec"];
            /**
             * Format: float
             * @description Pictures per second, 0 when the camera does not say.
             */
            fps: number;
            /**
             * Format: int32
             * @description Picture height in pixels.
             */
            height: number;
            /** @description Main or sub. */
            tier: components["schemas"]["StreamTier"];
            /**
             * Format: int32
             * @description Picture width in pixels.
             */
            width: number;
        };
        /**
         * @description Which of a camera's encodings.
         * @enum {string}
         */
        StreamTier: "main" | "sub";
        /**
         * @description State of an account (A6.1.1).
         * @enum {string}
         */
        Subscription: "pending" | "active" | "suspended";
        /** @description `PUT /operator/subscriptions/{user}`. */
        SubscriptionChange: {
            /** @description The new state. */
            subscription: components["schemas"]["Subscription"];
        };
        /** @description `GET /operator/subscriptions`. */
        SubscriptionList: {
            /** @description Oldest first. */
            subscriptions: components["schemas"]["SubscriptionRow"][];
        };
        /** @description One subscription as the operator sees it. */
        SubscriptionRow: {
            /** @description The number with its middle hidden. */
            phone_masked: string;
            /** @description When the person signed up. */
            since: components["schemas"]["UnixMicros"];
            /** @description Its state. */
            subscription: components["schemas"]["Subscription"];
            /** @description The account. */
            user: components["schemas"]["UserId"];
        };
        /** @description An encoding that is being recorded. */
        TierState: {
            /** @description Why. */
            causes: components["schemas"]["Causes"];
            /** @description Which. */
            tier: components["schemas"]["StreamTier"];
        };
        /** @description What a stretch of time looks like for one camera, over all places. */
        Timeline: {
            /** @description The camera. */
            camera: components["schemas"]["CameraId"];
            /** @description Events, in order. */
            events: components["schemas"]["EventMark"][];
            /** @description Where it begins. */
            from: components["schemas"]["UnixMicros"];
            /** @description What cannot, in order, between the spans. */
            gaps: components["schemas"]["TimelineGap"][];
            /**
             * Format: int64
             * @description Interruptions shorter than this are not told, in microseconds.
             */
            resolution_us: number;
            /** @description Who has recordings, best first. */
            sources: components["schemas"]["RecordingSource"][];
            /** @description What can be played, in order; no two overlap. */
            spans: components["schemas"]["TimelineSpan"][];
            /** @description Where it ends, exclusive. */
            to: components["schemas"]["UnixMicros"];
        };
        /** @description A stretch of a timeline without any recording. */
        TimelineGap: {
            /** @description From when on. */
            from: components["schemas"]["UnixMicros"];
            /** @description Why, by who could have recorded it best. */
            reason: components["schemas"]["Absence"];
            /** @description Until when, exclusive. */
            to: components["schemas"]["UnixMicros"];
        };
        /** @description A stretch of a timeline that can be played. */
        TimelineSpan: {
            /** @description Why it was recorded. */
            causes: components["schemas"]["Causes"];
            /** @description From when on, corrected. */
            from: components["schemas"]["UnixMicros"];
            /** @description Others that have all or part of it, likewise. */
            others?: number[];
            /**
             * Format: int32
             * @description The best source, by its place in [`Timeline::sources`].
             */
            source: number;
            /** @description Whether somebody vouches for its time. */
            time_known: boolean;
            /** @description Until when, exclusive. */
            to: components["schemas"]["UnixMicros"];
            /** @description Whether the source has this time twice, after its clock was set back: both can be played. */
            twice?: boolean;
        };
        /** @description What makes a strategy record. */
        Trigger: {
            /**
             * Format: int32
             * @description It ends by itself after so many seconds; absent: it does not.
             */
            limit_s?: number | null;
            /** @enum {string} */
            on: "manual";
        } | {
            /** @enum {string} */
            on: "schedule";
            /** @description Which. */
            schedule: components["schemas"]["WeeklySchedule"];
        } | {
            /** @enum {string} */
            on: "continuous";
        } | {
            during?: components["schemas"]["WeeklySchedule"] | null;
            /** @description Events of these kinds. */
            kinds: components["schemas"]["EventKind"][];
            /** @enum {string} */
            on: "event";
            /**
             * Format: int32
             * @description Seconds after an event's end.
             */
            post_roll_s: number;
            /**
             * Format: int32
             * @description Seconds before an event's beginning that are recorded too.
             */
            pre_roll_s: number;
        };
        /**
         * Format: int64
         * @description Microseconds since 1970-01-01 UTC.
         */
        UnixMicros: number;
        /** @description `GET /operator/usage`. */
        UsageList: {
            /** @description All of the same time by relay, those that relayed most first. */
            mtus: components["schemas"]["MtuShare"][];
            /** @description Those that began last first; at most 500. */
            sessions: components["schemas"]["UsageRow"][];
        };
        /** @description What was relayed for one session. */
        UsageRow: {
            /**
             * Format: int64
             * @description Seconds that allocations were held, all together.
             */
            allocated_s: number;
            /**
             * Format: int64
             * @description Bytes in both directions, payload only.
             */
            bytes: number;
            /** @description When the first allocation was made. */
            from: components["schemas"]["UnixMicros"];
            /**
             * Format: int32
             * @description How many MTUs had part in it.
             */
            mtus: number;
            /**
             * Format: int64
             * @description Packets in both directions.
             */
            packets: number;
            /** @description The session. */
            session: components["schemas"]["MediaSessionId"];
            /** @description Until when this counts. */
            to: components["schemas"]["UnixMicros"];
            user?: components["schemas"]["UserId"] | null;
        };
        /** @description `GET /me`. */
        User: {
            /** @description The account. */
            id: components["schemas"]["UserId"];
            /** @description Whether the person works for the operator. */
            is_operator: boolean;
            /** @description The number with its middle hidden. */
            phone_masked: string;
            /** @description Whether the operator has approved the subscription. */
            subscription: components["schemas"]["Subscription"];
        };
        /** @description A person's account. */
        UserId: string;
        /**
         * @description Video coding of a stream.
         * @enum {string}
         */
        VideoCodec: "h264" | "h265";
        /**
         * @description A day of the week.
         * @enum {string}
         */
        Weekday: "monday" | "tuesday" | "wednesday" | "thursday" | "friday" | "saturday" | "sunday";
        /** @description When something holds, week by week. */
        WeeklySchedule: {
            /** @description It holds during all of these; they may overlap. */
            spans: components["schemas"]["WeeklySpan"][];
            /** @description The zone whose clock on the wall is meant. */
            zone: components["schemas"]["ZoneName"];
        };
        /** @description The same stretch on some days of the week. */
        WeeklySpan: {
            /** @description The days on which it begins. */
            days: components["schemas"]["Weekday"][];
            /** @description From when on. */
            from: components["schemas"]["MinuteOfDay"];
            /** @description Until when, exclusive. A time before `from` is one of the next day. */
            to: components["schemas"]["MinuteOfDay"];
        };
        /**
         * @description Name of a time zone in the IANA database, such as `Europe/Berlin`. Only its form is checked here;
         *     who computes with it knows whether the zone exists.
         */
        ZoneName: string;
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    bindDevice: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["BindRequest"];
            };
        };
        responses: {
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Bound"];
                };
            };
            /** @description this cannot be a claim code */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description wrong code, or not approved */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description bound to somebody else */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description too many tries */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    listCameras: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["CameraList"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    getCamera: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description the camera */
                id: components["schemas"]["CameraId"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Camera"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description unknown, unbound or somebody else's */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    changeCamera: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description the camera */
                id: components["schemas"]["CameraId"];
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["CameraChange"];
            };
        };
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Camera"];
                };
            };
            /** @description the name cannot be shown */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    listPlans: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description the camera */
                id: components["schemas"]["CameraId"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PlanList"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no right to recordings */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no such camera, or nothing can record it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description the recorder is offline */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description the recorder did not answer */
            504: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    changePlan: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description the camera */
                id: components["schemas"]["CameraId"];
                /** @description where it is recorded */
                place: components["schemas"]["RecordingPlace"];
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["PlanChange"];
            };
        };
        responses: {
            /** @description the recorder has kept it and carries it out */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description the plan cannot be carried out */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no right to change it */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no such camera, or nothing can record it there */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description somebody has changed it meanwhile */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description the recorder is offline */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description the recorder did not answer */
            504: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    recordManually: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description the camera */
                id: components["schemas"]["CameraId"];
                /** @description where it is recorded */
                place: components["schemas"]["RecordingPlace"];
                /** @description its name in the plan */
                strategy: components["schemas"]["StrategyId"];
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["ManualChange"];
            };
        };
        responses: {
            /** @description the recorder has obeyed */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description the strategy is not a manual one */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no right to change it */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no such camera or strategy */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description the recorder is offline */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description the recorder did not answer */
            504: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    playCamera: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description the camera */
                id: components["schemas"]["CameraId"];
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["PlayRequest"];
            };
        };
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PlayAnswer"];
                };
            };
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description not approved, or an operator without the owner's grant */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description the device or its camera is offline */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description the device did not answer */
            504: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    listRecordings: {
        parameters: {
            query: {
                /**
                 * @description From when on (RFC 3339).
                 * @example 2026-11-21T17:00:00Z
                 */
                from: string;
                /** @description Most spans, 8 to 100; 100 when left out. Fewer are coarser: the answer says how much. */
                max_spans?: number | null;
                /** @description Only this encoding; all when left out. */
                tier?: components["schemas"]["StreamTier"] | null;
                /**
                 * @description Until when, exclusive; at most 400 days later (RFC 3339).
                 * @example 2026-11-21T18:00:00Z
                 */
                to: string;
            };
            header?: never;
            path: {
                /** @description the camera */
                id: components["schemas"]["CameraId"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["CameraTimeline"];
                };
            };
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no right to recordings */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no such camera, or nothing records it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description the recorder or its storage is away */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description the recorder did not answer */
            504: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    listRecordedDays: {
        parameters: {
            query: {
                /** @description Month, 1 to 12. */
                month: number;
                /** @description Year of our era. */
                year: number;
                /**
                 * @description Whose days are meant, as in the IANA database.
                 * @example Europe/Berlin
                 */
                zone: string;
            };
            header?: never;
            path: {
                /** @description the camera */
                id: components["schemas"]["CameraId"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["CameraDays"];
                };
            };
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no right to recordings */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no such camera, or nothing records it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description the recorder or its storage is away */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description the recorder did not answer */
            504: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    lockRecordings: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description the camera */
                id: components["schemas"]["CameraId"];
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["LockChange"];
            };
        };
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Locked"];
                };
            };
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no right to change it */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no such camera, or nothing records it there */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description the recorder or its storage is away */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description the recorder did not answer */
            504: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    makePlaylist: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description the camera */
                id: components["schemas"]["CameraId"];
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["PlaylistRequest"];
            };
        };
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PlaylistLink"];
                };
            };
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no right to recordings */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no such camera, or no cloud storage */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    proveCloudSegments: {
        parameters: {
            query: {
                /**
                 * @description From when on (RFC 3339).
                 * @example 2026-11-21T17:00:00Z
                 */
                from: string;
                /** @description Which encoding. */
                tier: components["schemas"]["StreamTier"];
                /**
                 * @description Until when, exclusive; at most about six hours later (RFC 3339).
                 * @example 2026-11-21T18:00:00Z
                 */
                to: string;
            };
            header?: never;
            path: {
                /** @description the camera */
                id: components["schemas"]["CameraId"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description a proof as `cu verify` reads it */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": string;
                };
            };
            /** @description more than can be proven at once */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no right to recordings */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no such camera, or no cloud storage */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    listCloudSegments: {
        parameters: {
            query: {
                /** @description The `next` of the answer before, for more. */
                after?: string | null;
                /**
                 * @description From when on (RFC 3339).
                 * @example 2026-11-21T17:00:00Z
                 */
                from: string;
                /** @description Which encoding. */
                tier: components["schemas"]["StreamTier"];
                /**
                 * @description Until when, exclusive (RFC 3339).
                 * @example 2026-11-21T18:00:00Z
                 */
                to: string;
            };
            header?: never;
            path: {
                /** @description the camera */
                id: components["schemas"]["CameraId"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["CloudSegmentList"];
                };
            };
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no right to recordings */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no such camera, or no cloud storage */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description the cloud storage is away */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    getCloudSpace: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["CloudSpace"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    deleteCloudRecordings: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description the device */
                pu: components["schemas"]["PuId"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["CloudDeleted"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    releaseDevice: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description the device */
                pu: components["schemas"]["PuId"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    streamEvents: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description server-sent events */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/event-stream": components["schemas"]["Event"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    getInfo: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Info"];
                };
            };
        };
    };
    getMe: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["User"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    listNvrs: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["NvrList"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    relateNvr: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description the camera */
                id: components["schemas"]["CameraId"];
                /** @description the NVR */
                pu: components["schemas"]["PuId"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Related"];
                };
            };
            /** @description the device is no NVR, or the camera is its own */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no right to change it */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no such NVR or camera of yours */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description another NVR records the camera */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    unrelateNvr: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description the camera */
                id: components["schemas"]["CameraId"];
                /** @description the NVR */
                pu: components["schemas"]["PuId"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no right to change it */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no such camera of yours, or that NVR does not record it */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    listAudit: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["AuditList"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description not the operator's staff */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    listMtus: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["MtuList"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description not the operator's staff */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    changeMtu: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description the relay */
                mtu: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["MtuChange"];
            };
        };
        responses: {
            /** @description the relay has obeyed */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description not the operator's staff */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description no such relay is running */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description the relay, or every SCU, does not answer */
            504: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    listNetworks: {
        parameters: {
            query: {
                /** @description Days back from today, which counts; 7 when left out, 90 at most. */
                days?: number | null;
                /** @description Whose networks: those of viewers, or those of devices. */
                side: components["schemas"]["NetworkSide"];
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["NetworkList"];
                };
            };
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description not the operator's staff */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    listSubscriptions: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SubscriptionList"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description not the operator's staff */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    changeSubscription: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description the account */
                user: components["schemas"]["UserId"];
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["SubscriptionChange"];
            };
        };
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SubscriptionRow"];
                };
            };
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description not the operator's staff */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    changeCloudSpace: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description the account */
                user: components["schemas"]["UserId"];
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["CloudQuotaChange"];
            };
        };
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["CloudSpace"];
                };
            };
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description not the operator's staff */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    listUsage: {
        parameters: {
            query?: {
                /** @description Days back from today, which counts; 30 when left out, 400 at most. */
                days?: number | null;
                /** @description Whose sessions; everybody's when left out. */
                user?: string | null;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["UsageList"];
                };
            };
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description not the operator's staff */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    signIn: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["SignInRequest"];
            };
        };
        responses: {
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SignedIn"];
                };
            };
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description the code is wrong, used or too old */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description too many tries */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    signOut: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    refreshSession: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** @description may be empty when the cookie is sent */
        requestBody?: {
            content: {
                "application/json": components["schemas"]["RefreshRequest"] | null;
            };
        };
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SignedIn"];
                };
            };
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description sign in again */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
    sendSmsCode: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["SmsCodeRequest"];
            };
        };
        responses: {
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SmsCodeSent"];
                };
            };
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description the country is not served */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description too many; no SMS was sent */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
            /** @description the SMS gateway fails */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["ProblemDocument"];
                };
            };
        };
    };
}
