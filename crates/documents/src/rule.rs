//! The rules of the pre-flight, each with a stable code and a sentence.

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $sentence:literal;)*) => {
        /// A rule that a change broke. Which rule is a pure function of its bytes and its
        /// ancestors, so every replica names the same one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
        pub enum Rule {
            $($(#[$doc])* #[error($sentence)] $name,)*
        }

        impl Rule {
            /// Every rule.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The code by which scripts and stored rows know the rule; it never changes.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The rule with that code.
            #[must_use]
            pub fn from_code(code: &str) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

rules! {
    /// More than [`cairn_wire::limits::CHANGE_BYTES_MAX`].
    TooLong = "too_long", "the change is over the limit of bytes";
    /// Fewer bytes than a field or the declared length needs.
    Truncated = "truncated", "the change ends early";
    /// Bytes after the chunk.
    TrailingBytes = "trailing_bytes", "bytes follow the change";
    /// Not a change chunk.
    NotAChange = "not_a_change", "the bytes are not an uncompressed change";
    /// A compressed chunk or column, which could inflate without bound.
    Compressed = "compressed", "the change is compressed";
    /// The checksum is not that of the bytes.
    Checksum = "checksum", "the checksum does not fit the bytes";
    /// A number that is not written in its shortest form, or too large.
    Number = "number", "a number is not in its shortest form or too large";
    /// More than [`cairn_wire::limits::CHANGE_DEPENDENCIES_MAX`].
    TooManyDependencies = "too_many_dependencies", "the change names too many dependencies";
    /// Dependencies out of order or twice.
    DependencyOrder = "dependency_order", "dependencies are out of order or named twice";
    /// A root names dependencies.
    RootWithDependencies = "root_with_dependencies", "a document's first change names dependencies";
    /// Another change names none.
    EditWithoutDependencies = "edit_without_dependencies", "a change that is not a document's first names no dependency";
    /// A dependency that the document does not hold. (While it is only missing, a change waits.)
    UnknownDependency = "unknown_dependency", "a dependency is not part of the document";
    /// The document has its first change already.
    SecondRoot = "second_root", "the document has another first change";
    /// A kind that is empty, too long or not snake_case.
    Kind = "kind", "the kind of the document is not a short snake_case word";
    /// The document's id is not the one derived from its root.
    DocumentId = "document_id", "the document's id does not follow from its first change";
    /// The actor is not the one derived from author, document, nonce and bytes.
    Actor = "actor", "the actor does not follow from the change's author, document and bytes";
    /// An actor that is not 16 bytes long.
    ActorLength = "actor_length", "an actor is not 16 bytes long";
    /// Other actors out of order, unused, or the author's own.
    ActorTable = "actor_table", "the table of other actors is not canonical";
    /// A sequence number other than 1.
    SequenceNumber = "sequence_number", "the sequence number is not 1";
    /// The first operation does not follow the dependencies' last.
    FirstOperation = "first_operation", "the first operation's number does not follow from the dependencies";
    /// The recorded time is out of all reason.
    Time = "time", "the recorded time is out of range";
    /// The change carries a message.
    Message = "message", "the change carries a message";
    /// More than [`cairn_wire::limits::CHANGE_OPERATIONS_MAX`] operations or predecessors, or run
    /// lengths that claim so.
    TooManyOperations = "too_many_operations", "the change claims too many operations";
    /// No operations, and not a merge of heads.
    Empty = "empty", "the change does nothing";
    /// A column that this version does not know.
    UnknownColumn = "unknown_column", "a column is unknown or out of order";
    /// A column that cannot be decoded.
    Column = "column", "a column cannot be decoded";
    /// Not the encoding that a writer gives the same operations.
    NotCanonical = "not_canonical", "the bytes are not the canonical encoding of their operations";
    /// Bytes behind the columns.
    ExtraBytes = "extra_bytes", "the change carries extra bytes";
    /// An action that this version does not use.
    Action = "action", "an operation is of a kind that is not used";
    /// A value of unknown type, or that does not fit its operation.
    Value = "value", "a value does not fit its operation";
    /// A key that is empty or over the limit.
    Key = "key", "a key is empty or too long";
    /// An operation names an operation that is no ancestor.
    NotAnAncestor = "not_an_ancestor", "an operation refers to something that is not among its ancestors";
    /// The object is not one, or not of the type it is used as.
    ObjectType = "object_type", "an operation uses an object as what it is not";
    /// The element named is not an element of that object.
    Element = "element", "an operation names an element that the list or text does not have";
    /// A predecessor on another object or key, out of order, or one that sets no value.
    Predecessor = "predecessor", "a predecessor does not stand where the operation stands";
    /// A deletion or an increment without predecessors, an insertion with some.
    PredecessorCount = "predecessor_count", "an operation has predecessors where it must not, or lacks them";
    /// Objects nested too deeply.
    Depth = "depth", "objects are nested too deeply";
    /// A root key that begins with `+` holds something other than a map that only grows.
    GrowingKey = "growing_key", "a root key that begins with + must be made as a map and never replaced";
    /// Inside such a map: something else than bytes put under a new decimal key.
    GrowingMap = "growing_map", "a map under a key that begins with + only takes new entries of bytes under decimal keys";
    /// Automerge could not apply, read, save or load it, on its ancestors alone.
    Engine = "engine", "the merge engine fails on the change";
}

#[cfg(test)]
mod tests {
    use super::Rule;
    use std::collections::HashSet;

    #[test]
    fn codes_are_unique_and_read_back() {
        let codes: HashSet<_> = Rule::ALL.iter().map(|rule| rule.code()).collect();
        assert_eq!(codes.len(), Rule::ALL.len());
        for rule in Rule::ALL {
            assert_eq!(Rule::from_code(rule.code()), Some(*rule));
        }
    }
}
