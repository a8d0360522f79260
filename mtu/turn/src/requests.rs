//! Requests: who may ask, and what becomes of it.

mod allocate;
mod binding;
mod extension;
mod peers;
mod refresh;

use std::net::SocketAddr;

use stun_rs::{
    MessageClass, MessageMethod, StunAttribute, TransactionId,
    attributes::{
        stun::{
            ErrorCode, Nonce, PasswordAlgorithm as Chosen, PasswordAlgorithms as Offered, Realm,
            UnknownAttributes, UserName,
        },
        turn::{Icmp, IcmpCode, IcmpType, XorPeerAddress},
    },
    methods::{ALLOCATE, BINDING, CHANNEL_BIND, CREATE_PERMMISSION, DATA, REFRESH},
};

use crate::{
    answer::{Answer, Seal},
    auth::{PasswordAlgorithm, parts},
    client::ClientId,
    driver::{Driver, IcmpError},
    request::{Attributes, Bad, Request},
    server::{Now, Server},
    wire::Stun,
};

/// An error answer in the making.
#[derive(Debug)]
pub(crate) struct Refusal {
    code: u16,
    reason: &'static str,
    attributes: Vec<StunAttribute>,
}

pub(crate) fn refuse(code: u16, reason: &'static str) -> Refusal {
    Refusal { code, reason, attributes: vec![] }
}

impl Refusal {
    fn with(mut self, attribute: impl Into<StunAttribute>) -> Self {
        self.attributes.push(attribute.into());
        self
    }

    pub(crate) fn answer(self, method: MessageMethod, transaction: TransactionId) -> Answer {
        let mut answer = Answer::new(method, MessageClass::ErrorResponse, transaction);
        // All of our codes are codes.
        if let Ok(code) = stun_rs::ErrorCode::new(self.code, self.reason) {
            answer = answer.with(ErrorCode::new(code));
        }
        answer.attributes.extend(self.attributes);
        answer
    }
}

/// The attributes of a success.
pub(crate) type Outcome = Result<Vec<StunAttribute>, Refusal>;

/// A client that has proved itself.
#[derive(Debug)]
pub(crate) struct Caller<'a> {
    pub(crate) client: &'a ClientId,
    pub(crate) user: &'a str,
    /// When its credentials end, in seconds since 1970.
    pub(crate) expiry_s: u64,
}

fn malformed() -> Refusal {
    refuse(400, "Bad Request")
}

impl Server {
    pub(crate) fn handle_request(
        &mut self,
        client: &ClientId,
        stun: &Stun<'_>,
        now: Now,
        driver: &mut impl Driver,
    ) {
        // Answers and other indications are nothing to a server.
        if stun.kind & 0x0110 != 0 {
            return;
        }
        let request = match Request::parse(stun) {
            Ok(request) => request,
            Err(Bad::Garbage) => {
                self.counters.garbage += 1;
                return;
            }
            Err(Bad::Malformed) => {
                let method = stun_rs::MessageType::from(stun.kind).method();
                let answer = malformed().answer(method, TransactionId::from(stun.transaction));
                self.answer_stranger(client, answer, false, now, driver);
                return;
            }
        };
        if request.method == BINDING {
            self.handle_binding(client, &request, now, driver);
        } else {
            self.handle_signed(client, &request, now, driver);
        }
    }

    /// Everything but Binding needs credentials.
    fn handle_signed(
        &mut self,
        client: &ClientId,
        request: &Request<'_>,
        now: Now,
        driver: &mut impl Driver,
    ) {
        let (method, transaction) = (request.method, request.transaction);
        let fingerprint = request.fingerprint;
        let decoded = request.decode().map_err(|_| malformed());
        let proved = decoded.and_then(|attributes| {
            let (seal, user_name) = self.authenticate(client, request, &attributes, now)?;
            Ok((attributes, seal, user_name))
        });
        let (attributes, seal, user_name) = match proved {
            Ok(proved) => proved,
            Err(refusal) => {
                let answer = refusal.answer(method, transaction);
                self.answer_stranger(client, answer, fingerprint, now, driver);
                return;
            }
        };
        self.counters.authenticated += 1;
        let Some((expiry_s, user)) = parts(&user_name) else { return };
        let caller = Caller { client, user, expiry_s };
        let Some(outcome) = self.perform(&caller, request, &attributes, &seal, now, driver) else {
            return;
        };
        let answer = match outcome {
            Ok(attributes) => Answer {
                attributes,
                ..Answer::new(method, MessageClass::SuccessResponse, transaction)
            },
            Err(refusal) => refusal.answer(method, transaction),
        };
        if let Some(message) = answer.encode(Some(&seal), fingerprint) {
            driver.send_to_client(client, &message, &[], &[]);
        }
    }

    /// `None`: the answer was given, or comes later.
    fn perform(
        &mut self,
        caller: &Caller<'_>,
        request: &Request<'_>,
        attributes: &Attributes,
        seal: &Seal,
        now: Now,
        driver: &mut impl Driver,
    ) -> Option<Outcome> {
        if !request.unknown.is_empty() {
            return Some(Err(unknown(&request.unknown)));
        }
        Some(match request.method {
            ALLOCATE => self.allocate(caller, request, attributes, now, driver),
            REFRESH => self.refresh(caller, attributes, now, driver),
            CREATE_PERMMISSION => self.create_permission(caller, request, now, driver),
            CHANNEL_BIND => self.channel_bind(caller, request, attributes, now, driver),
            _ => return self.extension(caller, request, seal, now, driver),
        })
    }

    /// RFC 8489 section 9.2.4.
    fn authenticate(
        &self,
        client: &ClientId,
        request: &Request<'_>,
        attributes: &Attributes,
        now: Now,
    ) -> Result<(Seal, String), Refusal> {
        let challenge = |code, reason| self.challenge(code, reason, client, now);
        let unauthorized = || challenge(401, "Unauthorized");
        let Some(signed) = &request.signed else { return Err(unauthorized()) };
        let name = attributes.get::<UserName>().and_then(|a| a.as_user_name().ok());
        let nonce = attributes.get::<Nonce>().and_then(|a| a.as_nonce().ok());
        let (Some(name), Some(nonce), true) = (name, nonce, attributes.has::<Realm>()) else {
            return Err(malformed());
        };
        if !self.shared.nonces.is_good(nonce.as_str(), client, now.unix_s) {
            return Err(challenge(438, "Stale Nonce"));
        }
        let algorithm = algorithm(attributes)?;
        let name: &str = name.as_ref();
        let (expiry_s, _) = parts(name).ok_or_else(unauthorized)?;
        if expiry_s < now.unix_s {
            return Err(unauthorized());
        }
        let seal = self.settings.credentials.verify(name, algorithm, signed);
        Ok((seal.ok_or_else(unauthorized)?, name.to_owned()))
    }

    /// Asks for proof, with a new nonce.
    fn challenge(&self, code: u16, reason: &'static str, client: &ClientId, now: Now) -> Refusal {
        let ends_s = now.unix_s + self.settings.limits.nonce_lifetime.as_secs();
        let nonce = self.shared.nonces.issue(client, ends_s);
        let mut refusal = refuse(code, reason);
        // Both were found to be writable.
        if let Ok(realm) = Realm::new(self.settings.credentials.realm()) {
            refusal = refusal.with(realm);
        }
        if let Ok(nonce) = Nonce::new(nonce) {
            refusal = refusal.with(nonce);
        }
        let offered =
            PasswordAlgorithm::OFFERED.map(|algorithm| Chosen::new(algorithm.id().into()));
        refusal.with(Offered::from(offered.to_vec()))
    }

    /// Error answers to whoever has not proved itself are limited.
    fn answer_stranger(
        &mut self,
        client: &ClientId,
        answer: Answer,
        fingerprint: bool,
        now: Now,
        driver: &mut impl Driver,
    ) {
        let (since, limits) = (self.since_start(now.instant), &self.settings.limits);
        if !self.refusals.admit(client.ip(), limits.refusals_per_s, since) {
            self.counters.limited += 1;
            return;
        }
        self.counters.challenges += 1;
        if let Some(message) = answer.encode(None, fingerprint) {
            driver.send_to_client(client, &message, &[], &[]);
        }
    }

    /// The allocation of a caller: 437 without one, 441 where it is somebody else's.
    pub(crate) fn allocation_of(&self, caller: &Caller<'_>) -> Result<usize, Refusal> {
        let index = self.by_client.get(caller.client).copied();
        let index = index.ok_or_else(|| refuse(437, "Allocation Mismatch"))?;
        if *self.allocations[index].user_name != *caller.user {
            return Err(refuse(441, "Wrong Credentials"));
        }
        Ok(index)
    }
}

/// RFC 8489 section 9.2.4: what we offered must come back, or nothing at all, which means MD5.
fn algorithm(attributes: &Attributes) -> Result<PasswordAlgorithm, Refusal> {
    let offered = attributes.get::<Offered>().and_then(|a| a.as_password_algorithms().ok());
    let chosen = attributes.get::<Chosen>().and_then(|a| a.as_password_algorithm().ok());
    let (offered, chosen) = match (offered, chosen) {
        (None, None) => return Ok(PasswordAlgorithm::Md5),
        (Some(offered), Some(chosen)) => (offered, chosen),
        (None, Some(_)) | (Some(_), None) => return Err(malformed()),
    };
    let ours = PasswordAlgorithm::OFFERED.map(PasswordAlgorithm::id);
    let same = offered.iter().map(Chosen::algorithm).eq(ours)
        && offered.iter().all(|algorithm| algorithm.parameters().is_none());
    let chosen =
        PasswordAlgorithm::OFFERED.into_iter().find(|ours| ours.id() == chosen.algorithm());
    chosen.filter(|_| same).ok_or_else(malformed)
}

/// RFC 8489 section 6.3.1.
fn unknown(kinds: &[u16]) -> Refusal {
    refuse(420, "Unknown Attribute").with(UnknownAttributes::from(kinds))
}

/// A Data indication that carries an ICMP error (RFC 8656 section 11.5).
pub(crate) fn icmp(
    transaction: TransactionId,
    peer: SocketAddr,
    error: IcmpError,
) -> Option<Answer> {
    let icmp = Icmp::new(
        IcmpType::new(error.kind)?,
        IcmpCode::new(u16::from(error.code))?,
        error.data.to_be_bytes(),
    );
    let indication = Answer::new(DATA, MessageClass::Indication, transaction);
    Some(indication.with(XorPeerAddress::from(peer)).with(icmp))
}
