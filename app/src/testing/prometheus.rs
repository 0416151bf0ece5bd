//! Reads the text form as strictly as Prometheus does, and a little more so.

use std::collections::{BTreeMap, BTreeSet};

/// Samples by name and labels.
pub type Samples = BTreeMap<String, f64>;

fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// Name, labels as written, and what follows.
fn series(line: &str) -> (&str, Vec<(String, String)>, &str) {
    let end = line.find(['{', ' ']).expect(line);
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (key, value) = rest.split_once("=\"").expect(line);
            assert!(is_name(key), "{line}");
            let mut text = String::new();
            let mut letters = value.char_indices();
            let close = loop {
                match letters.next().expect(line) {
                    (at, '"') => break at,
                    (_, '\\') => text.push(match letters.next().expect(line).1 {
                        'n' => '\n',
                        letter @ ('\\' | '"') => letter,
                        other => panic!("\\{other} in {line}"),
                    }),
                    (_, letter) => text.push(letter),
                }
            };
            labels.push((key.to_owned(), text));
            rest = &value[close + 1..];
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            rest = rest.strip_prefix(',').expect(line);
        }
    }
    (name, labels, rest.strip_prefix(' ').expect(line))
}

/// Gives the samples of a text.
///
/// # Panics
/// The text is not in the form; it says where.
#[must_use]
pub fn read(text: &str) -> Samples {
    assert!(text.ends_with('\n'), "the last line is not ended");
    let (mut samples, mut kinds) = (Samples::new(), BTreeMap::new());
    let (mut current, mut helped): (Option<(String, String)>, BTreeSet<String>) = (None, BTreeSet::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect(line);
            assert!(
                is_name(name) && !help.is_empty() && helped.insert(name.into()),
                "{line}"
            );
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(
                helped.contains(name) && kinds.insert(name.to_owned(), kind).is_none(),
                "{line}"
            );
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            current = Some((name.into(), kind.into()));
            continue;
        }
        let (name, labels, value) = series(line);
        let (family, kind) = current.as_ref().expect("a type before the samples");
        let ends: &[&str] = if kind == "histogram" {
            &["_bucket", "_sum", "_count"]
        } else {
            &[""]
        };
        assert!(
            ends.iter().any(|end| name == format!("{family}{end}")),
            "{line} is not of {family}"
        );
        let keys: BTreeSet<_> = labels.iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), labels.len(), "a label twice: {line}");
        let value: f64 = value.parse().expect(line);
        assert!(value.is_finite() && (kind == "gauge" || value >= 0.0), "{line}");
        let key = line.rsplit_once(' ').unwrap().0.to_owned();
        assert!(samples.insert(key, value).is_none(), "twice: {line}");
    }
    for (name, _) in kinds.iter().filter(|(_, kind)| **kind == "histogram") {
        histogram_adds_up(&samples, name);
    }
    samples
}

/// Buckets hold those below them, and the last one all.
fn histogram_adds_up(samples: &Samples, name: &str) {
    let mut found: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (key, value) in samples
        .iter()
        .filter(|(key, _)| key.starts_with(&format!("{name}_bucket{{")))
    {
        let (labels, bound) = key.split_once("le=\"").expect(key);
        let bound = bound.trim_end_matches(['"', '}']);
        let bound = if bound == "+Inf" {
            f64::INFINITY
        } else {
            bound.parse().expect(key)
        };
        found.entry(labels.to_owned()).or_default().push((bound, *value));
    }
    for (labels, mut buckets) in found {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{name}: {buckets:?}");
        let (bound, all) = buckets.last().copied().unwrap();
        let labels = labels
            .replace("_bucket", "_count")
            .trim_end_matches([',', '{'])
            .to_owned();
        let count = samples
            .iter()
            .find(|(key, _)| key.trim_end_matches('}') == labels)
            .expect(&labels)
            .1;
        assert!(
            bound.is_infinite() && (all - count).abs() < 0.5,
            "{name}: {buckets:?}, {count}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_form_is_noticed() {
        let head = "# HELP a_total x\n# TYPE a_total counter\n";
        assert_eq!(read(&format!("{head}a_total{{b=\"c\\\"\"}} 5\n")).len(), 1);
        for wrong in [
            "a_total 5",
            "a_total -1\n",
            "b 5\n",
            "a_total NaN\n",
            "a_total{b=\"c} 5\n",
            "a_total{b=\"c\",b=\"d\"} 5\n",
            "a_total 5\na_total 6\n",
            "a-b 5\n",
            "# TYPE c gauge\nc 5\n",
            "# HELP h x\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n",
        ] {
            let text = format!("{head}{wrong}");
            assert!(std::panic::catch_unwind(|| read(&text)).is_err(), "{wrong}");
        }
    }
}
