//! How long strangers and clients are listened to, in virtual time.

use std::net::SocketAddr;

use tokio::io::{DuplexStream, duplex};

use super::*;
use crate::udp::idle_worker;

/// A Binding request with an attribute of so many bytes.
fn request(attribute: u16) -> Vec<u8> {
    let mut request = vec![0, 1];
    request.extend((attribute + 4).to_be_bytes());
    request.extend([0x21, 0x12, 0xa4, 0x42]);
    request.extend([7; 12]);
    request.extend([0x80, 0x22]);
    request.extend(attribute.to_be_bytes());
    request.resize(request.len() + usize::from(attribute), b'x');
    request
}

/// What happens while `client` speaks.
async fn while_reading<F: Future>(
    outbox: &Outbox,
    client: impl FnOnce(DuplexStream) -> F,
) -> (io::Result<()>, F::Output) {
    let (ours, theirs) = duplex(1 << 16);
    let (mut read, _write) = tokio::io::split(ours);
    let (worker, _lasts) = idle_worker();
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let id = ClientId::new(Transport::Tcp, address, address);
    let out = Box::new(Out(Arc::default()));
    let stream = worker.open(id, out).await.expect("open");
    tokio::join!(read_all(&mut read, outbox, &stream), client(theirs))
}

fn allocated(outbox: &Outbox) {
    assert!(outbox.send(&[0x01, 0x03, 0, 0], &[], &[]));
}

#[tokio::test(start_paused = true)]
async fn who_dribbles_has_no_more_time_than_others() {
    let begun = Instant::now();
    let (end, ()) = while_reading(&Outbox::default(), async |mut client: DuplexStream| {
        for byte in request(400) {
            if client.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
            if begun.elapsed() > 10 * HELLO {
                break;
            }
        }
    })
    .await;
    assert_eq!(end.expect_err("cut off").kind(), io::ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn who_never_allocates_is_cut_off_however_much_it_says() {
    let begun = Instant::now();
    let outbox = Outbox::default();
    let reading = while_reading(&outbox, async |mut client: DuplexStream| {
        while begun.elapsed() < 10 * STRANGER && client.write_all(&request(4)).await.is_ok() {
            tokio::time::sleep(HELLO / 2).await;
        }
        client
    });
    let (end, _client) = reading.await;
    assert_eq!(end.expect_err("cut off").kind(), io::ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_client_stays_as_long_as_its_allocation() {
    let outbox = Outbox::default();
    let begun = Instant::now();
    let ((end, _client), ended) = tokio::join!(
        while_reading(&outbox, async |mut client: DuplexStream| {
            client.write_all(&request(4)).await.expect("heard");
            client
        }),
        async {
            // Nobody is woken by it.
            allocated(&outbox);
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            outbox.released();
            begun.elapsed()
        }
    );
    assert_eq!(end.expect_err("cut off").kind(), io::ErrorKind::TimedOut);
    assert!(ended >= Duration::from_secs(3_600), "cut off while it had an allocation");
    assert!(begun.elapsed() <= ended + LOOK + STRANGER, "kept without an allocation");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_long_for_a_stranger_is_refused_in_any_pieces() {
    let long = request(2_100);
    for piece in [1, 3, 700, long.len()] {
        let (end, ()) = while_reading(&Outbox::default(), async |mut client: DuplexStream| {
            for piece in long.chunks(piece) {
                if client.write_all(piece).await.is_err() {
                    return;
                }
            }
        })
        .await;
        assert_eq!(end.expect_err("refused").kind(), io::ErrorKind::InvalidData, "{piece}");
    }
}
