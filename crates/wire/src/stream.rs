//! Entries as a stream carries them: what its reader knows already is left out.
//!
//! Programme, scope and lane follow from the channel, a log's name and the previous hash from the entry
//! before, an own log from the sender's [`Open`](crate::frame::Open). The whole entry comes back byte for byte, or not at all.

use crate::codec::Bytes;
use crate::frame::ScopeLane;
use crate::ids::{AuthorityRef, DeviceKey, EntryId, Incarnation, LogId, ProgrammeId};
use crate::limits;
use crate::{Entry, EntryError, EntryHeader};
use serde::{Deserialize, Serialize};

/// An entry as it is streamed. Programme, scope and lane are known from the channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryForm {
    /// The first entry of a log in this stream; the log takes the next number in the table of logs.
    First {
        /// Format version.
        version: u8,
        /// Author.
        device: DeviceKey,
        /// Incarnation.
        incarnation: Incarnation,
        /// Number in its log.
        number: u64,
        /// Entry before.
        previous: EntryId,
        /// Authority entry that its author knew.
        authority: AuthorityRef,
        /// Number of the scope key.
        key_number: u32,
        /// Sealed payload.
        payload: Bytes,
        /// Signature.
        signature: Bytes,
    },
    /// The entry after the one that came last of a log in this stream.
    Next {
        /// Number in the table of logs.
        log: u16,
        /// Where it differs from the entry before.
        authority: Option<AuthorityRef>,
        /// Where it differs from the entry before.
        key_number: Option<u32>,
        /// Sealed payload.
        payload: Bytes,
        /// Signature.
        signature: Bytes,
    },
    /// The first entry in this stream of the log that the sender itself writes now: [`Self::First`]
    /// without what its [`Open`](crate::frame::Open) said. It takes a number in the table of logs too.
    Own {
        /// Format version.
        version: u8,
        /// Number in its log.
        number: u64,
        /// Entry before.
        previous: EntryId,
        /// Where it is another than that of the sender's [`Open`](crate::frame::Open).
        authority: Option<AuthorityRef>,
        /// Number of the scope key.
        key_number: u32,
        /// Sealed payload.
        payload: Bytes,
        /// Signature.
        signature: Bytes,
    },
}

/// What the [`Open`](crate::frame::Open) of a stream's sender said of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speaker {
    /// Its device key.
    pub device: DeviceKey,
    /// [`Open::incarnation`](crate::frame::Open::incarnation).
    pub incarnation: Incarnation,
    /// [`Open::authority`](crate::frame::Open::authority).
    pub authority: AuthorityRef,
}

/// Logs that a stream remembers; a further one takes the place of the oldest.
pub const STREAM_LOGS_MAX: usize = 1024;

/// Remembers, per stream, the last entry of each log, so that the next one can leave fields out.
///
/// Sender and receiver each keep one per lane channel and put every entry through it in order.
#[derive(Debug, Default)]
pub struct StreamLogs {
    speaker: Option<Speaker>,
    last: Vec<(EntryHeader, EntryId)>,
    next: usize,
}

/// Why an entry form does not make an entry: the sender's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A `Next` that names a log not in the table.
    #[error("no log {0} in this stream")]
    UnknownLog(u16),
    /// An `Own` before it was said whose.
    #[error("an own entry of nobody")]
    NoSpeaker,
    /// A signature that is not 64 bytes long.
    #[error("a signature of {0} bytes")]
    Signature(usize),
    /// The parts make no entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// A log's numbers have run out.
    #[error("the log is at its last number")]
    NumberOverflow,
}

impl StreamLogs {
    /// Says who sends on this stream; both sides know it from the sender's [`Open`](crate::frame::Open).
    pub fn spoken_by(&mut self, speaker: Speaker) {
        self.speaker = Some(speaker);
    }

    /// The form in which to send `entry`; remembers it.
    pub fn shorten(&mut self, entry: &Entry) -> EntryForm {
        let header = entry.header();
        let payload = Bytes(entry.payload().to_vec());
        let signature = Bytes(entry.signature().to_vec());
        let found = self.last.iter().position(|(last, id)| {
            last.log == header.log
                && last.number.checked_add(1) == Some(header.number)
                && *id == header.previous
                && last.version == header.version
                && last.programme == header.programme
        });
        if let Some(at) = found {
            let last = &self.last[at].0;
            let form = EntryForm::Next {
                log: at as u16,
                authority: (last.authority != header.authority).then_some(header.authority),
                key_number: (last.key_number != header.key_number).then_some(header.key_number),
                payload,
                signature,
            };
            self.last[at] = (header.clone(), entry.id());
            return form;
        }
        self.remember_new(header.clone(), entry.id());
        let own = self.speaker.filter(|speaker| {
            speaker.device == header.log.device && speaker.incarnation == header.log.incarnation
        });
        if let Some(speaker) = own {
            return EntryForm::Own {
                version: header.version,
                number: header.number,
                previous: header.previous,
                authority: (speaker.authority != header.authority).then_some(header.authority),
                key_number: header.key_number,
                payload,
                signature,
            };
        }
        EntryForm::First {
            version: header.version,
            device: header.log.device,
            incarnation: header.log.incarnation,
            number: header.number,
            previous: header.previous,
            authority: header.authority,
            key_number: header.key_number,
            payload,
            signature,
        }
    }

    /// The entry that `form` stands for in `of` of `programme`; remembers it.
    pub fn lengthen(
        &mut self,
        form: EntryForm,
        programme: ProgrammeId,
        of: ScopeLane,
    ) -> Result<Entry, FormError> {
        let log_of = |device, incarnation| LogId {
            scope: of.scope,
            lane: of.lane,
            device,
            incarnation,
        };
        let (header, payload, signature, at) = match form {
            EntryForm::First {
                version,
                device,
                incarnation,
                number,
                previous,
                authority,
                key_number,
                payload,
                signature,
            } => {
                let header = EntryHeader {
                    version,
                    programme,
                    log: log_of(device, incarnation),
                    number,
                    previous,
                    authority,
                    key_number,
                    payload_bytes: payload_bytes(&payload)?,
                };
                (header, payload, signature, None)
            }
            EntryForm::Own {
                version,
                number,
                previous,
                authority,
                key_number,
                payload,
                signature,
            } => {
                let speaker = self.speaker.ok_or(FormError::NoSpeaker)?;
                let header = EntryHeader {
                    version,
                    programme,
                    log: log_of(speaker.device, speaker.incarnation),
                    number,
                    previous,
                    authority: authority.unwrap_or(speaker.authority),
                    key_number,
                    payload_bytes: payload_bytes(&payload)?,
                };
                (header, payload, signature, None)
            }
            EntryForm::Next {
                log,
                authority,
                key_number,
                payload,
                signature,
            } => {
                let at = log as usize;
                let (last, id) = self.last.get(at).ok_or(FormError::UnknownLog(log))?;
                let mut header = last.clone();
                header.previous = *id;
                header.number = last
                    .number
                    .checked_add(1)
                    .ok_or(FormError::NumberOverflow)?;
                header.authority = authority.unwrap_or(last.authority);
                header.key_number = key_number.unwrap_or(last.key_number);
                header.payload_bytes = payload_bytes(&payload)?;
                (header, payload, signature, Some(at))
            }
        };
        let signature: [u8; 64] = signature
            .0
            .as_slice()
            .try_into()
            .map_err(|_| FormError::Signature(signature.0.len()))?;
        let entry = Entry::assemble(&header, &payload.0, &signature)?;
        match at {
            Some(at) => self.last[at] = (header, entry.id()),
            None => self.remember_new(header, entry.id()),
        }
        Ok(entry)
    }

    fn remember_new(&mut self, header: EntryHeader, id: EntryId) {
        if self.last.len() < STREAM_LOGS_MAX {
            self.last.push((header, id));
        } else {
            self.last[self.next] = (header, id);
            self.next = (self.next + 1) % STREAM_LOGS_MAX;
        }
    }
}

fn payload_bytes(payload: &Bytes) -> Result<u32, FormError> {
    if payload.0.len() > limits::ENTRY_PAYLOAD_BYTES_MAX {
        return Err(EntryError::PayloadTooLong(payload.0.len()).into());
    }
    Ok(payload.0.len() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FrameReader, LaneFrame, write};
    use crate::ids::{Lane, ScopeId};

    fn entry(number: u64, previous: EntryId, payload: &[u8]) -> Entry {
        let header = EntryHeader {
            version: 1,
            programme: ProgrammeId([1; 32]),
            log: LogId {
                scope: ScopeId([2; 16]),
                lane: Lane::Records,
                device: DeviceKey([3; 32]),
                incarnation: Incarnation([4; 16]),
            },
            number,
            previous,
            authority: AuthorityRef {
                height: 1,
                id: [5; 8],
            },
            key_number: 1,
            payload_bytes: payload.len() as u32,
        };
        Entry::assemble(&header, payload, &[7; 64]).unwrap()
    }

    const OF: ScopeLane = ScopeLane {
        scope: ScopeId([2; 16]),
        lane: Lane::Records,
    };

    #[test]
    fn a_stream_of_one_log_leaves_fields_out_and_reads_back() {
        let (mut sender, mut receiver) = (StreamLogs::default(), StreamLogs::default());
        let mut previous = EntryId::NONE;
        let mut lengths = Vec::new();
        for number in 1..=5 {
            let entry = entry(number, previous, b"sealed");
            previous = entry.id();
            let bytes = write(&LaneFrame::Entry(sender.shorten(&entry)));
            lengths.push(bytes.len());
            let mut reader = FrameReader::default();
            reader.push(&bytes);
            let (frame, length) = reader.next_frame::<LaneFrame>().unwrap().unwrap();
            assert_eq!(length, bytes.len());
            let LaneFrame::Entry(form) = frame else {
                panic!("an entry was sent");
            };
            assert_eq!(receiver.lengthen(form, ProgrammeId([1; 32]), OF), Ok(entry));
        }
        assert_eq!(lengths, [168, 78, 78, 78, 78]);
    }

    #[test]
    fn the_first_entry_of_ones_own_log_leaves_out_what_the_opening_said() {
        let speaker = Speaker {
            device: DeviceKey([3; 32]),
            incarnation: Incarnation([4; 16]),
            authority: AuthorityRef {
                height: 1,
                id: [5; 8],
            },
        };
        let entry = entry(1, EntryId::NONE, b"sealed");
        // The author as it opened, an opening with another authority head, another incarnation.
        let mut grown = speaker;
        grown.authority.height = 2;
        let mut restored = speaker;
        restored.incarnation = Incarnation([9; 16]);
        for (who, bytes) in [(speaker, 111), (grown, 120), (restored, 168)] {
            let (mut sender, mut receiver) = (StreamLogs::default(), StreamLogs::default());
            sender.spoken_by(who);
            receiver.spoken_by(who);
            let form = sender.shorten(&entry);
            assert_eq!(write(&LaneFrame::Entry(form.clone())).len(), bytes);
            assert_eq!(
                receiver.lengthen(form, ProgrammeId([1; 32]), OF).as_ref(),
                Ok(&entry)
            );
        }
        let mut sender = StreamLogs::default();
        sender.spoken_by(speaker);
        let form = sender.shorten(&entry);
        let answer = StreamLogs::default().lengthen(form, ProgrammeId([1; 32]), OF);
        assert_eq!(answer, Err(FormError::NoSpeaker));
    }

    #[test]
    fn a_table_that_is_full_forgets_the_oldest_on_both_sides() {
        let (mut sender, mut receiver) = (StreamLogs::default(), StreamLogs::default());
        for round in 0..2u64 {
            let mut previous = EntryId::NONE;
            for number in 1..=(STREAM_LOGS_MAX as u64 + 9) {
                // Every entry opens a "log" of its own: no two follow each other.
                let entry = entry(number * 2 + round, EntryId([9; 32]), b"x");
                let form = sender.shorten(&entry);
                assert_eq!(
                    receiver.lengthen(form, ProgrammeId([1; 32]), OF).as_ref(),
                    Ok(&entry)
                );
                previous = entry.id();
            }
            let last = entry(STREAM_LOGS_MAX as u64 * 2 + 18 + round + 1, previous, b"y");
            let form = sender.shorten(&last);
            assert!(matches!(form, EntryForm::Next { .. }));
            assert_eq!(receiver.lengthen(form, ProgrammeId([1; 32]), OF), Ok(last));
        }
    }
}
