//! The operators a graph is made of: fewer than ONNX has, because the decoder writes the others in terms of these.

/// Windows of a convolution or pooling over two spatial dimensions, each field (height, width).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Size of the window.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub strides: [usize; 2],
    /// Padding above and to the left.
    pub pads_begin: [usize; 2],
    /// Padding below and to the right.
    pub pads_end: [usize; 2],
    /// Step between the elements of a window.
    pub dilations: [usize; 2],
}

/// An operator with its attributes; the semantics are those of ONNX (default domain) unless said otherwise. Every value is
/// f32: integers are whole numbers, booleans 0 and 1. The shape of the result is the node's.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `alpha · A' · B' + beta · C`, where `'` transposes if asked to; C may be absent.
    Gemm {
        /// Factor of the product.
        alpha: f32,
        /// Factor of C.
        beta: f32,
        /// Whether A is transposed.
        trans_a: bool,
        /// Whether B is transposed.
        trans_b: bool,
    },
    /// Matrix product over the last two dimensions, broadcast over the others. Both operands have at least two.
    MatMul,
    /// Convolution of `(N, C, H, W)` with `(M, C / group, kh, kw)` and an optional bias `(M)`.
    Conv {
        /// The sliding window.
        window: Window,
        /// Number of groups the channels are split into.
        group: usize,
    },
    /// Largest value of each window of `(N, C, H, W)`; padding never wins.
    MaxPool(Window),
    /// Mean of each window of `(N, C, H, W)`. Dilations are 1.
    AveragePool {
        /// The sliding window.
        window: Window,
        /// Whether padding counts as zeros; if not, the mean is over fewer elements.
        count_include_pad: bool,
    },
    /// `(x − mean) / √(variance + epsilon) · scale + bias` per channel (dimension 1); operands X, scale, bias, running
    /// mean, running variance. In training, mean and (biased) variance are those of the batch and the running ones become
    /// `running · momentum + batch · (1 − momentum)`, the batch's variance being unbiased there, as in PyTorch.
    BatchNormalization {
        /// Added to the variance.
        epsilon: f32,
        /// Weight of the old running statistics.
        momentum: f32,
    },
    /// `(x − mean) / √(variance + epsilon) · scale + bias`, mean and (biased) variance being those of the dimensions from
    /// `axis` on. Operands X, scale, bias; bias, or both, may be absent; both broadcast to X.
    LayerNormalization {
        /// The first normalised dimension.
        axis: usize,
        /// Added to the variance.
        epsilon: f32,
    },
    /// Normalised exponential along one dimension.
    Softmax {
        /// The dimension.
        axis: usize,
    },
    /// Logarithm of `Softmax`.
    LogSoftmax {
        /// The dimension.
        axis: usize,
    },
    /// In training, zeroes elements with probability `ratio` and scales the others by `1 / (1 − ratio)`.
    Dropout {
        /// Probability, in `[0, 1)`.
        ratio: f32,
    },
    /// A function of each element.
    Unary(Unary),
    /// A function of two elements, broadcast.
    Binary(Binary),
    /// The second operand where the first is not 0, else the third, all three broadcast.
    Where,
    /// A fold over some dimensions, which stay as 1 or vanish according to the node's shape.
    Reduce {
        /// What the elements are folded into.
        kind: Reduction,
        /// The dimensions, ascending; never the batch.
        axes: Vec<usize>,
    },
    /// Same elements in row-major order, other shape: the node's (also `Flatten`, `Squeeze`, `Unsqueeze`).
    Reshape,
    /// Permuted dimensions: dimension `i` of the result is dimension `perm[i]` of the operand.
    Transpose {
        /// The permutation.
        perm: Vec<usize>,
    },
    /// Broadcast to the node's shape.
    Expand,
    /// In each dimension, the elements `start`, `start + step`, … of the operand, as many as the node's shape has. The
    /// batch is always whole: start 0, step 1.
    Slice {
        /// The first element, for each dimension.
        starts: Vec<usize>,
        /// The distance to the next one, for each dimension; negative ones go backwards, none is 0.
        steps: Vec<isize>,
    },
    /// The operand in the middle of a constant; the node's shape says how much follows. The batch has none.
    Pad {
        /// How much comes before, for each dimension.
        starts: Vec<usize>,
        /// The constant.
        value: f32,
    },
    /// Operands side by side along one dimension, never the batch.
    Concat {
        /// The dimension.
        axis: usize,
    },
    /// Operands data and indices. The result has the data's dimensions with `axis` replaced by those of the indices. Constant
    /// indices are checked to be within the data; those computed from the input have no defined result outside it.
    Gather {
        /// The dimension of the data that is indexed, never the batch.
        axis: usize,
    },
}

impl Op {
    /// Whether it means the same for whole numbers.
    pub(super) fn takes_integers(&self) -> bool {
        match self {
            Self::Unary(function) => matches!(function, Unary::Abs | Unary::Neg | Unary::Relu | Unary::Clip { .. }),
            Self::Binary(function) => *function != Binary::Pow,
            Self::Reduce { kind, .. } => *kind != Reduction::Mean,
            Self::Where | Self::Reshape | Self::Transpose { .. } | Self::Expand | Self::Slice { .. } => true,
            Self::Pad { .. } | Self::Concat { .. } | Self::Gather { .. } => true,
            _ => false,
        }
    }
}

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// `|x|`.
    Abs,
    /// `−x`.
    Neg,
    /// `1 / x`.
    Reciprocal,
    /// `√x`.
    Sqrt,
    /// `eˣ`.
    Exp,
    /// Natural logarithm.
    Log,
    /// Sine of an angle in radians.
    Sin,
    /// Cosine of an angle in radians.
    Cos,
    /// Error function.
    Erf,
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `max(x, 0)`.
    Relu,
    /// `x`, times `alpha` where negative.
    LeakyRelu {
        /// Slope for negative numbers.
        alpha: f32,
    },
    /// `x / 2 · (1 + erf(x / √2))`, or `x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))`.
    Gelu {
        /// Whether it is the second form.
        tanh: bool,
    },
    /// `max(0, min(1, alpha · x + beta))`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Value at 0.
        beta: f32,
    },
    /// `min(max(x, min), max)`.
    Clip {
        /// Lower bound.
        min: f32,
        /// Upper bound.
        max: f32,
    },
}

/// A function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a − b`.
    Sub,
    /// `a · b`; of booleans, `And`.
    Mul,
    /// `a / b`.
    Div,
    /// `e^(b · ln a)`: a negative `a` gives NaN. The decoder writes powers with a small whole constant as products.
    Pow,
    /// The smaller.
    Min,
    /// The larger; of booleans, `Or`.
    Max,
    /// 1 where `a = b`, else 0. No gradient.
    Equal,
    /// 1 where `a < b`, else 0. No gradient.
    Less,
    /// 1 where `a ≤ b`, else 0. No gradient.
    LessOrEqual,
}

/// What elements are folded into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
    /// The largest.
    Max,
}
