//! What is wrong with a configuration: where, why, and what to do about it.
//!
//! Where it stands: the one error of `config`; the command line prints it as it is. What always
//! holds: a fault in the text has line and column, both from 1; a fault of the file as a whole has
//! neither.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A configuration that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub file: PathBuf,
    pub line: Option<usize>,
    pub column: Option<usize>,
    /// What was wrong.
    pub reason: String,
    /// What to do.
    pub advice: String,
}

impl ConfigError {
    pub(crate) fn of_file(file: &Path, reason: String, advice: String) -> Self {
        Self { file: file.to_owned(), line: None, column: None, reason, advice }
    }

    /// A fault at a byte range of the file's text.
    pub(crate) fn at(
        file: &Path,
        text: &str,
        span: Range<usize>,
        reason: String,
        advice: String,
    ) -> Self {
        let (line, column) = position(text, span.start);
        Self { file: file.to_owned(), line: Some(line), column: Some(column), reason, advice }
    }
}

/// Line and column, both from 1, columns in characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before.get(line_start..).map_or(0, |part| part.chars().count()) + 1;
    (line, column)
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(column) = self.column {
            write!(f, ":{column}")?;
        }
        write!(f, ": {}", self.reason)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, "\n  {}", self.advice) }
    }
}

impl std::error::Error for ConfigError {}
