//! What a YAML error means to the person who wrote the file, and what to do.
//!
//! It does not know where the error is.

use super::Position;
use granit_parser::ErrorKind;

/// Reason and remedy. The frequent mistakes have sentences of their own; the others the parser's.
pub(super) fn explain(kind: &ErrorKind) -> (String, &'static str) {
    use ErrorKind as E;
    let (reason, remedy) = match kind {
        kind if is_tab(kind) => ("a tab, where YAML allows only spaces", "indent with spaces"),
        E::TabAtBlockScalarStart | E::InvalidBlockScalarIndent => (
            "a line of this block is not indented like its first one",
            "indent all lines of the block alike, with spaces",
        ),
        E::InvalidIndentation | E::ExpectedBlockMappingKey | E::MappingKeyNotAllowed => (
            "the indentation fits no mapping around it",
            "start all keys of one mapping in the same column, and what belongs to a key further right",
        ),
        E::ExpectedBlockSequenceEntry | E::BlockSequenceEntryNotAllowed | E::InvalidBlockEntryWhitespace => (
            "a list entry where none can stand",
            "start all `- ` of one list in the same column, on lines of their own",
        ),
        E::MappingValueNotAllowed | E::InvalidMappingValueWhitespace | E::InvalidColonPlacement => (
            "a second `:` where no key can stand",
            "put each `key: value` on a line of its own, or quote a value that contains `: `",
        ),
        E::SimpleKeyExpected | E::InvalidSimpleKey => {
            ("a key without its `:`", "write `key: value`, with a colon and a space after the key")
        }
        E::UnknownAnchor => {
            ("an alias (`*name`) of an anchor that is not defined before it", "define `&name` first, or quote the text")
        }
        E::UnclosedQuotedScalar | E::DocumentIndicatorInQuotedScalar => {
            ("a quoted text that does not end", "close the quote")
        }
        E::UnclosedFlowCollection { open } => return (format!("a `{open}` that is not closed"), "close the bracket"),
        E::MismatchedFlowCollectionEnd { open, close } => {
            return (format!("a `{open}` is closed by `{close}`"), "close it with the bracket of the same kind");
        }
        E::ExpectedFlowMappingSeparator | E::UnexpectedEofFlowMapping | E::UnexpectedEofImplicitFlowMapping => {
            ("a `{` without its `}`, or a `,` is missing", "close the bracket, and put commas between the entries")
        }
        E::ExpectedFlowSequenceSeparator | E::UnexpectedEofFlowSequence => {
            ("a `[` without its `]`, or a `,` is missing", "close the bracket, and put commas between the entries")
        }
        E::UnknownQuotedScalarEscape | E::InvalidQuotedScalarHexEscape | E::InvalidUnicodeEscape => (
            "an escape that double quotes do not know",
            "write the backslash twice, or use single quotes, in which it means itself",
        ),
        E::UnexpectedCharacter { character } => {
            return (format!("the character {character:?} cannot start a value"), "put the text in quotes");
        }
        E::RecursionLimitExceeded => ("more than 255 collections inside each other", "write it flatter"),
        E::UndeclaredTagHandle => ("a tag (`!name`) that means nothing here", "remove the tag, or quote the text"),
        E::ExpectedNodeContent => ("a value is missing here", "write the value, or remove the key or dash"),
        other => return (format!("not readable as YAML: {other}"), "correct it; nothing up to the next `---` is read"),
    };
    (reason.to_owned(), remedy)
}

pub(super) fn is_tab(kind: &ErrorKind) -> bool {
    use ErrorKind as E;
    matches!(kind, E::TabNotAllowed | E::TabInBlockIndentation | E::TabInIndentation | E::TabInPlainScalar)
}

/// The first tab in the indentation of this line or a later one.
pub(super) fn indenting_tab(text: &str, from_line: u32) -> Option<Position> {
    // YAML's line breaks.
    let text = text.replace("\r\n", "\n");
    for (line, content) in (1..).zip(text.split(['\n', '\r'])).skip(from_line.saturating_sub(1) as usize) {
        let indentation = content.bytes().take_while(|b| matches!(b, b' ' | b'\t'));
        if let Some((column, _)) = (1..).zip(indentation).find(|(_, b)| *b == b'\t') {
            return Some(Position { line, column });
        }
    }
    None
}
