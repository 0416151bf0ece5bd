//! The order of the nodes, and which of them matter.

use std::collections::{BTreeMap, BTreeSet};

use super::proto::NodeProto;
use super::value::Value;
use super::{Binary, Error, Graph, Node, NodeName, Op, Source};

/// Positions of the nodes such that operands come first; among those that are ready, the order of the file.
pub(super) fn topological(nodes: &[NodeProto], known: &BTreeMap<String, Value>) -> Result<Vec<usize>, Error> {
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
        order.push(index);
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

/// Drops the nodes that the output does not depend on. Gives back the others, where the output is among them.
pub(super) fn prune(mut nodes: Vec<Node>, output: &Source) -> (Vec<Node>, Source) {
    let mut live = vec![false; nodes.len()];
    let mark = |source: &Source, live: &mut [bool]| {
        if let Source::Node(index) = source {
            live[*index] = true;
        }
    };
    mark(output, &mut live);
    // Backwards: users come after their operands.
    for index in (0..nodes.len()).rev() {
        if live[index] {
            nodes[index].inputs.iter().for_each(|source| mark(source, &mut live));
        }
    }
    let position = positions(&live);
    let moved = |source: &Source| match source {
        Source::Node(index) => Source::Node(position[*index]),
        other => other.clone(),
    };
    let mut flags = live.into_iter();
    nodes.retain(|_| flags.next() == Some(true));
    for source in nodes.iter_mut().flat_map(|node| &mut node.inputs) {
        *source = moved(source);
    }
    (nodes, moved(output))
}

/// Where each element is once those that are not kept are gone.
fn positions(keep: &[bool]) -> Vec<usize> {
    let before = |kept: &mut usize, keep: &bool| {
        let position = *kept;
        *kept += usize::from(*keep);
        Some(position)
    };
    keep.iter().scan(0, before).collect()
}

/// Which of a node's operands it has a gradient for.
fn differentiable(node: &Node) -> std::ops::Range<usize> {
    match node.op {
        Op::Binary(Binary::Equal | Binary::Less | Binary::LessOrEqual) => 0..0,
        Op::Where => 1..3,
        Op::Gather { .. } => 0..1,
        // The running statistics are the last two operands.
        Op::BatchNormalization { .. } => 0..3,
        _ => 0..node.inputs.len(),
    }
}

/// Drops the tensors that no node uses, and makes constants of the weights that the output has no gradient for, such as a mask
/// that is compared with 0.
pub(super) fn settle(graph: &mut Graph) -> Result<(), Error> {
    let mut reached = vec![false; graph.nodes.len()];
    let mut trained = BTreeSet::new();
    let mut reach = |source: &Source, reached: &mut [bool]| match source {
        Source::Node(index) => reached[*index] = true,
        Source::Weight(name) => {
            trained.insert(name.clone());
        }
        Source::Input | Source::Constant(_) => {}
    };
    reach(&graph.output, &mut reached);
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        if reached[index] {
            node.inputs[differentiable(node)]
                .iter()
                .for_each(|source| reach(source, &mut reached));
        }
    }
    if let Some(name) = graph.buffers.intersection(&trained).next() {
        return Err(Error::Tensor {
            name: name.clone(),
            why: "it is a running statistic of one node and a parameter of another".to_owned(),
        });
    }
    let mut used = vec![false; graph.constants.len()];
    let mut frozen = BTreeMap::new();
    let mut statistics = BTreeSet::new();
    for node in &mut graph.nodes {
        let normalises = matches!(node.op, Op::BatchNormalization { .. });
        for (position, source) in node.inputs.iter_mut().enumerate() {
            match source {
                Source::Weight(name) if normalises && position >= 3 => {
                    statistics.insert(name.clone());
                }
                Source::Weight(name) if !trained.contains(name) => {
                    let index = frozen.entry(name.clone()).or_insert_with(|| {
                        graph.constants.extend(graph.weights.get(name).cloned());
                        used.push(true);
                        used.len() - 1
                    });
                    *source = Source::Constant(*index);
                }
                Source::Constant(index) => used[*index] = true,
                _ => {}
            }
        }
    }
    graph
        .weights
        .retain(|name, _| trained.contains(name) || statistics.contains(name));
    graph.buffers = statistics;
    let position = positions(&used);
    for source in graph.nodes.iter_mut().flat_map(|node| &mut node.inputs) {
        if let Source::Constant(index) = source {
            *index = position[*index];
        }
    }
    let mut flags = used.into_iter();
    graph.constants.retain(|_| flags.next() == Some(true));
    Ok(())
}
