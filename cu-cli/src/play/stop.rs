//! Ctrl-C and SIGTERM while something is being written: the first ends it properly, the second at
//! once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::CuError;

/// Listens to both.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// From now on neither signal ends the process by itself.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> Result<Self, CuError> {
        let listen = |kind| {
            signal(kind).map_err(|e| CuError::other(format!("signals cannot be heard: {e}")))
        };
        let (interrupt, terminate) =
            (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate })
    }

    /// The next of either.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// What `work` comes to. When `asked` resolves once, `end` tells the work so; the second time it is
/// given up where it is.
pub(super) async fn twice(
    work: impl Future<Output = Result<(), CuError>>,
    end: &CancellationToken,
    mut asked: impl AsyncFnMut(),
) -> Result<(), CuError> {
    let asked_twice = async {
        asked().await;
        end.cancel();
        asked().await;
    };
    tokio::select! {
        done = work => done,
        () = asked_twice => Err(CuError::other("stopped at once; the file may lack its end")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::error::Exit;

    #[tokio::test]
    async fn the_first_time_work_is_asked_to_end_and_may_take_its_time() {
        let (asking, mut asked) = mpsc::unbounded_channel();
        let end = CancellationToken::new();
        let work = async {
            asking.send(()).expect("heard");
            end.cancelled().await;
            Ok(())
        };
        twice(work, &end, async || asked.recv().await.expect("kept open")).await.expect("ended");
    }

    #[tokio::test]
    async fn the_second_time_it_is_given_up() {
        let (asking, mut asked) = mpsc::unbounded_channel();
        let end = CancellationToken::new();
        let work = async {
            asking.send(()).expect("heard");
            end.cancelled().await;
            asking.send(()).expect("heard");
            std::future::pending().await
        };
        let given_up = twice(work, &end, async || asked.recv().await.expect("kept open")).await;
        assert_eq!(given_up.expect_err("it would never end").exit, Exit::Other);
    }
}
