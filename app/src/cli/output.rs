//! Results as text for people or JSON for programs. Both are made of the same value, so neither says more.

use std::fmt::Write as _;
use std::io::Write as _;

use clap::ValueEnum;
use color_eyre::eyre::Result;
use serde_json::Value;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Indented `name: value` lines.
    Text,
    /// One JSON value.
    Json,
}

impl Format {
    /// Prints a result to stdout.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn print(self, result: &impl serde::Serialize) -> Result<()> {
        let text = match self {
            Self::Json => serde_json::to_string(result)? + "\n",
            Self::Text => text(&serde_json::to_value(result)?),
        };
        match std::io::stdout().write_all(text.as_bytes()) {
            // Whoever read the output has enough of it.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => Ok(other?),
        }
    }
}

/// The value as YAML-like lines.
fn text(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(_) | Value::Array(_) => nested(&mut out, value, 0, false),
        scalar => {
            let _ = writeln!(out, "{}", inline(scalar));
        }
    }
    out
}

/// Writes the parts of an object or list; `after_dash` says that the first line already is indented by a `- `.
fn nested(out: &mut String, value: &Value, depth: usize, mut after_dash: bool) {
    let mut start = |out: &mut String| {
        if !std::mem::take(&mut after_dash) {
            out.push_str(&"  ".repeat(depth));
        }
    };
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                start(out);
                if is_inline(value) {
                    let _ = writeln!(out, "{name}: {}", inline(value));
                } else {
                    let _ = writeln!(out, "{name}:");
                    nested(out, value, depth + 1, false);
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                start(out);
                if is_inline(item) {
                    let _ = writeln!(out, "- {}", inline(item));
                } else {
                    out.push_str("- ");
                    nested(out, item, depth + 1, true);
                }
            }
        }
        _ => {}
    }
}

/// Whether a value fits on its name's line: scalars, what is empty, and short lists of numbers such as shapes.
fn is_inline(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.len() <= 8 && items.iter().all(Value::is_number),
        _ => true,
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "\"\"".into(),
        // Text may come from anyone on the chain: control characters must not reach the terminal.
        Value::String(text) if text.chars().any(char::is_control) => format!("{text:?}"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_become_indented_lines() {
        let value = json!({
            "name": "mnist", "shape": [1, 28, 28], "empty": {}, "jobs": [{"id": 1, "spec": {"rounds": 2}}, {"id": 2}],
            "tags": ["a", ""], "evil": "\u{1b}[2J",
        });
        let expected = "name: mnist\nshape: [1,28,28]\nempty: {}\njobs:\n  - id: 1\n    spec:\n      rounds: 2\n  - id: 2\n\
                        tags:\n  - a\n  - \"\"\nevil: \"\\u{1b}[2J\"\n";
        let mut lines: Vec<_> = expected.lines().collect();
        let found = text(&value);
        let mut found: Vec<_> = found.lines().collect();
        // Object order depends on a feature of serde_json that other crates may switch on.
        lines.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, lines);
        assert_eq!(text(&json!([1, 2])), "- 1\n- 2\n");
        assert_eq!(text(&json!("x")), "x\n");
    }
}
