//! User names of relay credentials (draft-uberti-behave-turn-rest-00): `expiry:session`.

/// Until when the name is good, in seconds since 1970; `None` when it is no such name.
pub(crate) fn expiry(user_name: &str) -> Option<u64> {
    let (expiry, _session) = user_name.split_once(':')?;
    expiry.parse().ok()
}
