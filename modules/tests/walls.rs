//! The walls that keep the house's picture true: which crate may import which, where the heavy dependencies may live,
//! what the state machine's source must never contain, and under which licences and from where code may come in.
//!
//! A failing test names the crate, or the file and line, and the wall it broke. Moving a wall means changing a table here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Imports run one way only. Tests may import more: `dev-dependencies` are not looked at here.
///
/// `client` and `app` import `exact` too: a client checks an ONNX graph and a model's state root before any money moves,
/// and the node's command line generates and inspects models.
const IMPORTS: [(&str, &[&str]); 8] = [
    ("proto", &[]),
    ("exact", &[]),
    ("modules", &["proto", "exact"]),
    ("client", &["proto", "exact"]),
    ("overlay", &["proto"]),
    ("app", &["proto", "exact", "modules", "client", "overlay"]),
    ("trainerd", &["proto", "exact", "modules", "client", "overlay"]),
    // Runs the binaries as processes; it talks to them as any client does.
    ("localnet", &["proto", "client"]),
];

/// A dependency and the one crate that may name it.
const HOMES: [(&str, &str); 5] = [
    ("rocksdb", "app"),
    ("libp2p", "overlay"),
    ("libp2p-stream", "overlay"),
    ("tch", "trainerd"),
    ("torch-sys", "trainerd"),
];

/// Crates that cannot await, and what must not stand anywhere below them.
const PURE: [&str; 3] = ["proto", "exact", "modules"];
const RUNTIMES: [&str; 3] = ["tokio", "async-std", "smol"];

/// What `modules/src` must not say: state must be the same on every machine, in every run.
const FORBIDDEN: [(&str, &str); 13] = [
    ("f32", "no floats"),
    ("f64", "no floats"),
    ("HashMap", "no map whose order differs between runs: use BTreeMap"),
    ("HashSet", "no set whose order differs between runs: use BTreeSet"),
    ("std::time", "no clock: the block carries the time"),
    ("Instant", "no clock: the block carries the time"),
    ("SystemTime", "no clock: the block carries the time"),
    ("std::thread", "no threads"),
    ("std::fs", "no I/O"),
    ("std::net", "no I/O"),
    ("std::env", "no I/O"),
    ("rand", "no randomness: the beacon is the only source"),
    ("async", "synchronous: a state machine that cannot await cannot race"),
];

#[test]
fn imports_run_one_way() {
    let metadata = metadata();
    let allowed = BTreeMap::from(IMPORTS);
    let mut broken = Vec::new();
    for package in members(&metadata) {
        let name = house_name(package);
        let Some(allowed) = allowed.get(name) else {
            broken.push(format!("{name} is a new crate: say in IMPORTS what it may import"));
            continue;
        };
        for dependency in list(package, "dependencies") {
            let imported = text(dependency, "name");
            let Some(imported) = imported.strip_prefix("trainyard-") else {
                continue;
            };
            if dependency["kind"] != "dev" && !allowed.contains(&imported) {
                broken.push(format!("{name} imports {imported}; it may import only {allowed:?}"));
            }
        }
    }
    assert!(broken.is_empty(), "imports run one way only:\n{}", broken.join("\n"));
}

#[test]
fn heavy_dependencies_stay_at_home() {
    let metadata = metadata();
    let homes = BTreeMap::from(HOMES);
    let mut broken = Vec::new();
    for package in members(&metadata) {
        let name = house_name(package);
        for dependency in list(package, "dependencies") {
            let imported = text(dependency, "name");
            if let Some(home) = homes.get(imported)
                && *home != name
            {
                broken.push(format!("{name} depends on {imported}, which lives only in {home}"));
            }
        }
    }
    assert!(broken.is_empty(), "a dependency left its home:\n{}", broken.join("\n"));
}

#[test]
fn the_pure_crates_have_no_runtime_below_them() {
    let metadata = metadata();
    let names: BTreeMap<&str, &str> = list(&metadata, "packages")
        .iter()
        .map(|package| (text(package, "id"), text(package, "name")))
        .collect();
    let below: BTreeMap<&str, &Vec<Value>> = list(&metadata["resolve"], "nodes")
        .iter()
        .map(|node| (text(node, "id"), list(node, "deps")))
        .collect();
    for package in members(&metadata).filter(|package| PURE.contains(&house_name(package))) {
        let mut seen = BTreeSet::new();
        // Each entry is a package and how it was reached.
        let mut ahead = vec![(text(package, "id"), house_name(package).to_owned())];
        while let Some((id, path)) = ahead.pop() {
            assert!(
                !RUNTIMES.contains(&names[id]),
                "no async runtime below proto, exact or modules: {path}"
            );
            for dependency in below[id] {
                let built_in = list(dependency, "dep_kinds").iter().any(|kind| kind["kind"].is_null());
                let id = text(dependency, "pkg");
                if built_in && seen.insert(id) {
                    ahead.push((id, format!("{path} → {}", names[id])));
                }
            }
        }
    }
}

#[test]
fn the_state_machine_is_pure() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut broken = Vec::new();
    for file in rust_files(&source) {
        let code = fs::read_to_string(&file).unwrap();
        for (line, wall) in violations(&code) {
            broken.push(format!("{}:{line}: {wall}", file.display()));
        }
    }
    assert!(
        broken.is_empty(),
        "modules must be pure and synchronous:\n{}",
        broken.join("\n")
    );
}

#[test]
fn the_scan_sees_code_and_only_code() {
    let found = |code: &str| violations(code).iter().map(|(line, _)| *line).collect::<Vec<_>>();
    assert_eq!(found("let x = 1;\nlet y: f64 = x;"), [2]);
    assert_eq!(found("use std::collections::HashMap;"), [1]);
    assert_eq!(found("let half = 0.5;"), [1]);
    assert_eq!(found("let c = '\"'; let s: HashSet<u8>;"), [1]);
    assert_eq!(found("fn f<'a>(x: &'a str) -> f32 {}"), [1]);
    assert_eq!(found("// f64\n/* f32 /* HashMap */ 0.5 */ /// rand"), [0usize; 0]);
    assert_eq!(
        found(r###"let s = "f64 \" 0.5"; let r = r#"rand " f32"#;"###),
        [0usize; 0]
    );
    assert_eq!(
        found("let strand = pair.0.1; for i in 0..10 {} operand(1_000u64)"),
        [0usize; 0]
    );
}

#[test]
fn licences_and_sources_are_known() {
    let metadata = metadata();
    let deny = fs::read_to_string(root().join("deny.toml")).unwrap();
    let allowed = allowed_licences(&deny);
    let mut broken = Vec::new();
    let mut registries = BTreeSet::new();
    for package in list(&metadata, "packages") {
        let label = format!("{} {}", text(package, "name"), text(package, "version"));
        match package["source"].as_str() {
            None if Path::new(text(package, "manifest_path")).starts_with(root()) => {}
            Some(source) if source.starts_with("registry+") => drop(registries.insert(source)),
            source => broken.push(format!(
                "{label} comes from {source:?}, not from the registry or this workspace"
            )),
        }
        match package["license"].as_str() {
            Some(expression) if acceptable(expression, &allowed) => {}
            Some(expression) => broken.push(format!(
                "{label} is under {expression:?}, which deny.toml does not allow"
            )),
            None => broken.push(format!("{label} does not say its licence")),
        }
    }
    assert!(
        registries.len() <= 1,
        "packages come from more than one registry: {registries:?}"
    );
    assert!(
        broken.is_empty(),
        "a dependency came in by the wrong door:\n{}",
        broken.join("\n")
    );
}

#[test]
fn a_licence_expression_is_read_as_spdx_means_it() {
    let allowed = BTreeSet::from(["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"]);
    for good in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/GPL-3.0",
        "(GPL-3.0 OR MIT) AND Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(acceptable(good, &allowed), "{good}");
    }
    for bad in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT AND GPL-3.0) OR BSL-1.0",
        "MIT WITH GCC-exception",
    ] {
        assert!(!acceptable(bad, &allowed), "{bad}");
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// What cargo knows about the workspace and everything below it, without the network.
fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--offline", "--format-version=1", "--manifest-path"])
        .arg(root().join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a Vec<Value> {
    value[key]
        .as_array()
        .unwrap_or_else(|| panic!("cargo metadata has no list {key:?}"))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("cargo metadata has no text {key:?}"))
}

/// The packages of this workspace.
fn members(metadata: &Value) -> impl Iterator<Item = &Value> {
    list(metadata, "packages")
        .iter()
        .filter(|package| package["source"].is_null())
}

/// `trainyard-proto` → `proto`.
fn house_name(package: &Value) -> &str {
    let name = text(package, "name");
    name.strip_prefix("trainyard-").unwrap_or(name)
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.append(&mut rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Line numbers and the wall broken there.
fn violations(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in blank_comments_and_literals(code).lines().enumerate() {
        for (word, why) in FORBIDDEN {
            if has_word(line, word) {
                found.push((index + 1, format!("`{word}`: {why}")));
            }
        }
        if has_float_literal(line) {
            found.push((index + 1, "a float literal: no floats".to_owned()));
        }
    }
    found
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn has_word(line: &str, word: &str) -> bool {
    let bytes = line.as_bytes();
    line.match_indices(word).any(|(start, _)| {
        let end = start + word.len();
        (start == 0 || !is_word(bytes[start - 1])) && (end == bytes.len() || !is_word(bytes[end]))
    })
}

/// `0.5`, but neither `pair.0.1` nor `0..10`.
fn has_float_literal(line: &str) -> bool {
    let bytes = line.as_bytes();
    (1..bytes.len().saturating_sub(1))
        .filter(|&dot| bytes[dot] == b'.')
        .any(|dot| {
            let start = bytes[..dot]
                .iter()
                .rposition(|&byte| !is_word(byte))
                .map_or(0, |before| before + 1);
            let number = &bytes[start..dot];
            number.first().is_some_and(u8::is_ascii_digit)
                && bytes[dot + 1].is_ascii_digit()
                && (start == 0 || bytes[start - 1] != b'.')
        })
}

/// The code with comments, strings and characters replaced by spaces, line for line.
fn blank_comments_and_literals(code: &str) -> String {
    let bytes = code.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = at + literal_or_comment(&bytes[at..], at > 0 && is_word(bytes[at - 1]));
        if end == at {
            out.push(bytes[at]);
            at += 1;
        } else {
            out.extend(
                bytes[at..end]
                    .iter()
                    .map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }),
            );
            at = end;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The length of the comment, string or character that starts here; 0 if none does.
fn literal_or_comment(code: &[u8], inside_word: bool) -> usize {
    let find = |from: usize, end: &[u8]| {
        code[from..]
            .windows(end.len())
            .position(|window| window == end)
            .map_or(code.len(), |found| from + found + end.len())
    };
    match code {
        [b'/', b'/', ..] => code.iter().position(|&byte| byte == b'\n').unwrap_or(code.len()),
        [b'/', b'*', ..] => {
            let (mut depth, mut at) = (1, 2);
            while depth > 0 && at < code.len() {
                match &code[at..] {
                    [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
                    [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
                    _ => at += 1,
                }
            }
            at
        }
        [b'r', b'"' | b'#', ..] if !inside_word => {
            let hashes = code[1..].iter().take_while(|&&byte| byte == b'#').count();
            if code.get(1 + hashes) != Some(&b'"') {
                return 0; // a raw identifier
            }
            find(hashes + 2, &[b"\"", "#".repeat(hashes).as_bytes()].concat())
        }
        [b'"', ..] => escaped_end(code, b'"'),
        // A character, not a lifetime: a lifetime is not closed after one character.
        [b'\'', b'\\', ..] => escaped_end(code, b'\''),
        [b'\'', rest @ ..] => {
            let one = std::str::from_utf8(&rest[..rest.len().min(4)])
                .or_else(|error| std::str::from_utf8(&rest[..error.valid_up_to()]))
                .ok()
                .and_then(|text| text.chars().next())
                .map_or(0, char::len_utf8);
            if one > 0 && rest.get(one) == Some(&b'\'') {
                one + 2
            } else {
                0
            }
        }
        _ => 0,
    }
}

/// The length up to the closing quote, escapes skipped.
fn escaped_end(code: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < code.len() {
        match code[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    code.len()
}

/// The `allow` list of deny.toml's `[licenses]`.
fn allowed_licences(deny: &str) -> BTreeSet<&str> {
    let section = deny
        .split("\n[licenses]")
        .nth(1)
        .expect("deny.toml has a [licenses] section");
    let list = section
        .split("allow = [")
        .nth(1)
        .and_then(|rest| rest.split("\n]").next())
        .expect("with an allow list");
    list.split('"').skip(1).step_by(2).collect()
}

/// Whether an SPDX expression lets us take the code under allowed licences alone. `/` is the old spelling of OR.
fn acceptable(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = tokens.as_slice();
    either(&mut rest, allowed) && rest.is_empty()
}

fn either(rest: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    let mut good = both(rest, allowed);
    while let ["OR", tail @ ..] = *rest {
        *rest = tail;
        good |= both(rest, allowed);
    }
    good
}

fn both(rest: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    let mut good = one(rest, allowed);
    while let ["AND", tail @ ..] = *rest {
        *rest = tail;
        good &= one(rest, allowed);
    }
    good
}

fn one(rest: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    match *rest {
        ["(", tail @ ..] => {
            *rest = tail;
            let good = either(rest, allowed);
            *rest = rest.get(1..).unwrap_or_default();
            good
        }
        [name, "WITH", exception, tail @ ..] => {
            *rest = tail;
            allowed.contains(format!("{name} WITH {exception}").as_str())
        }
        [name, tail @ ..] => {
            *rest = tail;
            allowed.contains(name)
        }
        [] => false,
    }
}
