//! What a job needs and what a worker has.
//!
//! The two mirror each other field by field, in the contracts' order: a worker fits when every number is at
//! least what is asked for, every feature bit asked for is there, and the region is the same or left open.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use starknet_types_core::felt::Felt;

/// What a worker must have to be given a job. Zero, or no region, asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Requirements {
    /// GPUs on one worker, at most 63.
    pub gpu_count: u8,
    /// Memory of each GPU, in GiB, at most 1,023.
    pub vram_gib: u16,
    /// CUDA compute capability, major * 10 + minor (9.0 is 90), at most 127.
    pub compute_capability: u8,
    /// CUDA version that the driver supports, major * 10 + minor (12.4 is 124).
    pub cuda_version: u8,
    /// NVIDIA driver's major version, at most 1,023.
    pub driver_version: u16,
    /// CPU cores, at most 511.
    pub cpu_cores: u16,
    /// Host memory, in GiB, at most 4,095.
    pub memory_gib: u16,
    /// Reputation, 0 to 1,000.
    pub min_reputation: u16,
    /// Feature bits that must all be there.
    pub features: Features,
    /// The region, where only one will do.
    pub region: Option<Region>,
}

impl Requirements {
    /// GPUs that the job is billed for: a job without one is billed as one.
    pub fn billed_units(&self) -> u32 {
        u32::from(self.gpu_count.max(1))
    }

    /// Checks that every number fits the contracts' packed slot.
    ///
    /// # Errors
    /// Names the first field that does not.
    pub fn validate(&self) -> Result<(), RequirementError> {
        let limits = [
            ("gpu_count", u16::from(self.gpu_count), 63),
            ("vram_gib", self.vram_gib, 1_023),
            ("compute_capability", u16::from(self.compute_capability), 127),
            ("driver_version", self.driver_version, 1_023),
            ("cpu_cores", self.cpu_cores, 511),
            ("memory_gib", self.memory_gib, 4_095),
            ("min_reputation", self.min_reputation, crate::MAX_REPUTATION),
        ];
        match limits.into_iter().find(|(_, value, max)| value > max) {
            Some((field, value, max)) => Err(RequirementError { field, value, max }),
            None => Ok(()),
        }
    }
}

/// What a worker has, as it registered. Probed by its agent, never typed in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Capabilities {
    /// GPUs.
    pub gpu_count: u8,
    /// Memory of the smallest GPU, in GiB.
    pub vram_gib: u16,
    /// The lowest CUDA compute capability among the GPUs, major * 10 + minor.
    pub compute_capability: u8,
    /// CUDA version that the driver supports, major * 10 + minor.
    pub cuda_version: u8,
    /// NVIDIA driver's major version.
    pub driver_version: u16,
    /// CPU cores.
    pub cpu_cores: u16,
    /// Host memory, in GiB.
    pub memory_gib: u16,
    /// Feature bits.
    pub features: Features,
    /// Where the worker stands.
    pub region: Option<Region>,
}

/// What a number in a requirement exceeds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("requirements.{field} is {value}, but at most {max} can be asked for")]
pub struct RequirementError {
    /// The field.
    pub field: &'static str,
    value: u16,
    max: u16,
}

/// Yes-or-no properties of a worker, a bit each. Bits without a name yet are carried as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Features(pub u16);

impl Features {
    /// GPUs joined by NVLink.
    pub const NVLINK: Self = Self(1);
    /// Tensor cores.
    pub const TENSOR_CORES: Self = Self(1 << 1);
    /// Error-correcting GPU memory.
    pub const ECC: Self = Self(1 << 2);
    /// A container engine that can run jobs.
    pub const CONTAINERS: Self = Self(1 << 3);
    /// Multi-Instance GPU slices.
    pub const MIG: Self = Self(1 << 4);
    /// InfiniBand or RoCE between hosts.
    pub const RDMA: Self = Self(1 << 5);

    /// Runs clients' commands; without it only the built-in executors.
    pub const PROCESSES: Self = Self(1 << 6);

    const NAMES: [(Self, &'static str); 7] = [
        (Self::NVLINK, "nvlink"),
        (Self::TENSOR_CORES, "tensor-cores"),
        (Self::ECC, "ecc"),
        (Self::CONTAINERS, "containers"),
        (Self::MIG, "mig"),
        (Self::RDMA, "rdma"),
        (Self::PROCESSES, "processes"),
    ];

    /// Whether every bit of `other` is set here.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of bits.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Reads comma-separated names, such as `nvlink,ecc`.
    ///
    /// # Errors
    /// Names what is unknown and lists what is known.
    pub fn from_names(text: &str) -> Result<Self, String> {
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).try_fold(Self::default(), |all, name| {
            match Self::NAMES.iter().find(|(_, known)| *known == name) {
                Some((bit, _)) => Ok(all.union(*bit)),
                None => {
                    let known: Vec<_> = Self::NAMES.iter().map(|(_, known)| *known).collect();
                    Err(format!("unknown feature `{name}`: known are {}", known.join(", ")))
                }
            }
        })
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Self::NAMES.iter().filter(|(bit, _)| self.contains(*bit)).map(|(_, name)| *name).collect();
        f.pad(&if names.is_empty() { "none".to_owned() } else { names.join(",") })
    }
}

/// Where a worker stands: a name of one to five printable ASCII characters, such as `eu-w1`. It is a Starknet
/// short string on chain, so that an explorer shows it.
///
/// The contracts take any number of 40 bits. One that spells no name is a region like any other, written as
/// `0x` and ten hexadecimal digits; a keeper that could not read it could be stopped by anyone's job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(u64);

impl Region {
    /// Characters of the longest name: what the packed slots have room for.
    pub const MAX_LEN: usize = 5;
    /// The largest number that the contracts take.
    const MAX: u64 = (1 << 40) - 1;
    /// `0x` and ten digits: longer than any name.
    const NUMBER_LEN: usize = 12;

    /// The short string as a number.
    pub fn to_felt(self) -> Felt {
        Felt::from(self.0)
    }

    /// The short string as a number, which has at most 40 bits.
    pub fn number(self) -> u64 {
        self.0
    }

    /// Reads what a contract holds; zero is no region.
    ///
    /// # Errors
    /// Fails where the felt has more than 40 bits, which the contracts refuse.
    pub fn from_felt(felt: Felt) -> Result<Option<Self>, RegionError> {
        match u64::try_from(felt) {
            Ok(0) => Ok(None),
            Ok(number) if number <= Self::MAX => Ok(Some(Self(number))),
            _ => Err(RegionError { text: format!("{felt:#x}") }),
        }
    }

    fn name(self) -> Option<String> {
        let bytes = self.0.to_be_bytes().into_iter().skip_while(|byte| *byte == 0);
        let name: String = bytes.map(char::from).collect();
        name.chars().all(|character| character.is_ascii_graphic()).then_some(name)
    }
}

impl FromStr for Region {
    type Err = RegionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || RegionError { text: text.to_owned() };
        if text.len() == Self::NUMBER_LEN
            && let Some(digits) = text.strip_prefix("0x")
        {
            let number = u64::from_str_radix(digits, 16).map_err(|_| error())?;
            return if number == 0 { Err(error()) } else { Ok(Self(number)) };
        }
        if text.is_empty() || text.len() > Self::MAX_LEN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(error());
        }
        Ok(Self(text.bytes().fold(0, |number, byte| (number << 8) | u64::from(byte))))
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name().unwrap_or_else(|| format!("{:#012x}", self.0)))
    }
}

impl Serialize for Region {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Region {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A text is not a region's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a region: expected one to five printable ASCII characters, such as eu-w1")]
pub struct RegionError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_a_short_string() {
        let region: Region = "eu-w1".parse().unwrap();
        assert_eq!(region.to_felt(), Felt::from_hex_unchecked("0x65752d7731"));
        assert_eq!(Region::from_felt(region.to_felt()).unwrap(), Some(region));
        assert_eq!(region.to_string(), "eu-w1");
        assert_eq!(Region::from_felt(Felt::ZERO).unwrap(), None);
        for text in ["", "europe", "e u", "é", "0x0000000000", "0xzzzzzzzzzz"] {
            assert!(text.parse::<Region>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_region_that_the_contracts_take_is_read_and_shown(number in 1_u64..1 << 40) {
            let region = Region::from_felt(Felt::from(number)).unwrap().unwrap();
            proptest::prop_assert_eq!(region.to_felt(), Felt::from(number));
            proptest::prop_assert_eq!(region.to_string().parse::<Region>().unwrap(), region);
        }
    }

    #[test]
    fn features_have_names() {
        let features = Features::from_names("nvlink, ecc").unwrap();
        assert_eq!(features, Features::NVLINK.union(Features::ECC));
        assert_eq!(features.to_string(), "nvlink,ecc");
        assert!(Features::from_names("fast").unwrap_err().contains("tensor-cores"));
    }

    #[test]
    fn what_the_slot_cannot_hold_is_named() {
        let error = Requirements { vram_gib: 2_000, ..Requirements::default() }.validate().unwrap_err();
        assert_eq!(error.to_string(), "requirements.vram_gib is 2000, but at most 1023 can be asked for");
    }
}
