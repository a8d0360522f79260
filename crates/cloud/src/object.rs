//! How objects are called, and what they say of themselves.

use std::{fmt, str::FromStr};

use sightline_model::{CameraId, ChannelId, DomainName, PuId, StreamTier, UserId};
use sightline_protocol::cp::SignedEntry;
use sightline_recording::statement::{ChainId, Entry, Sequence};

use crate::{from_wire, to_wire};

/// First part of every name: the form of the rest.
const FORM: &str = "v1";
/// Digits of a number. Longer numbers are spelt as they are: no chain of four seconds a segment gets there.
const DIGITS: usize = 12;
/// Longest metadata of one object, in bytes, names included: S3 takes 2 kB.
pub const MAX_META_LEN: usize = 2_048;

/// Name of the metadata that holds the signed entry.
pub const META_ENTRY: &str = "x-amz-meta-entry";
/// Name of the metadata that says how its times are to be read.
pub const META_TIME: &str = "x-amz-meta-time";

/// Text that is no object's name, or parts of which none can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("that is not the name of an object of recordings")]
pub struct InvalidKey;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A segment, byte for byte.
    Segment,
    /// An entry of the chain that is no segment.
    Entry,
    /// What its owner has said of the chain's recordings ([`crate::terms`]). Its number is 0.
    Terms,
}

/// The name of an object. One that exists has no part that could lead elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    domain: DomainName,
    user: UserId,
    camera: CameraId,
    tier: StreamTier,
    chain: ChainId,
    sequence: Sequence,
    kind: Kind,
}

/// Which chain of whose: all that the objects of a chain have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The centre's domain.
    pub domain: DomainName,
    /// Whose recordings they are.
    pub user: UserId,
    /// Of which camera.
    pub camera: CameraId,
    /// Of which encoding.
    pub tier: StreamTier,
    /// The chain.
    pub chain: ChainId,
}

impl ObjectKey {
    /// The name of an object of a chain.
    ///
    /// # Errors
    /// When the domain or the user is called `.` or `..`.
    pub fn new(place: Place, sequence: Sequence, kind: Kind) -> Result<Self, InvalidKey> {
        let Place { domain, user, camera, tier, chain } = place;
        if leads_elsewhere(domain.as_str()) || leads_elsewhere(user.as_str()) {
            return Err(InvalidKey);
        }
        Ok(Self { domain, user, camera, tier, chain, sequence, kind })
    }

    /// What the names of all objects of a domain begin with.
    #[must_use]
    pub fn prefix_of(domain: &DomainName) -> String {
        format!("{FORM}/{domain}/")
    }

    /// What the names of all objects begin with that a user has of one device.
    ///
    /// # Errors
    /// When the domain or the user is called `.` or `..`.
    pub fn prefix_of_device(
        domain: &DomainName,
        user: &UserId,
        pu: &PuId,
    ) -> Result<String, InvalidKey> {
        if leads_elsewhere(domain.as_str()) || leads_elsewhere(user.as_str()) {
            return Err(InvalidKey);
        }
        Ok(format!("{FORM}/{domain}/{user}/{pu}/"))
    }

    /// Its chain.
    #[must_use]
    pub fn place(&self) -> Place {
        let Self { domain, user, camera, tier, chain, .. } = self.clone();
        Place { domain, user, camera, tier, chain }
    }

    /// Its number in the chain.
    #[must_use]
    pub const fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }
}

/// A part of a path that is more than a name.
fn leads_elsewhere(part: &str) -> bool {
    part.is_empty() || part.bytes().all(|byte| byte == b'.')
}

const fn tier_word(tier: StreamTier) -> &'static str {
    match tier {
        StreamTier::Main => "main",
        StreamTier::Sub => "sub",
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, user, camera, tier, chain, sequence, kind } = self;
        let extension = match kind {
            Kind::Segment => "mp4",
            Kind::Entry => "entry",
            Kind::Terms => "terms",
        };
        write!(f, "{FORM}/{domain}/{user}/{}/{}-", camera.pu, camera.channel)?;
        write!(f, "{}/{chain}/{:0DIGITS$}.{extension}", tier_word(*tier), sequence.0)
    }
}

impl FromStr for ObjectKey {
    type Err = InvalidKey;
    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or(InvalidKey);
        if next()? != FORM {
            return Err(InvalidKey);
        }
        let domain = next()?.parse().map_err(|_| InvalidKey)?;
        let user = next()?.parse().map_err(|_| InvalidKey)?;
        let pu = next()?.parse().map_err(|_| InvalidKey)?;
        let (channel, tier) = next()?.split_once('-').ok_or(InvalidKey)?;
        let tier = match tier {
            "main" => StreamTier::Main,
            "sub" => StreamTier::Sub,
            _ => return Err(InvalidKey),
        };
        let channel = ChannelId(channel.parse().map_err(|_| InvalidKey)?);
        let chain = next()?.parse().map_err(|_| InvalidKey)?;
        let (sequence, kind) = match next()?.split_once('.').ok_or(InvalidKey)? {
            (sequence, "mp4") => (sequence, Kind::Segment),
            (sequence, "entry") => (sequence, Kind::Entry),
            (sequence, "terms") => (sequence, Kind::Terms),
            _ => return Err(InvalidKey),
        };
        let sequence = Sequence(sequence.parse().map_err(|_| InvalidKey)?);
        let camera = CameraId { pu, channel };
        let key = Self::new(Place { domain, user, camera, tier, chain }, sequence, kind)?;
        // Each object has one name: no second spelling of a number, nothing behind it.
        if key.to_string() == text { Ok(key) } else { Err(InvalidKey) }
    }
}

/// What an object says of itself beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// The signed entry.
    pub entry: Entry,
    /// To be added to its times, in microseconds.
    pub correction_us: i64,
    /// Whether somebody vouches for the corrected times.
    pub time_known: bool,
}

impl Meta {
    /// As headers of the request that stores the object.
    #[must_use]
    pub fn headers(&self) -> [(&'static str, String); 2] {
        let SignedEntry { encoded, signature } = to_wire(&self.entry);
        let time = format!("{},{}", self.correction_us, u8::from(self.time_known));
        [(META_ENTRY, format!("{encoded}.{signature}")), (META_TIME, time)]
    }

    /// Whether a store takes it.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.headers().iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
            <= MAX_META_LEN
    }

    /// As [`Self::headers`] wrote it; none: it is not.
    #[must_use]
    pub fn read(entry: &str, time: &str) -> Option<Self> {
        if entry.len() + time.len() > MAX_META_LEN {
            return None;
        }
        let (encoded, signature) = entry.split_once('.')?;
        let signature = signature.parse().ok()?;
        let entry = from_wire(&SignedEntry { encoded: encoded.to_owned(), signature })?;
        let (correction_us, time_known) = time.split_once(',')?;
        let time_known = match time_known {
            "0" => false,
            "1" => true,
            _ => return None,
        };
        Some(Self { entry, correction_us: correction_us.parse().ok()?, time_known })
    }
}

/// An entry as the bytes of an object of [`Kind::Entry`].
#[must_use]
pub fn entry_text(entry: &Entry) -> String {
    let SignedEntry { encoded, signature } = to_wire(entry);
    format!("{encoded}.{signature}")
}

/// As [`entry_text`] wrote it; none: it is not.
#[must_use]
pub fn read_entry(text: &str) -> Option<Entry> {
    let (encoded, signature) = text.split_once('.')?;
    let signature = signature.parse().ok()?;
    from_wire(&SignedEntry { encoded: encoded.to_owned(), signature })
}

#[cfg(test)]
mod tests {
    use sightline_model::{PublicKey, Signature};

    use super::*;

    fn place(domain: &str, user: &str) -> Place {
        let pu = PuId::from_public_key(&PublicKey::from_bytes([1; 32]));
        Place {
            domain: domain.parse().expect("a domain"),
            user: user.parse().expect("a user"),
            camera: CameraId { pu, channel: ChannelId(3) },
            tier: StreamTier::Sub,
            chain: ChainId([0xa5; 16]),
        }
    }

    #[test]
    fn a_name_says_where_an_object_belongs() {
        let key = ObjectKey::new(place("home.example", "anna"), Sequence(7), Kind::Segment);
        let key = key.expect("a name");
        let text = key.to_string();
        let chain = "a5".repeat(16);
        assert!(text.starts_with("v1/home.example/anna/"), "{text}");
        assert!(text.ends_with(&format!("/3-sub/{chain}/000000000007.mp4")), "{text}");
        assert_eq!(text.parse(), Ok(key.clone()));
        assert!(text.starts_with(&ObjectKey::prefix_of(&place("home.example", "x").domain)));
        let Place { domain, user, camera, .. } = key.place();
        let prefix = ObjectKey::prefix_of_device(&domain, &user, &camera.pu).expect("a prefix");
        assert!(text.starts_with(&prefix) && prefix.ends_with('/'), "{prefix}");
        let elsewhere =
            ObjectKey::prefix_of_device(&domain, &"..".parse().expect("a user"), &camera.pu);
        assert_eq!(elsewhere, Err(InvalidKey));
        let terms = ObjectKey::new(key.place(), Sequence(0), Kind::Terms).expect("a name");
        assert!(terms.to_string().ends_with("/000000000000.terms"), "{terms}");
        assert_eq!(terms.to_string().parse(), Ok(terms));
        let long = ObjectKey::new(place("d", "u"), Sequence(u64::MAX - 1), Kind::Entry);
        let long = long.expect("a name");
        assert_eq!(long.to_string().parse(), Ok(long));
    }

    #[test]
    fn no_name_leads_elsewhere_and_none_has_two_spellings() {
        for (domain, user) in [("..", "anna"), ("d", ".."), (".", "anna"), ("d", "...")] {
            let made = ObjectKey::new(place(domain, user), Sequence(1), Kind::Segment);
            assert_eq!(made, Err(InvalidKey), "{domain} {user}");
        }
        let key = ObjectKey::new(place("d", "u"), Sequence(7), Kind::Segment).expect("a name");
        let good = key.to_string();
        for bad in [
            good.replace("v1/d/u", "v1/d/.."),
            good.replace("v1/", "v2/"),
            good.replace("v1/", "/v1/"),
            good.replace("v1/", "v1//"),
            good.replace("/3-sub", "/../3-sub"),
            good.replace("3-sub", "03-sub"),
            good.replace("3-sub", "3-SUB"),
            good.replace("000000000007", "7"),
            good.replace("000000000007", "+00000000007"),
            good.replace(".mp4", ".mp4/"),
            good.replace(".mp4", ".mp4.meta"),
            good.replace(".mp4", ""),
            good.replace("a5", "A5"),
            format!("{good}/x"),
            format!("{good}%2f.."),
            String::new(),
        ] {
            assert_eq!(bad.parse::<ObjectKey>(), Err(InvalidKey), "{bad}");
        }
    }

    #[test]
    fn metadata_come_back_as_they_were() {
        let entry = Entry { encoded: vec![1, 2, 3], signature: Signature::from_bytes([7; 64]) };
        for (correction_us, time_known) in [(0, true), (-250, false), (i64::MIN, true)] {
            let meta = Meta { entry: entry.clone(), correction_us, time_known };
            let [(_, one), (_, two)] = meta.headers();
            assert_eq!(Meta::read(&one, &two), Some(meta.clone()));
            assert!(meta.fits());
        }
        assert_eq!(read_entry(&entry_text(&entry)), Some(entry.clone()));
        let text = entry_text(&entry);
        for (one, two) in [
            ("", "0,1"),
            (text.as_str(), ""),
            (text.as_str(), "0,2"),
            (text.as_str(), "x,1"),
            ("AQ.AQ", "0,1"),
            (&"A".repeat(MAX_META_LEN), "0,1"),
        ] {
            assert_eq!(Meta::read(one, two), None, "{one} {two}");
        }
        let encoded = vec![0; MAX_META_LEN];
        let long = Meta { entry: Entry { encoded, ..entry }, correction_us: 0, time_known: true };
        assert!(!long.fits());
    }
}
