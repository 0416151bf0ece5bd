//! The page of errors: codespaces, codes and texts, read from the source of the state machine.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::pages::expect;

const RENEW: &str = "UPDATE_REFERENCE=1 cargo test -p trainyard-app --lib reference";

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// Texts of an enum's errors by variant: `#[error("…")] Variant`.
fn texts(code: &str, kind: &str) -> BTreeMap<String, String> {
    let body = code.split_once(&format!("pub enum {kind} {{")).expect(kind).1;
    let body = body.split_once("\n}").expect("an end").0;
    let mut texts = BTreeMap::new();
    for part in body.split("#[error(").skip(1) {
        let (text, rest) = part.split_once(")]").expect("a closed attribute");
        let name: String = rest
            .trim_start()
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        let text = text
            .trim()
            .trim_end_matches(',')
            .trim_matches('"')
            .replace("\\\"", "\"");
        texts.insert(name, text);
    }
    texts
}

/// Codespace, code and text of every error in a file.
fn errors(code: &str) -> Vec<(String, u32, String)> {
    let mut found = Vec::new();
    for block in code.split("\ncoded!(").skip(1) {
        let (head, body) = block.split_once("match error {").expect("a match");
        let mut head = head.split(',').map(str::trim);
        let kind = head.next().unwrap_or_default();
        let codespace = head.next().unwrap_or_default().trim_matches('"');
        let texts = texts(code, kind);
        let body = body.split_once("\n}").expect("an end").0;
        let mut given = 0;
        for arm in body.split(",\n") {
            let Some((variants, code)) = arm.split_once("=>") else {
                continue;
            };
            let code = code.trim().trim_end_matches(',').parse().expect("a code");
            for variant in variants.split('|') {
                let name = variant
                    .trim()
                    .strip_prefix(kind)
                    .and_then(|rest| rest.strip_prefix("::"));
                let name = name
                    .expect("a variant")
                    .split(['(', ' ', '{'])
                    .next()
                    .unwrap_or_default();
                let text = texts.get(name).unwrap_or_else(|| panic!("{kind}::{name} has no text"));
                found.push((codespace.to_owned(), code, text.clone()));
                given += 1;
            }
        }
        assert_eq!(given, texts.len(), "{kind}: codes and texts");
    }
    found
}

#[test]
fn the_reference_of_errors_is_what_the_state_machine_says() {
    let mut files = Vec::new();
    sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../modules/src"),
        &mut files,
    );
    files.sort();
    let mut all: Vec<_> = files
        .iter()
        .flat_map(|file| errors(&fs::read_to_string(file).unwrap()))
        .collect();
    all.sort();
    assert!(all.len() > 80, "only {} errors were found", all.len());
    let mut page = format!("<!-- Made from modules/src by `{RENEW}`. -->\n\n# Errors\n\n");
    page.push_str(
        "A transaction or a query that is refused has a codespace and a code, which do not change, and a text with the values \
         found (in braces) and the bounds they broke. Codespace `sdk` has the Cosmos SDK's numbers and phrases, and so have \
         the modules that the SDK has too. What is not found is gRPC's `NotFound`, and 404 over REST.\n",
    );
    let mut codespace = "";
    for (space, code, text) in &all {
        if space != codespace {
            codespace = space;
            let _ = writeln!(page, "\n## {space}\n\n| code | text |\n|---|---|");
        }
        let text = match text.as_str() {
            "transparent" => "what the task's hyper-parameter is, and what it should be",
            text => text,
        };
        let text = text
            .replace("{0:?}", "{…}")
            .replace("{0}", "{…}")
            .replace(":?}", "}")
            .replace('|', "\\|");
        let _ = writeln!(page, "| {code} | {} |", text.replace("{1}", "{…}").replace('<', "&lt;"));
    }
    expect("reference/errors.md", &page, RENEW);
}
