//! What is asked for, by path and query.

use std::ops::Range;

use jiff::Timestamp;
use sightline_model::{ChannelId, SessionToken, StreamTier, UnixMicros};
use sightline_recording::statement::Sequence;
use sightline_recording_store::file_name;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    pub channel: ChannelId,
    pub tier: StreamTier,
    pub what: What,
    /// Of the query.
    pub token: Option<SessionToken>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Proof(Range<UnixMicros>),
    Playlist(Range<UnixMicros>),
    Segment(Sequence),
}

impl Ask {
    pub fn parse(path: &str, query: Option<&str>) -> Option<Self> {
        let mut parts = path.strip_prefix("/recordings/")?.split('/');
        let channel = ChannelId(parts.next()?.parse().ok()?);
        let tier = match parts.next()? {
            "main" => StreamTier::Main,
            "sub" => StreamTier::Sub,
            _ => return None,
        };
        let Query { from, to, token } = Query::parse(query.unwrap_or_default())?;
        let span = from.zip(to).map(|(from, to)| from..to).filter(|span| span.start < span.end);
        let what = match (parts.next()?, parts.next()) {
            ("proof", None) => What::Proof(span?),
            ("playlist.m3u8", None) => What::Playlist(span?),
            (name, None) => {
                let sequence = Sequence(name.strip_suffix(".mp4")?.parse().ok()?);
                // One file has one name.
                (name == file_name(sequence)).then_some(What::Segment(sequence))?
            }
            _ => return None,
        };
        Some(Self { channel, tier, what, token })
    }
}

#[derive(Debug, Default)]
struct Query {
    from: Option<UnixMicros>,
    to: Option<UnixMicros>,
    token: Option<SessionToken>,
}

impl Query {
    fn parse(query: &str) -> Option<Self> {
        let mut found = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "from" => found.from = Some(time(&value)?),
                "to" => found.to = Some(time(&value)?),
                "token" => found.token = Some(SessionToken::new(value.into_owned())),
                _ => return None,
            }
        }
        Some(found)
    }
}

fn time(text: &str) -> Option<UnixMicros> {
    let micros = text.parse::<i64>().ok();
    let micros = micros.or_else(|| Some(text.parse::<Timestamp>().ok()?.as_microsecond()));
    micros.map(UnixMicros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_has_one_form() {
        let ask = |path, query| Ask::parse(path, query);
        let span = UnixMicros(1)..UnixMicros(2);
        let proof = ask("/recordings/3/sub/proof", Some("from=1&to=2")).expect("an ask");
        assert_eq!((proof.channel, proof.tier), (ChannelId(3), StreamTier::Sub));
        assert_eq!(proof.what, What::Proof(span));
        let segment = ask("/recordings/0/main/000000000017.mp4", None).expect("an ask");
        assert_eq!(segment.what, What::Segment(Sequence(17)));
        let query = Some("from=1970-01-01T00:00:00.000001Z&to=2&token=a%2Bb");
        let list = ask("/recordings/0/main/playlist.m3u8", query).expect("an ask");
        assert_eq!(list.what, What::Playlist(UnixMicros(1)..UnixMicros(2)));
        assert_eq!(list.token, Some(SessionToken::new("a+b".into())));
        for (path, query) in [
            ("/recordings/0/main/17.mp4", None),
            ("/recordings/0/main/../main/000000000017.mp4", None),
            ("/recordings/0/main/000000000017.mp4/x", None),
            ("/recordings/0/main/%2e%2e", None),
            ("/recordings/0/third/000000000017.mp4", None),
            ("/recordings/0/main/+00000000017.mp4", None),
            ("/recordings/0/main/proof", None),
            ("/recordings/0/main/proof", Some("from=2&to=1")),
            ("/recordings/0/main/proof", Some("from=1")),
            ("/recordings/0/main/playlist.m3u8", Some("from=yesterday&to=2")),
            ("/recordings/0/main/playlist.m3u8", Some("from=1&to=2&then=3")),
            ("/", None),
        ] {
            assert_eq!(ask(path, query), None, "{path}?{query:?}");
        }
    }
}
