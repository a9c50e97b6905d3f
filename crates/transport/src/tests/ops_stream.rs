//! Questions of ops over real QUIC: limits, refusals, an older acceptor.

use super::*;
use crate::ops_stream::{Answering, AskError, OpsAnswerer, OpsLine};
use cairn_wire::limits;
use std::sync::Arc;
use std::sync::Mutex;
use tokio::sync::mpsc;

/// Answers with how long the question was, after as many lines as its first byte says.
struct Desk {
    refuses: Mutex<Option<CloseReason>>,
}

impl Desk {
    fn word(&self) -> Result<(), CloseReason> {
        match *self.refuses.lock().unwrap() {
            Some(reason) => Err(reason),
            None => Ok(()),
        }
    }
}

impl OpsAnswerer for Desk {
    fn admit(&self, _peer: DeviceKey) -> Answering<'_> {
        Box::pin(async { self.word() })
    }

    fn answer(
        &self,
        _peer: DeviceKey,
        question: Vec<u8>,
        lines: mpsc::Sender<Vec<u8>>,
    ) -> Answering<'_> {
        Box::pin(async move {
            self.word()?;
            for number in 0..question.first().copied().unwrap_or(0) {
                let _ = lines.send(format!("{number}\n").into_bytes()).await;
            }
            let _ = lines
                .send(format!("{}\n", question.len()).into_bytes())
                .await;
            Ok(())
        })
    }
}

fn desk() -> (Arc<Desk>, Relay) {
    let desk = Arc::new(Desk {
        refuses: Mutex::new(None),
    });
    let options = AcceptOptions {
        ops: Some(desk.clone()),
        ..AcceptOptions::default()
    };
    let (_, relay, _) = world_with(0, options);
    (desk, relay)
}

async fn line_to(relay: &Relay) -> OpsLine {
    let identity = Identity::new(&secret(7)).unwrap();
    let line = OpsLine::dial(&identity, &relay.target(), &patient()).await;
    line.unwrap()
}

async fn ask(line: &OpsLine, question: &[u8]) -> Result<Vec<String>, AskError> {
    let mut lines = Vec::new();
    line.ask(question, &mut |line| {
        lines.push(String::from_utf8(line).unwrap());
    })
    .await?;
    Ok(lines)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_questions_go_over_one_connection_and_lines_come_in_order() {
    let (_desk, relay) = desk();
    let line = line_to(&relay).await;
    assert_eq!(ask(&line, &[3, b'x']).await.unwrap(), ["0", "1", "2", "2"]);
    assert_eq!(ask(&line, b"").await.unwrap(), ["0"]);
    for _ in 0..3 * limits::STREAMS_MAX {
        assert_eq!(ask(&line, &[200; 9]).await.unwrap().len(), 201);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_is_too_long_is_cut_one_byte_after_its_limit() {
    let (_desk, relay) = desk();
    let line = line_to(&relay).await;
    let most = limits::OPS_REQUEST_BYTES_MAX;
    for (bytes, taken) in [(most, most), (most + 1, most + 1), (40 * most, most + 1)] {
        let answer = ask(&line, &vec![0; bytes]).await.unwrap();
        assert_eq!(answer, [taken.to_string()], "{bytes}");
    }
    // And the connection is as good as before.
    assert_eq!(ask(&line, b"\0").await.unwrap(), ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_loses_the_right_is_told_one_word_on_the_connection_that_is_open() {
    for reason in [
        CloseReason::Unknown,
        CloseReason::Revoked,
        CloseReason::NotPermitted,
    ] {
        let (desk, relay) = desk();
        let line = line_to(&relay).await;
        ask(&line, b"\0").await.unwrap();
        *desk.refuses.lock().unwrap() = Some(reason);
        let refused = ask(&line, b"\0").await;
        assert!(matches!(refused, Err(AskError::Refused(word)) if word == reason));
        let again = ask(&line_to(&relay).await, b"\0").await;
        assert!(matches!(again, Err(AskError::Refused(word)) if word == reason));
        let known = relay.handle.history();
        assert!(known.iter().any(|info| info.peer == secret(7).device()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acceptor_that_knows_no_questions_is_told_apart() {
    // A relay of an older version ends a stream of a kind that it does not know in the same way.
    let (_, relay, _) = world(0);
    let asked = ask(&line_to(&relay).await, b"\0").await;
    assert!(matches!(asked, Err(AskError::NotUnderstood)), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_among_questions_and_a_question_in_a_session_break_the_protocol() {
    let (_desk, relay) = desk();
    let line = line_to(&relay).await;
    ask(&line, b"\0").await.unwrap();
    let (mut send, _recv) = line.connection().open_bi().await.unwrap();
    send.write_all(&[0]).await.unwrap();
    let closed = line.connection().closed().await;
    assert!(closed.to_string().contains("protocol"), "{closed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_stops_says_so_to_whoever_asks() {
    let (_desk, relay) = desk();
    let line = line_to(&relay).await;
    ask(&line, b"\0").await.unwrap();
    relay.acceptor.stop_accepting();
    let closed = line.connection().closed().await;
    assert!(closed.to_string().contains("shutting down"), "{closed}");
}
