//! The hash that contracts compute cheaply.

use starknet_types_core::{
    felt::Felt,
    hash::{Poseidon, StarkHash as _},
};

/// The Poseidon hash of felts, as `poseidon_hash_span` computes it on chain.
pub fn poseidon(felts: &[Felt]) -> Felt {
    Poseidon::hash_array(felts)
}

/// The Poseidon hash of two felts, as the tree's nodes of Starknet's state have it: one permutation, of which no hash of a
/// list can be the outcome.
pub fn poseidon_pair(left: Felt, right: Felt) -> Felt {
    Poseidon::hash(&left, &right)
}

/// A [`poseidon`] hash that takes one felt after the other, and can be kept on the way: what begins alike is taken
/// once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoseidonSponge {
    state: [Felt; 3],
    /// The first of the next two.
    odd: Option<Felt>,
}

impl PoseidonSponge {
    /// Takes more felts.
    #[must_use]
    pub fn absorb(mut self, felts: &[Felt]) -> Self {
        for felt in felts {
            match self.odd.take() {
                None => self.odd = Some(*felt),
                Some(odd) => self.permute(odd, *felt),
            }
        }
        self
    }

    /// The hash of all that was taken.
    pub fn hash(mut self) -> Felt {
        match self.odd.take() {
            None => self.permute(Felt::ONE, Felt::ZERO),
            Some(odd) => self.permute(odd, Felt::ONE),
        }
        self.state[0]
    }

    fn permute(&mut self, first: Felt, second: Felt) {
        self.state[0] += first;
        self.state[1] += second;
        Poseidon::hades_permutation(&mut self.state);
    }
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

    #[test]
    fn one_after_the_other_and_at_once_are_the_same() {
        let felts: [Felt; 9] = std::array::from_fn(|place| poseidon(&[Felt::from(place)]));
        for length in 0..=9 {
            for kept in 0..=length {
                let sponge = PoseidonSponge::default().absorb(&felts[..kept]);
                assert_eq!(sponge.absorb(&felts[kept..length]).hash(), poseidon(&felts[..length]));
            }
        }
    }
}
