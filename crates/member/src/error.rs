//! What can go wrong for a member, by whose fault it is.

use crate::at_rest::TableSealError;
use cairn_documents::{Rule, ShelfError};
use cairn_replica::HoldingsError;
use cairn_store::StoreError;

/// Why a member did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// The caller asked for what is not there, or in a way that cannot be done. Nothing was saved.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store could not be read.
    #[error(transparent)]
    Holdings(#[from] HoldingsError),
    /// The derived tables do not read: another table key, or a damaged index. A repair fills them
    /// again.
    #[error("the lists on this device do not read ({0}); run: cairn check --repair")]
    Tables(String),
    /// A fault of ours.
    #[error("{0}")]
    Internal(String),
}

/// What is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No record goes by that name.
    #[error("no record {0:?} is held here")]
    NotFound(String),
    /// Several records go by that name.
    #[error("several records go by {asked:?}: {}", list(&spoken(.candidates)))]
    Ambiguous {
        /// What was asked for.
        asked: String,
        /// Ids that it may mean, at most a handful.
        candidates: Vec<String>,
    },
    /// The device may not write there.
    #[error("this device may not write in {scope}")]
    NotPermitted {
        /// The area of work.
        scope: String,
    },
    /// The device may not decide there.
    #[error(
        "this device may not decide in {scope}: a suggestion waits until a member who may takes it or turns it down"
    )]
    MayNotDecide {
        /// The area of work.
        scope: String,
    },
    /// An area of work that is not known here.
    #[error("no area of work {asked:?} is known here; there is {}", list(.known))]
    UnknownScope {
        /// What was asked for.
        asked: String,
        /// What there is.
        known: Vec<String>,
    },
    /// No area of work was named, and there is not exactly one to take.
    #[error("which area of work? There is {}", list(.0))]
    WhichScope(Vec<String>),
    /// What was to be written does not fit the record's form.
    #[error("{0}")]
    Form(String),
    /// The edit says what the record says already.
    #[error("nothing changed: the record says that already")]
    NothingChanged,
    /// A version that was named as seen is not held here.
    #[error("the version {0} that was seen is not held here")]
    UnknownVersion(String),
    /// Nothing of the record was written at that time.
    #[error("nothing of this record had been written by then")]
    NotYet,
    /// The change would be refused by everybody. What was typed is kept as a draft.
    #[error("the change cannot be saved ({rule}); what was typed is kept as draft {draft}")]
    Rule {
        /// The rule that it breaks.
        rule: Rule,
        /// Number of the draft.
        draft: u64,
    },
}

/// Short codes, which people can say, in place of ids.
fn spoken(ids: &[String]) -> Vec<String> {
    let code = |id: &String| match id.parse() {
        Ok(id) => crate::short_code(&id),
        Err(_) => id.clone(),
    };
    ids.iter().map(code).collect()
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [start @ .., last] => format!("{} or {last}", start.join(", ")),
    }
}

impl From<TableSealError> for MemberError {
    fn from(error: TableSealError) -> Self {
        Self::Tables(error.to_string())
    }
}

impl From<cairn_wire::codec::DecodeError> for MemberError {
    fn from(error: cairn_wire::codec::DecodeError) -> Self {
        Self::Tables(error.to_string())
    }
}

impl MemberError {
    pub(crate) fn from_shelf(error: ShelfError<Self>) -> Self {
        match error {
            ShelfError::Storage(error) => error,
            ShelfError::Damaged(_) => Self::Tables(error.to_string()),
        }
    }
}
