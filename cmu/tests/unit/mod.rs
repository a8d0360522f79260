//! A device that uploads: it signs a chain, asks as a PU does, and sends what it has leave for.
#![allow(dead_code, reason = "each test program uses a part of this")]

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest as _, Sha256};
use sightline_cloud::to_wire;
use sightline_model::{CameraId, ChannelId, PublicKey, Signature, StreamTier, UnixMicros, UserId};
use sightline_protocol::{
    Problem, ProblemKind,
    cp::{CloudReply, CloudRequest, PutRequest, SignedEntry},
    sc::{ScReply, ScRequest},
};
use sightline_recording::{
    chain::{Sign, Writer},
    statement::{
        Authority, BootId, Causes, ChainId, Digest, Gap, GapReason, RunId, Segment, Subject, What,
    },
};

use crate::support::{Camera, Server};

/// When the first segment begins: a quarter of an hour before the server's clock begins.
pub const T0: i64 = 1_800_000_000_000_000 - 900_000_000;
/// How long a segment is.
pub const LONG_US: i64 = 4_000_000;

struct Key<'a>(&'a SigningKey);

impl Sign for Key<'_> {
    fn public_key(&self) -> PublicKey {
        self.0.verifying_key().into()
    }

    fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message).into()
    }
}

/// A segment with what was signed about it.
#[derive(Debug, Clone)]
pub struct Film {
    pub sequence: u64,
    pub bytes: Vec<u8>,
    pub entry: SignedEntry,
}

fn begun(camera: &Camera, chain: ChainId) -> (Writer, SignedEntry) {
    let subject = Subject {
        recorder: camera.pu.clone(),
        camera: CameraId { pu: camera.pu.clone(), channel: ChannelId(0) },
        tier: StreamTier::Main,
    };
    let (writer, begin) = Writer::begin(subject, chain, &Key(&camera.key)).expect("begun");
    (writer, to_wire(&begin.entry))
}

pub struct Unit<'a> {
    pub server: &'a Server,
    pub camera: &'a Camera,
    pub epoch: u64,
    pub owner: UserId,
    pub chain: ChainId,
    begin: SignedEntry,
    writer: Writer,
    made: i64,
}

impl<'a> Unit<'a> {
    /// A device that is bound to whoever signed in with `token`, with a chain that was not told yet.
    pub async fn of(server: &'a Server, camera: &'a Camera, token: &str) -> Self {
        let epoch = camera.register(server).await.epoch;
        let me = server.get("/api/v1/me", token).await.expect(200).body;
        let owner = me["id"].as_str().expect("an id").parse().expect("an id");
        let chain = ChainId(Sha256::digest(camera.pu.as_str())[..16].try_into().expect("16"));
        let (writer, begin) = begun(camera, chain);
        Self { server, camera, epoch, owner, chain, begin, writer, made: 0 }
    }

    /// Goes on in another chain, as with an empty spool.
    pub async fn begin_another(&mut self) {
        self.chain = ChainId(Sha256::digest(self.chain.0)[..16].try_into().expect("16"));
        (self.writer, self.begin) = begun(self.camera, self.chain);
        assert_eq!(self.open().await, Ok(CloudReply::Opened));
    }

    /// The next segment, of so many bytes.
    pub fn film(&mut self, len: usize) -> Film {
        self.film_of(len, Causes { continuous: true, ..Causes::default() })
    }

    pub fn film_of(&mut self, len: usize, causes: Causes) -> Film {
        let seed = u8::try_from(self.made % 251).expect("small");
        let bytes = vec![seed; len];
        let segment = Segment {
            run: RunId(1),
            start: UnixMicros(T0 + self.made * LONG_US),
            duration_us: LONG_US.unsigned_abs(),
            position_90k: 0,
            boot: BootId(9),
            monotonic_us: 0,
            authority: Authority::Centre,
            len: len as u64,
            head_len: 10,
            content: Digest(Sha256::digest(&bytes).into()),
            pictures: 100,
            key: None,
            causes,
            recovered: false,
        };
        self.made += 1;
        let made = self.writer.append(What::Segment(segment), &Key(&self.camera.key));
        let made = made.expect("appended");
        Film { sequence: made.sequence.0, bytes, entry: to_wire(&made.entry) }
    }

    /// Says that nothing is recorded behind the newest segment.
    pub fn gap(&mut self, reason: GapReason) -> SignedEntry {
        let from = UnixMicros(T0 + self.made * LONG_US);
        let gap = Gap { from, boot: BootId(9), authority: Authority::Centre, reason };
        let made = self.writer.append(What::Gap(gap), &Key(&self.camera.key));
        to_wire(&made.expect("appended").entry)
    }

    pub async fn ask(&self, ask: CloudRequest) -> Result<CloudReply, Problem> {
        let (device, epoch, ask) = (self.camera.pu.clone(), self.epoch, Box::new(ask));
        match self.server.sc(&ScRequest::Cloud { device, epoch, ask }).await {
            ScReply::Cloud { answer } => Ok(*answer),
            ScReply::Refused { problem } => Err(problem),
            other => panic!("{other:?}"),
        }
    }

    pub async fn open(&self) -> Result<CloudReply, Problem> {
        let (owner, entry) = (self.owner.clone(), self.begin.clone());
        self.ask(CloudRequest::Open { owner, entry }).await
    }

    pub async fn upload(&self, film: &Film) -> Result<CloudReply, Problem> {
        let (owner, entry) = (self.owner.clone(), film.entry.clone());
        let upload = CloudRequest::Upload { owner, entry, correction_us: 0, time_known: true };
        self.ask(upload).await
    }

    pub async fn stored(&self, film: &Film) -> Result<CloudReply, Problem> {
        let (chain, sequence) = (self.chain.to_string(), film.sequence);
        self.ask(CloudRequest::Stored { chain, sequence }).await
    }

    /// Leave to send it.
    pub async fn leave(&self, film: &Film) -> PutRequest {
        match self.upload(film).await {
            Ok(CloudReply::Put(request)) => request,
            other => panic!("no leave: {other:?}"),
        }
    }

    pub async fn put(&self, request: &PutRequest, bytes: Vec<u8>) -> StatusCode {
        self.put_at(request.url.expose(), request, bytes).await
    }

    pub async fn put_at(&self, url: &str, request: &PutRequest, bytes: Vec<u8>) -> StatusCode {
        let mut put = Request::put(url).header("content-length", bytes.len());
        for (name, value) in &request.headers {
            put = put.header(name, value);
        }
        let put = put.body(Body::from(bytes)).expect("a request");
        self.server.raw(put, "192.0.2.9").await.status()
    }

    /// From leave to acknowledgement.
    pub async fn store(&self, film: &Film) {
        let request = self.leave(film).await;
        assert_eq!(self.put(&request, film.bytes.clone()).await, StatusCode::OK);
        assert_eq!(self.stored(film).await, Ok(CloudReply::Stored));
    }

    /// Why something was refused.
    #[track_caller]
    pub fn refused(result: Result<CloudReply, Problem>) -> ProblemKind {
        result.expect_err("it was taken").kind
    }
}
