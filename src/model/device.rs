//! The device and number type that a model computes in.

use super::caught::caught;
use anyhow::{Context, Result, bail};
use candle_core::{DType, Device};
use std::fmt;
use std::str::FromStr;

/// A device as the user names it: `auto`, `cpu`, `cuda`, `cuda:1`, `metal`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU this build can use, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU, by number.
    Cuda(usize),
    /// Apple's GPU.
    Metal,
}

impl FromStr for DeviceChoice {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let cuda = text.strip_prefix("cuda:").map(str::parse);
        Ok(match (text, cuda) {
            ("auto", _) => Self::Auto,
            ("cpu", _) => Self::Cpu,
            ("cuda", _) => Self::Cuda(0),
            ("metal", _) => Self::Metal,
            (_, Some(Ok(n))) => Self::Cuda(n),
            _ => bail!("device {text:?} is not known; accepted: auto, cpu, cuda, cuda:N, metal"),
        })
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

impl DeviceChoice {
    /// Opens the device.
    ///
    /// # Errors
    /// This build or this machine does not have it.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto if cfg!(feature = "cuda") => Ok(cuda(0).unwrap_or(Device::Cpu)),
            Self::Auto if cfg!(feature = "metal") => Ok(metal().unwrap_or(Device::Cpu)),
            Self::Auto => Ok(Device::Cpu),
            Self::Cuda(n) if cfg!(feature = "cuda") => cuda(n).with_context(|| format!("no device cuda:{n}")),
            Self::Metal if cfg!(feature = "metal") => metal().context("no device metal"),
            Self::Cuda(_) => bail!(
                "device {self}: this program was built without CUDA (cargo build --features cuda); accepted: auto, cpu"
            ),
            Self::Metal => bail!(
                "device metal: this program was built without Metal (cargo build --features metal); accepted: auto, cpu"
            ),
        }
    }
}

/// candle's CUDA layer panics where the driver library is missing; that is an absent device, not a bug of ours.
fn cuda(n: usize) -> Result<Device> {
    Ok(caught("the CUDA driver library could not be loaded", || Device::new_cuda(n))??)
}

fn metal() -> Result<Device> {
    Ok(Device::new_metal(0)?)
}

/// A number type as the user names it: `auto`, `f32`, `bf16`, `f16`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DTypeChoice {
    /// f32 on the CPU; on a GPU bf16 and f16 weights stay as they are stored.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
    /// bfloat16, with norms, softmax and logits in f32.
    Bf16,
    /// Half precision, with norms, softmax and logits in f32.
    F16,
}

impl FromStr for DTypeChoice {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "auto" => Self::Auto,
            "f32" => Self::F32,
            "bf16" => Self::Bf16,
            "f16" => Self::F16,
            _ => bail!("dtype {text:?} is not known; accepted: auto, f32, bf16, f16"),
        })
    }
}

impl fmt::Display for DTypeChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

impl DTypeChoice {
    /// The dtype to compute in, for weights whose `config.json` names `stored`.
    pub fn resolve(self, device: &Device, stored: Option<&str>) -> DType {
        match (self, stored) {
            (Self::F32, _) => DType::F32,
            (Self::Bf16, _) => DType::BF16,
            (Self::F16, _) => DType::F16,
            (Self::Auto, _) if device.is_cpu() => DType::F32,
            (Self::Auto, Some("bfloat16")) => DType::BF16,
            (Self::Auto, Some("float16")) => DType::F16,
            (Self::Auto, _) => DType::F32,
        }
    }
}

/// The device's name as `--device` accepts it.
pub fn device_name(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".into(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { .. } => "metal".into(),
    }
}

/// The dtype's name as `--dtype` accepts it.
pub fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::BF16 => "bf16",
        DType::F16 => "f16",
        _ => "f32",
    }
}
