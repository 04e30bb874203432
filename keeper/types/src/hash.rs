//! The hash that contracts compute cheaply.

use starknet_types_core::{
    felt::Felt,
    hash::{Poseidon, StarkHash as _},
};

/// The Poseidon hash of felts, as `poseidon_hash_span` computes it on chain.
pub fn poseidon(felts: &[Felt]) -> Felt {
    Poseidon::hash_array(felts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_chains_hash() {
        // poseidon_hash_span([1, 2]), as Cairo computes it.
        let expected = "0x371cb6995ea5e7effcd2e174de264b5b407027a75a231a70c2c8d196107f0e7";
        assert_eq!(poseidon(&[Felt::ONE, Felt::TWO]), Felt::from_hex_unchecked(expected));
        assert_ne!(poseidon(&[Felt::ONE]), poseidon(&[Felt::ONE, Felt::ZERO]));
    }
}
