//! What one end tells the other before any packet: an SDP with ICE lines and no codecs.

use std::{fmt, str::FromStr};

use rand::{CryptoRng, RngExt};
use sightline_model::{NatDependence, NatReport, Secret};
use thiserror::Error;

use crate::candidate::{Candidate, CandidateError};

/// Longest description that is read.
pub const MAX_DESCRIPTION_BYTES: usize = 16 * 1024;
/// Most candidates in one description.
pub const MAX_CANDIDATES: usize = 64;

/// The m-line by which a description is told from a WebRTC offer.
const MEDIA: &str = "m=application 9 UDP/QUIC sightline-rtsp";

/// Name and password of one end for the checks of one session (RFC 8445 section 5.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// `ice-ufrag`: 4 to 256 characters, here at most 64.
    pub ufrag: String,
    /// `ice-pwd`: 22 to 256 characters, here at most 128.
    pub password: Secret<String>,
}

impl Credentials {
    /// Fresh ones: 48 bits of name, 144 bits of password.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = |length: usize| -> String {
            (0..length).map(|_| char::from(ALPHABET[rng.random_range(0..64)])).collect()
        };
        Self { ufrag: text(8), password: Secret::new(text(24)) }
    }

    fn check(self) -> Result<Self, DescriptionError> {
        let is_ice =
            |text: &str| text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'+' || c == b'/');
        let password = self.password.expose();
        if !(4..=64).contains(&self.ufrag.len()) || !is_ice(&self.ufrag) {
            return Err(DescriptionError::Line("ice-ufrag"));
        }
        if !(22..=128).contains(&password.len()) || !is_ice(password) {
            return Err(DescriptionError::Line("ice-pwd"));
        }
        Ok(self)
    }
}

/// What one end tells the other: who it is, where it may be, and what stands before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// For the checks.
    pub credentials: Credentials,
    /// SHA-256 of the end's Ed25519 public key: that of its QUIC certificate.
    pub fingerprint: [u8; 32],
    /// What this end has measured of its NATs (`a=x-nat:`).
    pub nat: NatReport,
    /// Where it may be reached, as far as is known yet.
    pub candidates: Vec<Candidate>,
}

/// Why a description is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DescriptionError {
    /// Longer than [`MAX_DESCRIPTION_BYTES`].
    #[error("the description is too long")]
    TooLong,
    /// More than [`MAX_CANDIDATES`].
    #[error("the description has too many candidates")]
    TooManyCandidates,
    /// Not a description for QUIC: a WebRTC offer, or no SDP.
    #[error("the description is not for QUIC")]
    NotQuic,
    /// A line is missing, twice there, or cannot be read.
    #[error("the description's line {0} is missing or wrong")]
    Line(&'static str),
    /// A candidate that breaks the grammar. Those of other transports and names are left out.
    #[error(transparent)]
    Candidate(#[from] CandidateError),
}

impl Description {
    /// Whether an SDP is one of these, and no WebRTC offer.
    #[must_use]
    pub fn is_quic(sdp: &str) -> bool {
        sdp.lines().any(|line| line.trim_end() == MEDIA)
    }

    /// The fingerprint as `ps::dtls_fingerprint` gives it back: upper case hex with colons.
    #[must_use]
    pub fn fingerprint_text(&self) -> String {
        let hex: Vec<String> = self.fingerprint.iter().map(|b| format!("{b:02X}")).collect();
        hex.join(":")
    }
}

impl fmt::Display for Description {
    /// Shows the password: it is what is sent, not what is logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n{MEDIA}\r\n")?;
        write!(f, "c=IN IP4 0.0.0.0\r\na=ice-options:trickle\r\n")?;
        write!(f, "a=ice-ufrag:{}\r\n", self.credentials.ufrag)?;
        write!(f, "a=ice-pwd:{}\r\n", self.credentials.password.expose())?;
        write!(f, "a=fingerprint:sha-256 {}\r\n", self.fingerprint_text())?;
        if let Some(nat) = nat_text(&self.nat) {
            write!(f, "a=x-nat:{nat}\r\n")?;
        }
        for candidate in &self.candidates {
            write!(f, "a={candidate}\r\n")?;
        }
        Ok(())
    }
}

impl FromStr for Description {
    type Err = DescriptionError;

    fn from_str(sdp: &str) -> Result<Self, DescriptionError> {
        use DescriptionError::{Line, NotQuic, TooLong, TooManyCandidates};
        if sdp.len() > MAX_DESCRIPTION_BYTES {
            return Err(TooLong);
        }
        if !sdp.starts_with("v=0") || !Self::is_quic(sdp) {
            return Err(NotQuic);
        }
        let (mut ufrag, mut password, mut fingerprint) = (None, None, None);
        let mut nat = NatReport::default();
        let mut candidates = Vec::new();
        for line in sdp.lines() {
            let Some(attribute) = line.trim_end().strip_prefix("a=") else { continue };
            let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
            match name {
                "ice-ufrag" => once(&mut ufrag, value.to_owned(), "ice-ufrag")?,
                "ice-pwd" => once(&mut password, Secret::new(value.to_owned()), "ice-pwd")?,
                "fingerprint" => {
                    let read = fingerprint_of(value).ok_or(Line("fingerprint"))?;
                    once(&mut fingerprint, read, "fingerprint")?;
                }
                "x-nat" => nat = nat_of(value),
                "candidate" => match attribute.parse::<Candidate>() {
                    Ok(_) if candidates.len() >= MAX_CANDIDATES => return Err(TooManyCandidates),
                    Ok(candidate) => candidates.push(candidate),
                    Err(CandidateError::Unsupported | CandidateError::Unreachable) => {}
                    Err(error) => return Err(error.into()),
                },
                _ => {}
            }
        }
        let ufrag = ufrag.ok_or(Line("ice-ufrag"))?;
        let password = password.ok_or(Line("ice-pwd"))?;
        let credentials = Credentials { ufrag, password }.check()?;
        let fingerprint = fingerprint.ok_or(Line("fingerprint"))?;
        Ok(Self { credentials, fingerprint, nat, candidates })
    }
}

fn once<T>(slot: &mut Option<T>, value: T, line: &'static str) -> Result<(), DescriptionError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(DescriptionError::Line(line)),
    }
}

fn fingerprint_of(value: &str) -> Option<[u8; 32]> {
    let (algorithm, hex) = value.split_once(' ')?;
    let mut bytes = [0; 32];
    let mut pairs = hex.trim().split(':');
    for byte in &mut bytes {
        let pair = pairs.next().filter(|p| p.len() == 2)?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    (algorithm.eq_ignore_ascii_case("sha-256") && pairs.next().is_none()).then_some(bytes)
}

/// What this end has measured of its NATs, as a line that is told later than the description
/// (a fragment of SDP, RFC 8840); `None` when nothing is known.
#[must_use]
pub fn nat_line(nat: &NatReport) -> Option<String> {
    Some(format!("a=x-nat:{}", nat_text(nat)?))
}

/// Reads such a line; `None` for every other.
#[must_use]
pub fn read_nat_line(line: &str) -> Option<NatReport> {
    let value = line.strip_prefix("a=x-nat:").filter(|v| v.len() <= 200)?;
    Some(nat_of(value.trim_end()))
}

/// `mapping=…,filtering=…,udp=…`, of what is known.
fn nat_text(nat: &NatReport) -> Option<String> {
    let mut parts = Vec::new();
    if let Some(udp) = nat.udp {
        parts.push(format!("udp={}", u8::from(udp)));
    }
    if let Some(translated) = nat.translated {
        parts.push(format!("translated={}", u8::from(translated)));
    }
    if let Some(mapping) = nat.mapping {
        parts.push(format!("mapping={}", dependence_name(mapping)));
    }
    if let Some(filtering) = nat.filtering {
        parts.push(format!("filtering={}", dependence_name(filtering)));
    }
    (!parts.is_empty()).then(|| parts.join(","))
}

fn nat_of(value: &str) -> NatReport {
    let mut nat = NatReport::default();
    for part in value.split(',') {
        match part.split_once('=') {
            Some(("udp", value)) => nat.udp = flag(value),
            Some(("translated", value)) => nat.translated = flag(value),
            Some(("mapping", value)) => nat.mapping = dependence(value),
            Some(("filtering", value)) => nat.filtering = dependence(value),
            Some(_) | None => {}
        }
    }
    nat
}

fn flag(value: &str) -> Option<bool> {
    match value {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

const fn dependence_name(dependence: NatDependence) -> &'static str {
    match dependence {
        NatDependence::EndpointIndependent => "endpoint",
        NatDependence::AddressDependent => "address",
        NatDependence::AddressAndPortDependent => "port",
    }
}

fn dependence(name: &str) -> Option<NatDependence> {
    match name {
        "endpoint" => Some(NatDependence::EndpointIndependent),
        "address" => Some(NatDependence::AddressDependent),
        "port" => Some(NatDependence::AddressAndPortDependent),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::candidate::{CandidateKind, priority};

    fn example() -> Description {
        let address = "198.51.100.4:4000".parse::<std::net::SocketAddr>().expect("an address");
        let kind = CandidateKind::Mapped;
        let priority = priority(kind, 0, address.ip());
        Description {
            credentials: Credentials::generate(&mut StdRng::from_seed([1; 32])),
            fingerprint: [0xab; 32],
            nat: NatReport {
                udp: Some(true),
                translated: Some(true),
                mapping: Some(NatDependence::AddressAndPortDependent),
                filtering: Some(NatDependence::AddressDependent),
                mapping_lifetime_ms: None,
                nat64: None,
            },
            candidates: vec![Candidate { foundation: "1".into(), priority, address, kind }],
        }
    }

    #[test]
    fn it_survives_its_text() {
        let text = example().to_string();
        assert_eq!(text.parse(), Ok(example()));
        assert!(Description::is_quic(&text));
        assert!(!Description::is_quic("v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"));
    }

    #[test]
    fn what_is_missing_or_twice_there_is_refused() {
        let text = example().to_string();
        let fails = |text: &str| text.parse::<Description>().expect_err("refused");
        for line in ["ice-ufrag", "ice-pwd", "fingerprint"] {
            let whole = text.lines().find(|l| l.contains(line)).expect("the line");
            let without = text.replace(&format!("{whole}\r\n"), "");
            assert_eq!(fails(&without), DescriptionError::Line(line));
            assert_eq!(fails(&format!("{text}{whole}\r\n")), DescriptionError::Line(line));
        }
        let candidate = text.lines().last().expect("a line").to_owned() + "\r\n";
        let many = format!("{text}{}", candidate.repeat(MAX_CANDIDATES));
        assert_eq!(fails(&many), DescriptionError::TooManyCandidates);
        assert_eq!(fails(&" ".repeat(20_000)), DescriptionError::TooLong);
        assert_eq!(fails("v=0\r\n"), DescriptionError::NotQuic);
        let short = text.replace("a=ice-pwd:", "a=ice-pwd:x\r\na=no:");
        assert_eq!(fails(&short), DescriptionError::Line("ice-pwd"));
    }

    #[test]
    fn names_and_other_transports_are_left_out() {
        let text = example().to_string()
            + "a=candidate:1 1 udp 5 abc.local 9 typ host\r\n\
               a=candidate:1 1 tcp 5 192.0.2.1 9 typ host tcptype active\r\n";
        assert_eq!(text.parse(), Ok(example()));
        assert!((text + "a=candidate:rubbish\r\n").parse::<Description>().is_err());
    }
}
