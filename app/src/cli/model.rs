//! `trainyard model …`

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use color_eyre::eyre::{Result, WrapErr as _, bail};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use trainyard_exact::model::{self, CnnSpec, MlpSpec, ResNetSpec, TransformerSpec};
use trainyard_exact::onnx::{Graph, Limits, decode};
use trainyard_exact::state_root;

use super::Global;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write a built-in architecture as an ONNX file
    #[command(subcommand)]
    New(New),
    /// Check an ONNX file and show what it computes
    Inspect {
        /// The file
        model: PathBuf,
        /// List every node
        #[arg(long)]
        nodes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum New {
    /// Fully connected layers
    Mlp {
        /// Width of each hidden layer
        #[arg(long, value_delimiter = ',', default_value = "128")]
        hidden: Vec<usize>,
        #[command(flatten)]
        common: Common,
    },
    /// Convolutions with pooling, then fully connected layers
    Cnn {
        /// Filters of each convolution
        #[arg(long, value_delimiter = ',', default_value = "16,32")]
        filters: Vec<usize>,
        /// Height and width of the filters
        #[arg(long, default_value_t = 3)]
        kernel: usize,
        /// Width of each hidden fully connected layer
        #[arg(long, value_delimiter = ',', default_value = "128")]
        hidden: Vec<usize>,
        #[command(flatten)]
        common: Common,
    },
    /// Convolutions in residual blocks
    #[command(name = "resnet")]
    ResNet {
        /// Shape of one sample: channels, height, width
        #[arg(long, value_delimiter = ',', default_value = "3,32,32")]
        input: Vec<usize>,
        /// Channels of each stage
        #[arg(long, value_delimiter = ',', default_value = "16,32,64")]
        widths: Vec<usize>,
        /// Residual blocks of each stage: 1 for ResNet-8, 2 for ResNet-14, 3 for ResNet-20
        #[arg(long, default_value_t = 1)]
        blocks: usize,
        /// Number of classes
        #[arg(long, default_value_t = 10)]
        classes: usize,
        #[command(flatten)]
        file: File,
    },
    /// Self-attention over tokens, which gives logits for each position
    Transformer {
        /// Number of different tokens
        #[arg(long, default_value_t = 256)]
        vocabulary: usize,
        /// Tokens of a sample
        #[arg(long, default_value_t = 128)]
        context: usize,
        /// Length of the vector for each token
        #[arg(long, default_value_t = 256)]
        width: usize,
        /// Attention heads
        #[arg(long, default_value_t = 8)]
        heads: usize,
        /// Number of layers
        #[arg(long, default_value_t = 6)]
        layers: usize,
        /// Let every position see all others, not only those before it
        #[arg(long)]
        bidirectional: bool,
        #[command(flatten)]
        file: File,
    },
}

/// Where the weights come from and where the model goes.
#[derive(Debug, clap::Args)]
pub(super) struct File {
    /// Draws the initial weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The file to write
    #[arg(long, default_value = "model.onnx", value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// Shape of one sample
    #[arg(long, value_delimiter = ',', default_value = "1,28,28")]
    input: Vec<usize>,
    /// Number of classes
    #[arg(long, default_value_t = 10)]
    classes: usize,
    #[command(flatten)]
    file: File,
}

pub(super) fn run(global: &Global, command: Command) -> Result<()> {
    match command {
        Command::New(New::Mlp { hidden, common }) => {
            let spec = MlpSpec {
                sample: common.input,
                hidden,
                classes: common.classes,
                seed: common.file.seed,
            };
            write(global, &common.file.out, &model::mlp(&spec)?)
        }
        Command::New(New::Cnn {
            filters,
            kernel,
            hidden,
            common,
        }) => {
            let sample = image(&common.input)?;
            let spec = CnnSpec {
                sample,
                filters,
                kernel,
                hidden,
                classes: common.classes,
                seed: common.file.seed,
            };
            write(global, &common.file.out, &model::cnn(&spec)?)
        }
        Command::New(New::ResNet {
            input,
            widths,
            blocks,
            classes,
            file,
        }) => {
            let spec = ResNetSpec {
                sample: image(&input)?,
                widths,
                blocks,
                classes,
                seed: file.seed,
            };
            write(global, &file.out, &model::resnet(&spec)?)
        }
        Command::New(New::Transformer {
            vocabulary,
            context,
            width,
            heads,
            layers,
            bidirectional,
            file,
        }) => {
            let spec = TransformerSpec {
                vocabulary,
                context,
                width,
                heads,
                layers,
                causal: !bidirectional,
                seed: file.seed,
            };
            write(global, &file.out, &model::transformer(&spec)?)
        }
        Command::Inspect { model, nodes } => {
            let bytes = read(&model)?;
            let graph = decode(&bytes, &Limits::default()).wrap_err_with(|| model.display().to_string())?;
            let mut view = view(&bytes, &graph);
            if nodes {
                view["nodes"] = graph.nodes.iter().map(node).collect();
            }
            global.print(&view)
        }
    }
}

fn image(input: &[usize]) -> Result<[usize; 3]> {
    let [channels, height, width] = *input else {
        bail!("--input {input:?} is not channels,height,width");
    };
    Ok([channels, height, width])
}

fn write(global: &Global, out: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(out, bytes).wrap_err_with(|| out.display().to_string())?;
    let mut view = view(bytes, &decode(bytes, &Limits::default())?);
    view["file"] = json!(out);
    global.print(&view)
}

/// Reads a model file, but no more of it than a model may have.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let shown = || path.display().to_string();
    let limit = Limits::default().bytes;
    let file = std::fs::File::open(path).wrap_err_with(shown)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).wrap_err_with(shown)?;
    if bytes.len() as u64 > limit {
        bail!("{}: more than {limit} bytes", shown());
    }
    Ok(bytes)
}

fn view(bytes: &[u8], graph: &Graph) -> Value {
    json!({
        "sample": graph.sample,
        "output": shape(&graph.output_shape),
        "operators": graph.nodes.len(),
        "parameters": graph.parameter_count(),
        "buffers": graph.buffers.len(),
        "macs_per_sample": graph.macs(),
        "state_root": hex::encode(state_root(&graph.weights)),
        "sha256": hex::encode(Sha256::digest(bytes)),
        "bytes": bytes.len(),
    })
}

fn node(node: &trainyard_exact::onnx::Node) -> Value {
    json!({
        "index": node.index,
        "name": node.name,
        "operator": node.operator,
        "shape": shape(&node.shape),
        "macs": node.macs,
    })
}

fn shape(dims: &[trainyard_exact::onnx::Dim]) -> String {
    dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ")
}
