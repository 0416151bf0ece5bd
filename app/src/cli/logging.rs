//! What is logged, and how: lines for people, or JSON for programs.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// A line of text for each event.
    #[default]
    Text,
    /// A JSON object a line: timestamp, level, target, fields.
    Json,
}

/// What of a node is logged: a level, and perhaps others for its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogFilter(String);

/// The part whose lines come from CometBFT.
const COMET: &str = "cometbft";

impl std::str::FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        for part in text.split(',') {
            let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
            if level.is_empty() || level.parse::<LevelFilter>().is_err() || level.parse::<u8>().is_ok() {
                return Err(format!(
                    "{part:?} has no level: expected off, error, warn, info, debug or trace, as in info or info,cometbft=debug"
                ));
            }
        }
        match EnvFilter::try_new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl LogFilter {
    /// Everything from a level on.
    pub(super) fn level(level: LevelFilter) -> Self {
        Self(level.to_string())
    }

    /// The level that CometBFT is to log at itself; none leaves that to its `config.toml`.
    pub(super) fn comet_level(&self) -> Option<&'static str> {
        let mut parts = self.0.split(',');
        let own = parts
            .clone()
            .find_map(|part| part.strip_prefix(COMET)?.strip_prefix('='));
        let level = own.and_then(|level| level.parse().ok());
        if let Some(level) = level {
            return Some(match level {
                LevelFilter::OFF => "none",
                LevelFilter::ERROR | LevelFilter::WARN => "error",
                LevelFilter::INFO => "info",
                _ => "debug",
            });
        }
        let all = parts.find_map(|part| part.parse::<LevelFilter>().ok().filter(|_| !part.contains('=')));
        // Its info is what ours says in debug.
        all.is_some_and(|level| level >= LevelFilter::DEBUG).then_some("info")
    }
}

/// Logs go to stderr; `RUST_LOG`, where it is set, chooses otherwise than `filter`.
pub(super) fn init(filter: &LogFilter, format: LogFormat) {
    let chosen = EnvFilter::try_from_default_env();
    let chosen = chosen.unwrap_or_else(|_| EnvFilter::new(&filter.0));
    let log = tracing_subscriber::fmt()
        .with_env_filter(chosen)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_checked_and_cometbft_hears_of_its_own() {
        let filter = |text: &str| text.parse::<LogFilter>();
        for (text, comet) in [
            ("info", None),
            ("warn,node=debug", None),
            ("debug", Some("info")),
            ("trace,cometbft=error", Some("error")),
            ("info,cometbft=debug", Some("debug")),
            ("info,cometbft=off", Some("none")),
        ] {
            assert_eq!(filter(text).unwrap().comet_level(), comet, "{text}");
        }
        for wrong in ["", "loud", "info,cometbft=loud", "info,cometbft", "5"] {
            let error = filter(wrong).unwrap_err();
            assert!(error.contains("expected off, error"), "{wrong}: {error}");
        }
    }
}
