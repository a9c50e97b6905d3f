//! Ops from anywhere: the same requests and answers as on the local socket, over the connection that a
//! device of ops has proved its key on.

use super::asker::{Asker, OpsDevice};
use super::lines::Lines;
use super::server::answer_line;
use crate::daemon::Shared;
use cairn_transport::ops_stream::{Answering, OpsAnswerer};
use cairn_wire::DeviceKey;
use cairn_wire::frame::CloseReason;
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;

/// Answers devices of ops once the relay runs.
#[derive(Default)]
pub(crate) struct FromAfar {
    shared: OnceLock<Arc<Shared>>,
}

impl FromAfar {
    pub(crate) fn running(&self, shared: &Arc<Shared>) {
        // Set once: a daemon starts once.
        let _ = self.shared.set(Arc::clone(shared));
    }

    async fn entitled(&self, peer: DeviceKey) -> Result<(&Shared, OpsDevice), CloseReason> {
        let shared = self.shared.get().ok_or(CloseReason::Busy)?;
        match OpsDevice::entitled(shared, peer).await {
            Ok(device) => Ok((shared, device)),
            Err(reason) => {
                tracing::info!(?peer, %reason, "a question of ops was refused");
                Err(reason)
            }
        }
    }
}

impl OpsAnswerer for FromAfar {
    fn admit(&self, peer: DeviceKey) -> Answering<'_> {
        Box::pin(async move { self.entitled(peer).await.map(drop) })
    }

    fn answer(
        &self,
        peer: DeviceKey,
        question: Vec<u8>,
        lines: mpsc::Sender<Vec<u8>>,
    ) -> Answering<'_> {
        Box::pin(async move {
            let (shared, device) = self.entitled(peer).await?;
            let lines = Lines::new(lines);
            answer_line(shared, &Asker::Device(device), &question, &lines).await;
            Ok(())
        })
    }
}
