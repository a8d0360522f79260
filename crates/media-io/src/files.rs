//! Recordings as files, by HTTP, on the connections on which players speak RTSP.

use std::{net::IpAddr, sync::Arc};

use sightline_model::SessionToken;
use sightline_protocol::{Problem, ps::TokenBearer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    gate::{Admission, BoxFuture, Gate},
    rtsp_server::{Admitted, AdmittedOne, Peer},
};

/// An ordered stream of bytes.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Serves files.
pub trait Files: Send + Sync + 'static {
    /// Serves one connection, HTTP/1.1 from its first byte on, to its end.
    fn serve(self: Arc<Self>, io: Box<dyn Io>, caller: Caller) -> BoxFuture<'static, ()>;
}

/// Who is at the other end, and who decides what they may.
pub struct Caller {
    gate: Arc<dyn Gate>,
    bearer: TokenBearer,
    from: IpAddr,
    admitted: Admitted,
}

/// Leave to fetch files; dropping it ends the session.
pub struct Leave {
    /// What was granted.
    pub admission: Admission,
    /// Tells the connection's carrier.
    _counted: AdmittedOne,
}

impl Caller {
    pub(crate) fn new(gate: Arc<dyn Gate>, peer: &Peer, admitted: Admitted) -> Self {
        let (bearer, from) = (peer.bearer.clone(), peer.remote.ip().to_canonical());
        Self { gate, bearer, from, admitted }
    }

    /// Asks for leave with a play token.
    ///
    /// # Errors
    /// [`Problem`], in words for the caller.
    pub async fn admit(&self, token: &SessionToken) -> Result<Leave, Problem> {
        let admission = self.gate.admit_from(token, self.bearer.clone(), self.from).await?;
        Ok(Leave { admission, _counted: self.admitted.one() })
    }
}
