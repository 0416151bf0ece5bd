//! Which GPUs libtorch can use here, as the driver names them.

use std::process::Command;

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Its name.
    pub model: String,
    /// Its memory.
    pub memory_mib: u64,
}

/// The GPUs; none where libtorch was built without CUDA or the driver does not answer.
pub fn gpus() -> Vec<Gpu> {
    if !tch::Cuda::is_available() {
        return Vec::new();
    }
    let query = ["--query-gpu=name,memory.total", "--format=csv,noheader,nounits"];
    let output = Command::new("nvidia-smi").args(query).output();
    output.map_or_else(|_| Vec::new(), |output| parse(&String::from_utf8_lossy(&output.stdout)))
}

fn parse(listing: &str) -> Vec<Gpu> {
    let gpu = |line: &str| {
        let (model, memory) = line.rsplit_once(',')?;
        Some(Gpu {
            model: model.trim().to_owned(),
            memory_mib: memory.trim().parse().ok()?,
        })
    };
    listing.lines().filter_map(gpu).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_listing_is_read() {
        let listing = "NVIDIA A100-SXM4-40GB, 40960\nOdd, name, 8192\nno memory\n";
        let found = parse(listing);
        assert_eq!(
            found[0],
            Gpu {
                model: "NVIDIA A100-SXM4-40GB".to_owned(),
                memory_mib: 40_960
            }
        );
        assert_eq!((found.len(), found[1].model.as_str()), (2, "Odd, name"));
    }
}
