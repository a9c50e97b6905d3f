//! Health and metrics over HTTP: `GET /livez`, `/readyz`, `/metrics`, and nothing else.
//!
//! Meant for this machine: systemd, a monitoring agent, a container's probe. It is up before the store is
//! opened, so that a rebuild can be seen. Whoever asks slowly, or too much, is put off: a request has
//! [`REQUEST_BYTES_MAX`] and [`ANSWER_WITHIN`], and so many are answered at a time.

use crate::accepting::serve_each;
use crate::daemon::Shared;
use crate::metrics;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A request's head at most.
const REQUEST_BYTES_MAX: usize = 4 * 1024;
/// Header lines of a request at most.
const HEADERS_MAX: usize = 32;
/// A request and its answer take no longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Requests at a time.
const CONNECTIONS_MAX: usize = 16;
/// How long the store may take to answer, before metrics go without it.
const STORE_WITHIN: Duration = Duration::from_secs(2);

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How far the daemon has come.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Starting(&'static str),
    Running,
    Stopping,
}

/// What health is answered from.
pub(crate) struct Condition {
    stage: RwLock<Stage>,
    shared: OnceLock<Arc<Shared>>,
}

impl Condition {
    pub(crate) fn starting(doing: &'static str) -> Arc<Self> {
        Arc::new(Self {
            stage: RwLock::new(Stage::Starting(doing)),
            shared: OnceLock::new(),
        })
    }

    pub(crate) fn running(&self, shared: &Arc<Shared>) {
        // Set once: a daemon starts once.
        let _ = self.shared.set(Arc::clone(shared));
        self.set(Stage::Running);
    }

    pub(crate) fn stopping(&self) {
        self.set(Stage::Stopping);
    }

    fn set(&self, stage: Stage) {
        *self.stage.write().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    /// Why devices are not served as they should be; `None` if they are.
    pub(crate) fn not_ready(&self) -> Option<String> {
        let stage = self.stage.read();
        let stage = stage.unwrap_or_else(PoisonError::into_inner).clone();
        match stage {
            Stage::Starting(doing) => return Some(format!("starting: {doing}")),
            Stage::Stopping => return Some("stopping".to_owned()),
            Stage::Running => {}
        }
        let shared = self.shared.get()?;
        if let Some(failure) = shared.engine.failure() {
            return Some(format!("the store failed: {failure}"));
        }
        let centre = shared.centre.as_ref()?.failure()?;
        Some(format!("the centre cannot go on and tries again: {centre}"))
    }

    async fn metrics(&self) -> String {
        let not_ready = self.not_ready();
        match self.shared.get() {
            Some(shared) => metrics::text(shared, not_ready.is_none(), STORE_WITHIN).await,
            None => metrics::starting_text(),
        }
    }
}

/// Answers until it is stopped.
pub(crate) struct HealthServer {
    pub(crate) address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl HealthServer {
    pub(crate) async fn start(
        address: SocketAddr,
        condition: Arc<Condition>,
    ) -> std::io::Result<Self> {
        Self::patient(address, condition, ANSWER_WITHIN).await
    }

    async fn patient(
        address: SocketAddr,
        condition: Arc<Condition>,
        within: Duration,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self {
            address: listener.local_addr()?,
            accepting: tokio::spawn(accept(listener, condition, within)),
        })
    }

    pub(crate) fn stop(&self) {
        self.accepting.abort();
    }
}

impl Drop for HealthServer {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn accept(listener: TcpListener, condition: Arc<Condition>, within: Duration) {
    serve_each(listener, CONNECTIONS_MAX, "health", |stream| {
        let condition = Arc::clone(&condition);
        async move {
            // Whoever is too slow, or gone, gets no answer.
            let _ = tokio::time::timeout(within, serve(stream, &condition)).await;
        }
    })
    .await;
}

async fn serve(mut stream: TcpStream, condition: &Condition) -> std::io::Result<()> {
    let mut held = Vec::with_capacity(512);
    let asked = loop {
        match parse(&held) {
            Parsed::Partial if held.len() < REQUEST_BYTES_MAX => {}
            Parsed::Partial => break Asked::TooLong,
            Parsed::Asked(asked) => break asked,
        }
        let room = REQUEST_BYTES_MAX - held.len();
        if (&mut stream).take(room as u64).read_buf(&mut held).await? == 0 {
            return Ok(());
        }
    };
    let (status, kind, body) = answer(asked, condition).await;
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Live,
    Ready,
    Metrics,
    Elsewhere,
    OtherMethod,
    TooLong,
    Malformed,
}

#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Partial,
    Asked(Asked),
}

fn parse(bytes: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) => return Parsed::Partial,
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Parsed::Asked(Asked::TooLong),
        Err(_) => return Parsed::Asked(Asked::Malformed),
    }
    let path = request.path.and_then(|path| path.split('?').next());
    Parsed::Asked(match (request.method, path) {
        (Some("GET"), Some("/livez")) => Asked::Live,
        (Some("GET"), Some("/readyz")) => Asked::Ready,
        (Some("GET"), Some("/metrics")) => Asked::Metrics,
        (Some("GET"), _) => Asked::Elsewhere,
        _ => Asked::OtherMethod,
    })
}

async fn answer(asked: Asked, condition: &Condition) -> (&'static str, &'static str, String) {
    let words = |status, words: &str| (status, TEXT, format!("{words}\n"));
    match asked {
        Asked::Live => words("200 OK", "live"),
        Asked::Ready => match condition.not_ready() {
            None => words("200 OK", "ready"),
            Some(why) => words("503 Service Unavailable", &format!("not ready: {why}")),
        },
        Asked::Metrics => ("200 OK", OPEN_METRICS, condition.metrics().await),
        Asked::Elsewhere => words("404 Not Found", "there are /livez, /readyz and /metrics"),
        Asked::OtherMethod => words("405 Method Not Allowed", "only GET"),
        Asked::TooLong => words("431 Request Header Fields Too Large", "too long"),
        Asked::Malformed => words("400 Bad Request", "not HTTP"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    async fn starting() -> (HealthServer, Arc<Condition>) {
        let condition = Condition::starting("the store is opened");
        let any = "127.0.0.1:0".parse().unwrap();
        let server = HealthServer::start(any, Arc::clone(&condition)).await;
        (server.unwrap(), condition)
    }

    #[tokio::test]
    async fn it_lives_before_it_is_ready() {
        let (server, condition) = starting().await;
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let live = ask(server.address, get("/livez").as_bytes()).await;
        assert!(live.starts_with("HTTP/1.1 200 OK\r\n"), "{live}");
        let ready = ask(server.address, get("/readyz").as_bytes()).await;
        assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
        assert!(
            ready.ends_with("\r\n\r\nnot ready: starting: the store is opened\n"),
            "{ready}"
        );
        let metrics = ask(server.address, get("/metrics").as_bytes()).await;
        assert!(metrics.contains("\ncairn_ready 0\n"), "{metrics}");
        assert!(metrics.ends_with("# EOF\n"), "{metrics}");
        condition.stopping();
        let ready = ask(server.address, get("/readyz?verbose").as_bytes()).await;
        assert!(ready.ends_with("not ready: stopping\n"), "{ready}");
    }

    #[tokio::test]
    async fn whatever_else_is_asked_is_refused() {
        let (server, _) = starting().await;
        let long = format!(
            "GET /livez HTTP/1.1\r\nX: {}\r\n\r\n",
            "x".repeat(REQUEST_BYTES_MAX)
        );
        let crowded = format!(
            "GET /livez HTTP/1.1\r\n{}\r\n",
            "X: x\r\n".repeat(HEADERS_MAX + 1)
        );
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("GET /livezz HTTP/1.1\r\n\r\n", "404"),
            ("POST /livez HTTP/1.1\r\n\r\n", "405"),
            ("HEAD /livez HTTP/1.1\r\n\r\n", "405"),
            ("\u{1}\u{2}\u{3}\r\n\r\n", "400"),
            (&long[..REQUEST_BYTES_MAX], "431"),
            (&crowded, "431"),
        ] {
            let answer = ask(server.address, request.as_bytes()).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{request}: {answer}"
            );
        }
    }

    #[tokio::test]
    async fn those_who_say_nothing_are_put_off() {
        let condition = Condition::starting("the store is opened");
        let any = "127.0.0.1:0".parse().unwrap();
        let server = HealthServer::patient(any, condition, Duration::from_millis(50)).await;
        let server = server.unwrap();
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX * 3 {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            stream.write_all(b"GET /li").await.unwrap();
            silent.push(stream);
        }
        let answer = ask(server.address, b"GET /livez HTTP/1.1\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        for stream in &mut silent {
            let mut text = String::new();
            // Cut off, one way or the other.
            let _ = stream.read_to_string(&mut text).await;
            assert_eq!(text, "");
        }
    }
}
