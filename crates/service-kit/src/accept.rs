//! A listener that goes on whatever its system says.

use std::{io, net::SocketAddr, time::Duration};

use tokio::net::{TcpListener, TcpStream};

/// When no connection can be accepted, it is tried again after this.
const AGAIN: Duration = Duration::from_millis(100);

/// The next connection. A peer that has gone before it was accepted is passed over at once, so that
/// nobody holds others up that way; after any other failure, most likely for want of file
/// descriptors, it waits until some may be free. May be dropped at any time.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if gone_already(&error) => {
                tracing::debug!(%error, "a peer went away before it was accepted");
            }
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

fn gone_already(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
