//! Writes an [`Expression`]: each call adds a term, or finds the equal one that is there already.

use crate::arith::NAN;
use crate::definition::{DefinitionError, Expression, Function, Term};

/// A term of the expression being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node(usize);

/// An expression being written.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    terms: Vec<Term>,
}

macro_rules! functions {
    ($($name:ident $function:ident ($($argument:ident),+): $what:literal;)*) => {
        $(#[doc = $what]
        pub fn $name(&mut self, $($argument: Node),+) -> Node {
            self.apply(Function::$function, &[$($argument),+])
        })*
    };
}

impl Terms {
    /// What the view of this number reads.
    pub fn input(&mut self, input: usize) -> Node {
        self.push(Term::Input(input))
    }

    /// A number.
    pub fn constant(&mut self, value: f32) -> Node {
        self.push(Term::Constant(if value.is_nan() { NAN } else { value }))
    }

    /// The output element's coordinate along an axis.
    pub fn position(&mut self, axis: usize) -> Node {
        self.push(Term::Position(axis))
    }

    /// A function of as many arguments as it takes (arguments beyond three are ignored).
    pub fn apply(&mut self, function: Function, arguments: &[Node]) -> Node {
        let mut places = [0; 3];
        for (place, argument) in places.iter_mut().zip(arguments) {
            *place = argument.0;
        }
        // A product with one is the other factor, to the bit.
        if function == Function::Multiply {
            for (one, other) in [(places[0], places[1]), (places[1], places[0])] {
                if self.terms.get(one) == Some(&Term::Constant(1.0)) {
                    return Node(other);
                }
            }
        }
        self.push(Term::Apply(function, places))
    }

    functions! {
        negate Negate(x): "−x.";
        absolute Absolute(x): "|x|.";
        sqrt Sqrt(x): "√x.";
        rsqrt Rsqrt(x): "1/√x.";
        exp Exp(x): "eˣ.";
        log Log(x): "ln x.";
        tanh Tanh(x): "tanh x.";
        erf Erf(x): "erf x.";
        sin Sin(x): "sin x.";
        cos Cos(x): "cos x.";
        sigmoid Sigmoid(x): "1/(1 + e⁻ˣ).";
        add Add(x, y): "x + y.";
        subtract Subtract(x, y): "x − y.";
        multiply Multiply(x, y): "x · y.";
        divide Divide(x, y): "x / y.";
        maximum Maximum(x, y): "The greater.";
        minimum Minimum(x, y): "The lesser.";
        less Less(x, y): "1 if x < y, else 0.";
        equal Equal(x, y): "1 if x = y, else 0.";
        multiply_add MultiplyAdd(x, y, z): "x · y + z, rounded once.";
        select Select(x, y, z): "z if x is zero, else y.";
    }

    /// The terms of `expression` with its inputs replaced by `inputs`; the last node is its value.
    pub(super) fn inline(&mut self, expression: &Expression, inputs: &[Node]) -> Vec<Node> {
        let mut nodes: Vec<Node> = Vec::with_capacity(expression.terms().len());
        for term in expression.terms() {
            let node = match term {
                Term::Input(input) => inputs[*input],
                Term::Constant(value) => self.constant(*value),
                Term::Position(axis) => self.position(*axis),
                Term::Apply(function, arguments) => {
                    let arguments = arguments.map(|argument| nodes.get(argument).copied().unwrap_or(Node(0)));
                    self.apply(*function, &arguments[..function.arity()])
                }
            };
            nodes.push(node);
        }
        nodes
    }

    /// The term behind a node.
    pub(super) fn term(&self, node: Node) -> Term {
        self.terms[node.0]
    }

    /// The term at a place that a term names as its argument.
    pub(super) fn term_at(&self, at: usize) -> Term {
        self.terms[at]
    }

    /// The expression whose value is `result`: only the terms it needs, and the inputs renumbered in ascending order.
    /// Gives the expression and the old number of each input.
    pub(super) fn finish(self, result: Node) -> Result<(Expression, Vec<usize>), DefinitionError> {
        let mut needed = vec![false; self.terms.len()];
        needed[result.0] = true;
        let mut inputs = Vec::new();
        for at in (0..=result.0).rev().filter(|at| *at < self.terms.len()) {
            if !needed[at] {
                continue;
            }
            match self.terms[at] {
                Term::Apply(function, arguments) => {
                    arguments[..function.arity()]
                        .iter()
                        .for_each(|argument| needed[*argument] = true);
                }
                Term::Input(input) => inputs.push(input),
                Term::Constant(_) | Term::Position(_) => {}
            }
        }
        inputs.sort_unstable();
        inputs.dedup();
        let mut places = vec![0; self.terms.len()];
        let mut terms = Vec::new();
        for (at, term) in self
            .terms
            .iter()
            .enumerate()
            .take(result.0 + 1)
            .filter(|(at, _)| needed[*at])
        {
            places[at] = terms.len();
            terms.push(match *term {
                Term::Apply(function, arguments) => {
                    let mut moved = [0; 3];
                    for (to, from) in moved.iter_mut().zip(arguments).take(function.arity()) {
                        *to = places[from];
                    }
                    Term::Apply(function, moved)
                }
                Term::Input(input) => Term::Input(inputs.iter().position(|known| *known == input).unwrap_or(0)),
                other => other,
            });
        }
        Ok((Expression::new(terms)?, inputs))
    }

    fn push(&mut self, term: Term) -> Node {
        // NaN constants never compare equal, which only costs a term.
        let known = self.terms.iter().position(|known| match (known, &term) {
            (Term::Constant(a), Term::Constant(b)) => a.to_bits() == b.to_bits(),
            (a, b) => a == b,
        });
        Node(known.unwrap_or_else(|| {
            self.terms.push(term);
            self.terms.len() - 1
        }))
    }
}
