// SPDX-License-Identifier: MIT

/// Decides disputes about matrix products: it looks at the output itself.
///
/// Roles: anyone hands in an output. There is no admin, and nothing to pause or upgrade.
///
/// Invariants:
/// - it rules only on what has the hash that the worker submitted;
/// - its ruling depends on nothing but the job, its seed and its output.
#[starknet::contract]
pub mod Referee {
    use core::num::traits::Zero;
    use core::poseidon::poseidon_hash_span;
    use core::sha256::compute_sha256_u32_array;
    use crate::job_mgr::interface::{
        IJobMgrRefereeDispatcher, IJobMgrRefereeDispatcherTrait, IJobMgrViewDispatcher,
        IJobMgrViewDispatcherTrait,
    };
    use crate::job_mgr::types::{JobState, verification};
    use crate::referee::bytes::content_hash;
    use crate::referee::interface::IReferee;
    use crate::referee::{errors, manifest, output, product};
    use starknet::ContractAddress;
    use starknet::storage::{StoragePointerReadAccess, StoragePointerWriteAccess};

    /// The largest side whose check fits into the 1,110,000,000 L2 gas of one transaction: it takes
    /// 1,065,297,440 with the ruling, the next some 1,122,000,000. All but a few thousandths are
    /// SHA-256, of which each block of 64 bytes costs 7.1 million.
    const MAX_SIZE: u32 = 34;
    const POINT_DOMAIN: felt252 = 'ciro-referee-v1';

    #[storage]
    struct Storage {
        job_mgr: ContractAddress,
    }

    #[constructor]
    fn constructor(ref self: ContractState, job_mgr: ContractAddress) {
        assert(job_mgr.is_non_zero(), errors::ZERO_ADDRESS);
        self.job_mgr.write(job_mgr);
    }

    #[abi(embed_v0)]
    impl RefereeImpl of IReferee<ContractState> {
        fn judge(
            ref self: ContractState, job_id: u64, size: u32, seed: u64, output: Span<felt252>,
        ) {
            assert_size(size);
            let job_mgr = self.job_mgr.read();
            let job = IJobMgrViewDispatcher { contract_address: job_mgr }.get_job(job_id);
            assert(
                job.state == JobState::Disputed && job.spec.verification == verification::MATMUL,
                errors::NOT_DISPUTED,
            );
            assert(job.spec.manifest_hash == manifest::hash(size, seed), errors::OTHER_MANIFEST);
            let words = output::unpack(output, size * size);
            let entries = words.span();
            let hash = content_hash(compute_sha256_u32_array(words, 0, 0));
            assert(job.result_hash == hash, errors::OTHER_OUTPUT);

            let is_right = product::is_right(size, seed, entries, point(job_id, size, seed, hash));
            IJobMgrRefereeDispatcher { contract_address: job_mgr }.rule_dispute(job_id, is_right);
        }

        fn is_product(self: @ContractState, size: u32, seed: u64, output: Span<felt252>) -> bool {
            assert_size(size);
            let words = output::unpack(output, size * size);
            let entries = words.span();
            let hash = content_hash(compute_sha256_u32_array(words, 0, 0));
            product::is_right(size, seed, entries, point(0, size, seed, hash))
        }

        fn max_size(self: @ContractState) -> u32 {
            MAX_SIZE
        }

        fn job_mgr(self: @ContractState) -> ContractAddress {
            self.job_mgr.read()
        }
    }

    fn assert_size(size: u32) {
        assert(size != 0 && size <= MAX_SIZE, errors::BAD_SIZE);
    }

    /// The powers of this make the vectors that a product is checked with. It follows from the
    /// result, so that no result can be made to fit it.
    fn point(job_id: u64, size: u32, seed: u64, result_hash: felt252) -> felt252 {
        poseidon_hash_span(
            array![POINT_DOMAIN, job_id.into(), size.into(), seed.into(), result_hash].span(),
        )
    }
}
