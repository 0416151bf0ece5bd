//! Transformers like GPT-2: normalisation comes before each layer (Radford et al., 2019).

use super::writer::{DataType, Writer, float, int, ints};
use crate::onnx::Error;

/// A transformer over tokens: embeddings of token and position, layers of self-attention and a perceptron of four times the
/// width, logits for each position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransformerSpec {
    /// Number of different tokens.
    pub vocabulary: usize,
    /// Number of tokens of a sample, T.
    pub context: usize,
    /// Length of the vector for each token; a multiple of `heads`.
    pub width: usize,
    /// Number of attention heads.
    pub heads: usize,
    /// Number of layers.
    pub layers: usize,
    /// Whether a position sees only itself and those before it.
    pub causal: bool,
    /// Seed of the initial weights.
    pub seed: u64,
}

impl Default for TransformerSpec {
    /// Bytes, 128 at a time, in six causal layers of width 256 with eight heads.
    fn default() -> Self {
        Self {
            vocabulary: 256,
            context: 128,
            width: 256,
            heads: 8,
            layers: 6,
            causal: true,
            seed: 0,
        }
    }
}

/// The ONNX file of a transformer.
///
/// Fully connected layers are drawn with a variance of 1 / fan-in, those that are added to the stream divided by √(2 · layers);
/// embeddings with a standard deviation of 0.02.
///
/// # Errors
/// When a number is 0, the width is no multiple of the heads, or the default [`Limits`](crate::onnx::Limits) are broken.
pub fn transformer(spec: &TransformerSpec) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::new(spec.seed);
    let &TransformerSpec {
        vocabulary,
        context,
        width,
        heads,
        layers,
        ..
    } = spec;
    writer.product("the table of tokens", &[vocabulary, width])?;
    writer.product("the scores of a layer", &[heads, context, context])?;
    writer.product("the stack of layers", &[layers])?;
    if !width.is_multiple_of(heads) {
        return Err(Error::Graph(format!(
            "a width of {width} cannot be divided among {heads} heads"
        )));
    }
    // √3 times the standard deviation.
    let bound = 0.02 * 3f32.sqrt();
    let tokens = writer.uniform("token.weight", &[vocabulary, width], bound)?;
    let positions = writer.uniform("position.weight", &[context, width], bound)?;
    let tokens = writer.node("Gather", "token", &[&tokens, "input"], vec![int("axis", 0)]);
    let mut value = writer.node("Add", "position", &[&tokens, &positions], vec![]);
    let constants = Constants::new(&mut writer, spec);
    let residual = 1.0 / ((2 * layers) as f32).sqrt();
    for layer in 1..=layers {
        let name = |part: &str| format!("layer{layer}.{part}");
        let normal = normalised(&mut writer, &name("norm1"), &value, width)?;
        let seen = attention(&mut writer, &name("attention"), &normal, spec, &constants)?;
        let seen = linear(&mut writer, &name("attention.out"), &seen, [width, width], residual)?;
        value = writer.node("Add", &name("add1"), &[&value, &seen], vec![]);
        let normal = normalised(&mut writer, &name("norm2"), &value, width)?;
        let wide = writer.product("the perceptron", &[4, width])?;
        let hidden = linear(&mut writer, &name("fc1"), &normal, [width, wide], 1.0)?;
        let hidden = writer.node("Gelu", &name("gelu"), &[&hidden], vec![]);
        let out = linear(&mut writer, &name("fc2"), &hidden, [wide, width], residual)?;
        value = writer.node("Add", &name("add2"), &[&value, &out], vec![]);
    }
    let normal = normalised(&mut writer, "norm", &value, width)?;
    let head = writer.uniform("head.weight", &[width, vocabulary], (3.0 / width as f32).sqrt())?;
    writer.node("MatMul", "head", &[&normal, &head], vec![]);
    writer.finish("transformer", (DataType::Int64, &[context]), &[context, vocabulary])
}

/// Names of what all layers share.
struct Constants {
    thirds: String,
    apart: String,
    joined: String,
    scale: String,
    /// Which positions are seen, and what the scores of the others become.
    mask: Option<[String; 2]>,
}

impl Constants {
    fn new(writer: &mut Writer, spec: &TransformerSpec) -> Self {
        let &TransformerSpec {
            context, width, heads, ..
        } = spec;
        let scale = writer.scalar("scale", 1.0 / ((width / heads) as f32).sqrt());
        let mask = spec.causal.then(|| {
            let unseen = writer.scalar("unseen", f32::NEG_INFINITY);
            let seen = (0..context).flat_map(|row| (0..context).map(move |column| u8::from(column <= row)));
            writer.initializer("seen", DataType::Bool, &[context, context], seen.collect());
            ["seen".to_owned(), unseen]
        });
        Self {
            thirds: writer.integers("thirds", &[width; 3]),
            apart: writer.integers("apart", &[0, context, heads, width / heads]),
            joined: writer.integers("joined", &[0, context, width]),
            scale,
            mask,
        }
    }
}

fn attention(
    writer: &mut Writer,
    name: &str,
    input: &str,
    spec: &TransformerSpec,
    constants: &Constants,
) -> Result<String, Error> {
    let of = |part: &str| format!("{name}.{part}");
    let three = writer.product(name, &[3, spec.width])?;
    let all = linear(writer, &of("qkv"), input, [spec.width, three], 1.0)?;
    let parts = writer.split(&of("split"), &[&all, &constants.thirds], 3, vec![int("axis", 2)]);
    let mut heads = Vec::with_capacity(3);
    // Keys come transposed, ready for the product.
    for (part, (value, perm)) in
        ["q", "k", "v"]
            .iter()
            .zip(parts.iter().zip([[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]]))
    {
        let apart = writer.node(
            "Reshape",
            &of(&format!("{part}.apart")),
            &[value, &constants.apart],
            vec![],
        );
        heads.push(writer.node("Transpose", &of(part), &[&apart], vec![ints("perm", &perm)]));
    }
    let scores = writer.node("MatMul", &of("scores"), &[&heads[0], &heads[1]], vec![]);
    let mut scores = writer.node("Mul", &of("scale"), &[&scores, &constants.scale], vec![]);
    if let Some([seen, unseen]) = &constants.mask {
        scores = writer.node("Where", &of("mask"), &[seen, &scores, unseen], vec![]);
    }
    let shares = writer.node("Softmax", &of("softmax"), &[&scores], vec![int("axis", -1)]);
    let mixed = writer.node("MatMul", &of("mix"), &[&shares, &heads[2]], vec![]);
    let turned = writer.node("Transpose", &of("turn"), &[&mixed], vec![ints("perm", &[0, 2, 1, 3])]);
    Ok(writer.node("Reshape", &of("join"), &[&turned, &constants.joined], vec![]))
}

fn linear(writer: &mut Writer, name: &str, input: &str, [from, to]: [usize; 2], gain: f32) -> Result<String, Error> {
    let bound = (3.0 / from as f32).sqrt() * gain;
    let weight = writer.uniform(&format!("{name}.weight"), &[from, to], bound)?;
    let bias = writer.filled(&format!("{name}.bias"), &[to], 0.0)?;
    let product = writer.node("MatMul", &format!("{name}.product"), &[input, &weight], vec![]);
    Ok(writer.node("Add", name, &[&product, &bias], vec![]))
}

fn normalised(writer: &mut Writer, name: &str, input: &str, width: usize) -> Result<String, Error> {
    let scale = writer.filled(&format!("{name}.weight"), &[width], 1.0)?;
    let bias = writer.filled(&format!("{name}.bias"), &[width], 0.0)?;
    let attributes = vec![int("axis", -1), float("epsilon", 1e-5)];
    Ok(writer.node("LayerNormalization", name, &[input, &scale, &bias], attributes))
}
