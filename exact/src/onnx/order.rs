//! The order of the nodes, and which of them matter.

use std::collections::{BTreeMap, BTreeSet};

use super::attributes::Value;
use super::proto::NodeProto;
use super::{Error, Node, NodeName, Source};

/// Positions of the nodes such that operands come first, each with its first output's name; among those that are ready,
/// the order of the file.
pub(super) fn topological<'a>(
    nodes: &'a [NodeProto],
    known: &BTreeMap<String, Value>,
) -> Result<Vec<(usize, &'a str)>, Error> {
    let fail = |index: usize, why: String| {
        let name = nodes[index].name().to_owned();
        Error::Node {
            node: NodeName { index, name },
            why,
        }
    };
    let mut producer = BTreeMap::new();
    for (index, node) in nodes.iter().enumerate() {
        if node.output.first().is_none_or(String::is_empty) {
            return Err(fail(index, "it has no output".to_owned()));
        }
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            if known.contains_key(output) || producer.insert(output.as_str(), index).is_some() {
                return Err(fail(
                    index,
                    format!("its output {output:?} is already the name of another value"),
                ));
            }
        }
    }
    let mut users = vec![Vec::new(); nodes.len()];
    let mut missing = vec![0usize; nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        for input in node
            .input
            .iter()
            .filter(|name| !name.is_empty() && !known.contains_key(*name))
        {
            let Some(source) = producer.get(input.as_str()) else {
                return Err(fail(
                    index,
                    format!("its input {input:?} is neither an initializer nor computed anywhere"),
                ));
            };
            users[*source].push(index);
            missing[index] += 1;
        }
    }
    let mut ready: BTreeSet<usize> = (0..nodes.len()).filter(|index| missing[*index] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(index) = ready.pop_first() {
        order.push((index, nodes[index].output[0].as_str()));
        for user in &users[index] {
            missing[*user] -= 1;
            if missing[*user] == 0 {
                ready.insert(*user);
            }
        }
    }
    match (0..nodes.len()).find(|index| missing[*index] > 0) {
        Some(index) => Err(fail(index, "it is part of a cycle, or waits for one".to_owned())),
        None => Ok(order),
    }
}

/// Drops the nodes that the output does not depend on. Gives back the others, where the output is among them, and the
/// names of the weights they use.
pub(super) fn prune(mut nodes: Vec<Node>, output: &Source) -> (Vec<Node>, Source, BTreeSet<String>) {
    let mut live = vec![false; nodes.len()];
    let mut names = BTreeSet::new();
    let mut mark = |source: &Source, live: &mut [bool]| match source {
        Source::Node(index) => live[*index] = true,
        Source::Weight(name) => {
            names.insert(name.clone());
        }
        Source::Input | Source::Constant(_) => {}
    };
    mark(output, &mut live);
    // Backwards: users come after their operands.
    for index in (0..nodes.len()).rev() {
        if live[index] {
            nodes[index].inputs.iter().for_each(|source| mark(source, &mut live));
        }
    }
    let mut position = Vec::with_capacity(live.len());
    let mut kept = 0;
    for live in &live {
        position.push(kept);
        kept += usize::from(*live);
    }
    let moved = |source: &Source| match source {
        Source::Node(index) => Source::Node(position[*index]),
        other => other.clone(),
    };
    let mut flags = live.into_iter();
    nodes.retain(|_| flags.next() == Some(true));
    for source in nodes.iter_mut().flat_map(|node| &mut node.inputs) {
        *source = moved(source);
    }
    (nodes, moved(output), names)
}
