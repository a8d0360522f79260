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

#[test]
fn ranges_are_those_of_the_file() {
    let wanted = |range: &str, condition: Option<&str>| {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().expect("a value"));
        if let Some(condition) = condition {
            headers.insert(header::IF_RANGE, condition.parse().expect("a value"));
        }
        super::wanted(&headers, "\"a\"", 100)
    };
    assert_eq!(wanted("bytes=0-", None), Ok(Some(0..=99)));
    assert_eq!(wanted("bytes=10-19", None), Ok(Some(10..=19)));
    assert_eq!(wanted("bytes=-1", None), Ok(Some(99..=99)));
    assert_eq!(wanted("bytes=90-200", None), Ok(Some(90..=99)));
    assert_eq!(wanted("bytes=100-", None), Err(Unsatisfiable));
    assert_eq!(wanted("bytes=10-", Some("\"b\"")), Ok(None), "it is another file");
    assert_eq!(wanted("bytes=10-", Some("\"a\"")), Ok(Some(10..=99)));
    assert_eq!(wanted("lines=1-2", None), Ok(None));
}
