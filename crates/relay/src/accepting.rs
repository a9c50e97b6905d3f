//! Accepting connections of this machine, so many at a time.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// After a failure (no descriptors left) it is tried again so much later.
const PAUSE: Duration = Duration::from_secs(1);

/// A socket that connections come from.
pub(crate) trait Accepts: Send + 'static {
    /// A connection.
    type Stream: Send + 'static;

    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Accepts for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        Ok(self.accept().await?.0)
    }
}

impl Accepts for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

/// Serves every connection by a task of its own, `at_a_time` of them; further ones wait. `whose` names
/// the socket where it fails.
pub(crate) async fn serve_each<L: Accepts, F>(
    listener: L,
    at_a_time: usize,
    whose: &'static str,
    serve: impl Fn(L::Stream) -> F + Send,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(at_a_time));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.next().await {
            Ok(stream) => {
                let serving = serve(stream);
                tokio::spawn(async move {
                    serving.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, whose, "no connection is accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
