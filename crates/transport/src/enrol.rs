//! A device becomes a member: the dialling side.
//!
//! The device has no store yet. It dials the relay that its code names, proves its own key in TLS and
//! the code by a MAC, and gets the authority's log from its beginning and its sealed scope keys. It
//! verifies the log against the code before it believes any of it; then the caller creates its store
//! with what came, and may sync on the same connection.

use crate::dial::{Dialled, SyncError, SyncOptions, SyncTarget, dial};
use crate::endpoint::{EndpointError, Identity};
use crate::link::LinkError;
use cairn_keys::authority::{AuthorityError, AuthorityLog};
use cairn_keys::device::DeviceSecret;
use cairn_keys::enrolment::{Code, Request};
use cairn_keys::membership::Standing;
use cairn_wire::codec::Bytes;
use cairn_wire::frame::{CloseReason, ControlFrame};
use cairn_wire::limits;
use std::time::Duration;
use tokio::time::timeout;

/// What a new member got.
#[derive(Debug)]
pub struct Enrolment {
    /// The authority's log from entry 0, verified, in order.
    pub authority: Vec<Vec<u8>>,
    /// Sealed scope keys for this device; not opened yet.
    pub grants: Vec<Vec<u8>>,
    /// The connection, on which the new member's first session can follow at once
    /// ([`crate::dial::sync_once_on`]); drop it otherwise.
    pub dialled: Dialled,
}

/// Why a device did not become a member.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The relay cannot be reached, or is not the one that the code names.
    #[error(transparent)]
    Dial(SyncError),
    /// The device's own keys cannot be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The relay or the authority said no: the code is wrong, used up or has ended, or the device
    /// was revoked.
    #[error("the code was refused: {0}")]
    Refused(CloseReason),
    /// The authority is not beside this relay and has not signed yet.
    #[error("the request waits for the authority; ask again in {retry_after_s} s")]
    Later {
        /// When to ask again, in seconds.
        retry_after_s: u32,
    },
    /// The connection broke in the middle. Asking again is harmless.
    #[error("the connection broke: {0}")]
    Lost(String),
    /// The relay broke the protocol.
    #[error("the relay broke the protocol: {0}")]
    Protocol(String),
    /// What the relay gave is not the log of the authority that the code names: do not trust it.
    #[error("the relay gave a log that is not the authority's: {0}")]
    Authority(#[from] AuthorityError),
    /// The log verifies and does not say what it must.
    #[error("the relay gave a log that {0}")]
    Log(&'static str),
}

/// How long the relay may take until the next frame of its answer.
const ANSWER: Duration = Duration::from_secs(60);

/// Asks the relay that `code` names to make the device of `secret` a member, known as `name`.
pub async fn enrol(
    code: &Code,
    secret: &DeviceSecret,
    name: &str,
    options: &SyncOptions,
) -> Result<Enrolment, EnrolError> {
    let identity = Identity::new(secret)?;
    let target = SyncTarget {
        addresses: code.addresses.clone(),
        relay: code.relay,
    };
    let mut dialled = dial(&identity, &target, options)
        .await
        .map_err(EnrolError::Dial)?;
    let request = Request::new(code, secret.public(), name);
    let asked = ask(&mut dialled, &request).await;
    let (authority, grants) = match asked {
        Ok(answer) => answer,
        Err(error) => {
            dialled.link.close(CloseReason::Done);
            dialled.link.drained().await;
            return Err(error);
        }
    };
    verify(code, secret, &authority)?;
    Ok(Enrolment {
        authority,
        grants,
        dialled,
    })
}

type Answer = (Vec<Vec<u8>>, Vec<Vec<u8>>);

async fn ask(dialled: &mut Dialled, request: &Request) -> Result<Answer, EnrolError> {
    let frame = ControlFrame::Enrol(Bytes(request.to_bytes()));
    dialled.control.sink.write_control(&frame).await?;
    let mut later = None;
    let mut granted = false;
    let (mut authority, mut grants) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    loop {
        let next = timeout(ANSWER, dialled.control.source.next_control())
            .await
            .map_err(|_| EnrolError::Lost("no answer came".into()))?;
        let (frame, raw) = match (next, later) {
            (Ok(Some(frame)), _) => frame,
            (Ok(None) | Err(LinkError::Closed(_)), Some(retry_after_s)) => {
                return Err(EnrolError::Later { retry_after_s });
            }
            (Ok(None), None) => return Err(EnrolError::Lost("the answer ended early".into())),
            (Err(error), _) => return Err(error.into()),
        };
        bytes += raw.len();
        if bytes > limits::ENROL_ANSWER_BYTES_MAX {
            return Err(EnrolError::Protocol("an answer without end".into()));
        }
        match frame {
            ControlFrame::Enrolled => granted = true,
            ControlFrame::Authority(entries) if granted => {
                authority.extend(entries.into_iter().map(|entry| entry.0));
            }
            ControlFrame::Grants(some) if granted => {
                if some.is_empty() {
                    return Ok((authority, grants));
                }
                grants.extend(some.into_iter().map(|grant| grant.0));
            }
            ControlFrame::Later { retry_after_s } if !granted => {
                dialled.control.sink.finish();
                later = Some(retry_after_s);
            }
            _ => return Err(EnrolError::Protocol("another frame than the answer".into())),
        }
    }
}

fn verify(code: &Code, secret: &DeviceSecret, authority: &[Vec<u8>]) -> Result<(), EnrolError> {
    let mut log = AuthorityLog::new(code.programme);
    for entry in authority {
        log.append_verified(entry)?;
    }
    let named = log
        .id_at(code.head.height)
        .map(|id| id.at(code.head.height));
    if named != Some(code.head) {
        return Err(EnrolError::Log(
            "does not contain the entry that the code names",
        ));
    }
    if log.membership().standing(&secret.device()) != Standing::Member {
        return Err(EnrolError::Log("does not make this device a member"));
    }
    Ok(())
}

impl From<LinkError> for EnrolError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Closed(Some(CloseReason::Protocol)) | LinkError::Closed(None) => {
                Self::Protocol("the relay did not understand the request".into())
            }
            LinkError::Closed(Some(reason)) => Self::Refused(reason),
            LinkError::Lost(_) | LinkError::Stalled(_) => Self::Lost(error.to_string()),
            LinkError::Frame(_) | LinkError::Streams(_) => Self::Protocol(error.to_string()),
        }
    }
}
