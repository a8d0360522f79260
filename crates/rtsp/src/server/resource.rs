//! What a request's URL names, and the token that it shows.

use data_encoding::BASE64;
use sightline_model::{ChannelId, SessionToken, StreamTier, UnixMicros};
use url::Url;

use crate::{
    TrackKind,
    replay::{Range, TimeRange},
};

/// A span of recorded time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its beginning.
    pub from: UnixMicros,
    /// Its end, not included; none: to the end of what is recorded.
    pub to: Option<UnixMicros>,
}

impl Span {
    /// Reads `20261121T170000.5Z-20261121T170500Z`, the end of which may be left out.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let range: Range = format!("clock={text}").parse().ok()?;
        match range {
            Range::Clock(TimeRange { from: Some(from), to }) => {
                to.is_none_or(|to| from < to).then_some(Self { from, to })
            }
            Range::Clock(_) | Range::Npt(_) => None,
        }
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = Range::Clock(TimeRange { from: Some(self.from), to: self.to }).to_string();
        f.write_str(text.trim_start_matches("clock="))
    }
}

/// A stream of a camera or a span of its recording, or one track of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    /// The camera.
    pub channel: ChannelId,
    /// Which encoding; main unless said otherwise.
    pub tier: StreamTier,
    /// What was recorded then; none: live.
    pub span: Option<Span>,
    /// One track, or all.
    pub track: Option<TrackKind>,
}

impl Resource {
    /// Reads `/<channel>[/main|/sub][/<span>][/video|/audio]`. Players that append the control to the query
    /// (`?token=…/video`) are understood too.
    #[must_use]
    pub fn parse(url: &Url) -> Option<Self> {
        if !matches!(url.scheme(), "rtsp" | "rtsps") || !url.has_host() {
            return None;
        }
        let query_tail = url.query().and_then(|q| q.split_once('/')).map_or("", |(_, tail)| tail);
        let mut parts =
            url.path().split('/').chain(query_tail.split('/')).filter(|part| !part.is_empty());
        let channel = parts.next().filter(|p| p.bytes().all(|b| b.is_ascii_digit()))?;
        let channel = ChannelId(channel.parse().ok()?);
        let mut part = parts.next();
        let tier = match part {
            Some("sub") => StreamTier::Sub,
            _ => StreamTier::Main,
        };
        if matches!(part, Some("main" | "sub")) {
            part = parts.next();
        }
        let span = part.and_then(Span::parse);
        if span.is_some() {
            part = parts.next();
        }
        let track = match part {
            None => None,
            Some("video") => Some(TrackKind::Video),
            Some("audio") => Some(TrackKind::Audio),
            Some(_) => return None,
        };
        parts.next().is_none().then_some(Self { channel, tier, span, track })
    }

    /// Whether both name the same stream.
    #[must_use]
    pub fn same_stream(&self, other: &Self) -> bool {
        (self.channel, self.tier, self.span) == (other.channel, other.tier, other.span)
    }

    /// The base that controls are relative to: without token and user, for it is shown in logs of
    /// players, and the connection remembers who was let in.
    #[must_use]
    pub fn base(&self, requested: &Url) -> Url {
        let mut base = requested.clone();
        base.set_query(None);
        base.set_fragment(None);
        let _ = (base.set_username(""), base.set_password(None));
        let tier = match self.tier {
            StreamTier::Main => "main",
            StreamTier::Sub => "sub",
        };
        let span = self.span.map(|span| format!("{span}/")).unwrap_or_default();
        base.set_path(&format!("/{}/{tier}/{span}", self.channel));
        base
    }
}

/// The token in the query, or as the password of `Authorization: Basic`.
#[must_use]
pub fn token(url: &Url, authorization: Option<&str>) -> Option<SessionToken> {
    in_query(url).or_else(|| in_basic(authorization?)).map(SessionToken::new)
}

fn in_query(url: &Url) -> Option<String> {
    let query = url.query()?;
    let query = query.split_once('/').map_or(query, |(query, _)| query);
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, value)| name == "token" && !value.is_empty())
        .map(|(_, value)| value.into_owned())
}

fn in_basic(authorization: &str) -> Option<String> {
    let (scheme, credentials) = authorization.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(credentials.trim().as_bytes()).ok()?).ok()?;
    let (_, password) = decoded.split_once(':')?;
    (!password.is_empty()).then(|| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(u16, StreamTier, Option<TrackKind>)> {
        let url: Url = text.parse().expect("a URL");
        Resource::parse(&url).map(|r| (r.channel.0, r.tier, r.track))
    }

    #[test]
    fn paths() {
        use StreamTier::{Main, Sub};
        assert_eq!(parse("rtsp://h/0"), Some((0, Main, None)));
        assert_eq!(parse("rtsp://h/3/sub/"), Some((3, Sub, None)));
        assert_eq!(parse("rtsp://h/0/main/video"), Some((0, Main, Some(TrackKind::Video))));
        assert_eq!(parse("rtsp://h/0/audio?token=a"), Some((0, Main, Some(TrackKind::Audio))));
        assert_eq!(parse("rtsp://h/0/?token=a.b-c/video"), Some((0, Main, Some(TrackKind::Video))));
        for none in ["rtsp://h/", "rtsp://h/x", "rtsp://h/65536", "rtsp://h/+1", "rtsp://h/0/x"] {
            assert_eq!(parse(none), None, "{none}");
        }
        assert_eq!(parse("rtsp://h/0/main/video/more"), None);
        assert_eq!(parse("data:0"), None);
    }

    #[test]
    fn spans() {
        let url = |text: &str| text.parse::<Url>().expect("a URL");
        let of = |text: &str| Resource::parse(&url(text)).and_then(|r| r.span.zip(Some(r.track)));
        let (span, track) =
            of("rtsp://h/0/20261121T170000Z-20261121T170500.5Z/video?token=a").expect("valid");
        assert_eq!(span.from, UnixMicros(1_795_280_400_000_000));
        assert_eq!(span.to, Some(UnixMicros(1_795_280_700_500_000)));
        assert_eq!(track, Some(TrackKind::Video));
        let (span, _) = of("rtsp://h/0/sub/20261121T170000Z-").expect("valid");
        assert_eq!((span.to, span.to_string().as_str()), (None, "20261121T170000Z-"));
        let open = url("rtsp://h/3/sub/20261121T170000Z-?token=a");
        let base = Resource::parse(&open).expect("valid").base(&open);
        assert_eq!(base.as_str(), "rtsp://h/3/sub/20261121T170000Z-/");
        for none in ["20261121T170000Z", "-20261121T170000Z", "20261121T170000Z-20261121T170000Z"] {
            assert_eq!(Resource::parse(&url(&format!("rtsp://h/0/{none}"))), None, "{none}");
        }
    }

    #[test]
    fn tokens() {
        let of =
            |url: &str, auth| token(&url.parse().expect("a URL"), auth).map(|t| t.expose().clone());
        assert_eq!(of("rtsp://h/0?token=a.b-c_d", None).as_deref(), Some("a.b-c_d"));
        assert_eq!(of("rtsp://h/0?x=1&token=abc/video", None).as_deref(), Some("abc"));
        let basic = format!("Basic {}", BASE64.encode(b"me:s:ecret"));
        assert_eq!(of("rtsp://h/0", Some(&basic)).as_deref(), Some("s:ecret"));
        assert_eq!(of("rtsp://h/0?token=", Some("Basic !!")), None);
        assert_eq!(of("rtsp://h/0", Some("Digest x")), None);
    }

    #[test]
    fn the_base_shows_no_token() {
        let url: Url = "rtsp://me:pw@h:8554/0/sub/video?token=abc".parse().expect("a URL");
        let base = Resource::parse(&url).expect("valid").base(&url);
        assert_eq!(base.as_str(), "rtsp://h:8554/0/sub/");
    }
}
