//! The ClientHello of DTLS 1.2 (RFC 6347 section 4.2.1), as far as it takes to answer strangers
//! without remembering them.

/// Content type, version, epoch, sequence number, length (RFC 6347 section 4.1).
const RECORD_HEAD: usize = 13;
/// Type, length, sequence number, fragment offset, fragment length (section 4.2.2).
const HANDSHAKE_HEAD: usize = 12;
/// Version and random, which come before the session id.
const BEFORE_SESSION_ID: usize = 34;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// A whole ClientHello that is alone in its datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hello<'a> {
    datagram: &'a [u8],
    /// Where the cookie's length is.
    cookie_at: usize,
    cookie_length: usize,
}

impl<'a> Hello<'a> {
    /// `None` for anything else, a fragment among them: those would have to be remembered.
    pub(super) fn read(datagram: &'a [u8]) -> Option<Self> {
        let (head, record) = datagram.split_at_checked(RECORD_HEAD)?;
        let plaintext = head[3..5] == [0, 0];
        if head[0] != HANDSHAKE || head[1] != 0xfe || !plaintext || record.len() != be(&head[11..])
        {
            return None;
        }
        let (head, body) = record.split_at_checked(HANDSHAKE_HEAD)?;
        let whole = be(&head[6..9]) == 0 && be(&head[9..]) == body.len();
        if head[0] != CLIENT_HELLO || be(&head[1..4]) != body.len() || !whole {
            return None;
        }
        let session_id = usize::from(*body.get(BEFORE_SESSION_ID)?);
        let cookie_at = BEFORE_SESSION_ID + 1 + session_id;
        let cookie_length = usize::from(*body.get(cookie_at)?);
        body.get(cookie_at + 1 + cookie_length)?;
        Some(Self { datagram, cookie_at: RECORD_HEAD + HANDSHAKE_HEAD + cookie_at, cookie_length })
    }

    pub(super) fn has_cookie(&self) -> bool {
        self.cookie_length > 0
    }

    /// Whether its client knows DTLS 1.2 or later; versions count downwards.
    pub(super) fn knows_1_2(&self) -> bool {
        self.datagram.get(RECORD_HEAD + HANDSHAKE_HEAD + 1).is_some_and(|minor| *minor <= 0xfd)
    }

    pub(super) fn datagram(&self) -> &'a [u8] {
        self.datagram
    }

    pub(super) fn random(&self) -> [u8; 32] {
        let at = RECORD_HEAD + HANDSHAKE_HEAD + 2;
        self.datagram[at..].first_chunk().copied().unwrap_or_default()
    }

    /// The hello that came before this one: the same without cookie (section 4.2.1).
    pub(super) fn first(&self) -> Vec<u8> {
        let mut first = self.datagram.to_vec();
        first.drain(self.cookie_at + 1..self.cookie_at + 1 + self.cookie_length);
        first[self.cookie_at] = 0;
        let record = first.len() - RECORD_HEAD;
        let body = record - HANDSHAKE_HEAD;
        first[5..11].fill(0);
        first[11..13].copy_from_slice(&(record as u16).to_be_bytes());
        let body = (body as u32).to_be_bytes();
        first[RECORD_HEAD + 1..RECORD_HEAD + 4].copy_from_slice(&body[1..]);
        // Sequence number and fragment offset
        first[RECORD_HEAD + 4..RECORD_HEAD + 9].fill(0);
        first[RECORD_HEAD + 9..RECORD_HEAD + 12].copy_from_slice(&body[1..]);
        first
    }
}

/// An unsigned number, most significant byte first.
fn be(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(cookie: &[u8], message: u8) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend([7; 32]);
        body.extend([2, 1, 1]);
        body.push(cookie.len() as u8);
        body.extend(cookie);
        body.extend([0, 2, 0xc0, 0x2b, 1, 0]);
        let length = body.len() as u8;
        let mut datagram = vec![22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, message, 0, length + 12];
        datagram.extend([1, 0, 0, length, 0, message, 0, 0, 0, 0, 0, length]);
        datagram.extend(body);
        datagram
    }

    #[test]
    fn the_first_hello_is_the_second_one_without_cookie() {
        let second = hello(&[9; 32], 1);
        let read = Hello::read(&second).expect("a hello");
        assert!(read.has_cookie());
        assert_eq!(read.first(), hello(&[], 0));
        assert!(!Hello::read(&hello(&[], 0)).expect("a hello").has_cookie());
    }

    #[test]
    fn whatever_is_no_whole_hello_is_none() {
        let whole = hello(&[9; 32], 1);
        for cut in 0..whole.len() {
            assert_eq!(Hello::read(&whole[..cut]), None, "{cut}");
        }
        for at in [0, 1, 4, 12, 13, 16, 21, 24, 59] {
            let mut spoilt = whole.clone();
            spoilt[at] ^= 0x80;
            assert_eq!(Hello::read(&spoilt), None, "{at}");
        }
    }

    #[test]
    fn a_million_spoilt_hellos_do_no_harm() {
        let whole = hello(&[9; 32], 1);
        let mut taken = 0;
        for _ in 0..1_000_000 {
            let mut spoilt = whole.clone();
            for _ in 0..rand::random_range(1..4) {
                let at = rand::random_range(0..spoilt.len());
                spoilt[at] = rand::random();
            }
            spoilt.truncate(rand::random_range(0..=2 * spoilt.len()));
            if let Some(read) = Hello::read(&spoilt) {
                taken += 1;
                assert!(read.first().len() <= spoilt.len());
                read.random();
            }
        }
        assert!(taken > 1_000, "none came far: {taken}");
    }
}
