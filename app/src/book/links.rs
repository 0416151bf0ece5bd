//! Every link of every page leads somewhere, and every page is in the book's table of contents.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::anchor;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn markdown_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            markdown_below(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            files.push(path);
        }
    }
}

/// The lines of a page that are text, not code.
fn text_lines(page: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    page.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !fence && !code
    })
}

/// Ends of links to the headings of a page.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let headings = text_lines(page).filter(|line| line.starts_with('#'));
    let anchors = headings.map(|line| {
        let name = anchor(line.trim_start_matches('#'));
        let count = seen.entry(name.clone()).or_default();
        *count += 1;
        if *count == 1 {
            name
        } else {
            format!("{name}-{}", *count - 1)
        }
    });
    anchors.collect()
}

/// Targets of `[text](target)`, outside of code.
fn links(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text_lines(page) {
        // Every second piece between backticks is code.
        let line: String = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
        for rest in line.split("](").skip(1) {
            found.extend(rest.split(')').next().map(str::to_owned));
        }
    }
    found
}

#[test]
fn links_lead_somewhere() {
    let root = root();
    let mut files: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "localnet/README.md"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    markdown_below(&root.join("docs/src"), &mut files);
    let (mut broken, mut followed) = (Vec::new(), 0);
    for file in &files {
        let page = fs::read_to_string(file).unwrap();
        for link in links(&page) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            followed += 1;
            let (path, end) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() {
                file.clone()
            } else {
                file.parent().unwrap().join(path)
            };
            let good = target.exists()
                && (end.is_empty() || fs::read_to_string(&target).is_ok_and(|page| anchors(&page).contains(end)));
            if !good {
                broken.push(format!("{}: {link}", file.strip_prefix(&root).unwrap().display()));
            }
        }
    }
    assert!(followed > 100, "only {followed} links were found");
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let source = root().join("docs/src");
    let summary = fs::read_to_string(source.join("SUMMARY.md")).unwrap();
    let listed: BTreeSet<String> = links(&summary).into_iter().collect();
    let mut files = Vec::new();
    markdown_below(&source, &mut files);
    let missing: Vec<_> = files
        .iter()
        .map(|file| file.strip_prefix(&source).unwrap().display().to_string())
        .filter(|page| page != "SUMMARY.md" && !listed.contains(page))
        .collect();
    assert!(missing.is_empty(), "not in docs/src/SUMMARY.md: {missing:?}");
}

#[test]
fn links_and_headings_are_found() {
    let page = "# A b-c `d`\n## Twice\n```sh\n# no heading [x](y)\n```\n## Twice\n[one](a.md#x) `[no](b)` and [two](#twice-1)\n";
    assert_eq!(anchors(page), ["a-b-c-d", "twice", "twice-1"].map(String::from).into());
    assert_eq!(links(page), ["a.md#x", "#twice-1"]);
}
