//! Pages of the book that are made from the code.

use std::path::PathBuf;

/// Compares a page below `docs/src/` with what it should be; where `UPDATE_REFERENCE` is set, writes it.
///
/// # Panics
/// The page is another; it says how to renew it.
pub(crate) fn expect(page: &str, text: &str, renew: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/src").join(page);
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    if found == text {
        return;
    }
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let differs = text.lines().zip(found.lines()).position(|(should, is)| should != is);
    let line = differs.unwrap_or_else(|| text.lines().count().min(found.lines().count()));
    panic!(
        "docs/src/{page} is not what the code says, from line {} on:\n  is      {}\n  should  {}\nrenew it: {renew}",
        line + 1,
        found.lines().nth(line).unwrap_or("(its end)"),
        text.lines().nth(line).unwrap_or("(its end)"),
    );
}
