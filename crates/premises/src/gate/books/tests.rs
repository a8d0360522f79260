//! What the books remember, and how much of it.

use sightline_model::{ChannelId, PuId, PublicKey, Rights, SessionToken};

use super::*;

fn claims(user: &str, session: &str, iat: i64) -> PlayClaims {
    PlayClaims {
        iss: "test.example".parse().expect("domain"),
        aud: PuId::from_public_key(&PublicKey::from_bytes([1; 32])),
        sub: user.parse().expect("user"),
        jti: "token-1".parse().expect("token id"),
        exp: iat + 60,
        iat,
        ch: ChannelId(0),
        sid: session.parse().expect("session"),
        rights: Rights::owner(),
        cnf: None,
        client: None,
        nvr: None,
    }
}

#[test]
fn more_revocations_than_can_be_remembered_by_themselves_revoke_all_of_before() {
    let at = |s: i64| UnixMicros(s * 1_000_000);
    let mut books = Books::default();
    for i in 0..=MAX_REMEMBERED {
        let problem = Problem::new(ProblemKind::TokenRevoked, "unbound");
        let session = format!("session-{i}").parse().expect("session");
        books.end(&session, Some(problem), at(1_000));
    }
    assert!(books.ended.len() <= MAX_REMEMBERED);
    assert!(books.known_revoked(&claims("anna", "session-0", 999)), "the first was forgotten");
    assert!(!books.known_revoked(&claims("anna", "another", 1_001)), "one of later");

    let mut books = Books::default();
    for i in 0..=MAX_REMEMBERED {
        let user: UserId = format!("user-{i}").parse().expect("user");
        books.revoke(Some(&user), at(1_000));
    }
    assert!(books.revoked_users.len() <= MAX_REMEMBERED);
    let again = Books::with(books.ledger(at(1_001)));
    assert!(again.known_revoked(&claims("user-0", "another", 999)), "the first was forgotten");
    assert!(!again.known_revoked(&claims("user-0", "another", 1_001)), "one of later");
}

#[test]
fn old_revocations_make_room_for_new_ones() {
    let at = |s: i64| UnixMicros(s * 1_000_000);
    let day = 24 * 3_600;
    let mut books = Books::default();
    for i in 0..=MAX_REMEMBERED as i64 {
        let user: UserId = format!("user-{i}").parse().expect("user");
        books.revoke(Some(&user), at(i * day));
    }
    assert!(books.revoked_all.is_none());
    let last = MAX_REMEMBERED as i64 * day;
    let ledger = books.ledger(at(last));
    assert_eq!(ledger.revoked_users.len(), 1, "only the day's own");
}

/// Each change is a write to the disk: who comes again and again with a revoked token makes none.
#[test]
fn what_is_known_to_have_ended_changes_nothing_when_it_ends_again() {
    let at = |s: i64| UnixMicros(s * 1_000_000);
    let session = "session-1".parse().expect("session");
    let token = SessionToken::new("a.play.token".into()).hash();
    let revoked = || Some(Problem::new(ProblemKind::TokenRevoked, "unbound"));
    let mut books = Books::default();
    books.refuse(&token, Some(&session), at(1_000));
    let (changes, ledger) = (books.changes(), books.ledger(at(1_003)));
    books.refuse(&token, Some(&session), at(1_001));
    books.end(&session, revoked(), at(1_002));
    assert_eq!((books.changes(), books.ledger(at(1_003))), (changes, ledger));

    books.end(&"session-2".parse().expect("session"), revoked(), at(1_002));
    assert_ne!(books.changes(), changes, "another one");
}

#[test]
fn full_books_need_no_room_for_what_they_hold() {
    let at = |s: i64| UnixMicros(s * 1_000_000);
    let session = |i: usize| format!("session-{i}").parse().expect("session");
    let user = |i: usize| -> UserId { format!("user-{i}").parse().expect("user") };
    let token = SessionToken::new("a.play.token".into()).hash();
    let mut books = Books::default();
    for i in 0..MAX_REMEMBERED {
        books.refuse(&token, Some(&session(i)), at(1_000));
        books.revoke(Some(&user(i)), at(1_000));
    }
    books.refuse(&token, Some(&session(7)), at(1_010));
    books.end(&session(8), Some(Problem::new(ProblemKind::TokenRevoked, "unbound")), at(1_010));
    books.revoke(Some(&user(7)), at(1_010));
    assert_eq!(books.revoked_all, None);
    assert_eq!((books.ended.len(), books.revoked_users.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
    assert!(books.known_revoked(&claims("user-7", "another", 1_005)), "revoked once more");
    assert!(!books.known_revoked(&claims("user-6", "another", 1_005)), "not so");
}
