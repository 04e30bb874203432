//! The allocator that one would write first, to compare with.

use std::path::PathBuf;

use keeper_types::Felt;
use starknet::{core::types::Call, macros::selector};

use super::{Cost, crew::Crew};

const SALT: u64 = 77;

impl Crew {
    /// A batch of the naive allocator: new jobs, one storage slot and one event each, no checks.
    pub(crate) async fn measure_naive(&self, size: u64) -> Cost {
        println!("allocating {size} naively");
        let class = PathBuf::from(std::env::var_os("CIRO_NAIVE_CLASS").expect("CIRO_NAIVE_CLASS names the class"));
        let hash = std::env::var("CIRO_NAIVE_COMPILED_CLASS_HASH").expect("CIRO_NAIVE_COMPILED_CLASS_HASH is set");
        let hash = Felt::from_hex(&hash).expect("a hash");
        let class_hash = self.deployer.declare(&class, hash).await.expect("declaring the naive allocator");
        let keeper = self.deployer.address();
        let naive = self.deployer.deploy(class_hash, SALT, &[keeper.0]).await.expect("deploying it");
        let items = (1..=size).map(|job| Felt::from(job) + Felt::TWO.pow(64_u32) * Felt::from(job));
        let mut calldata = vec![Felt::from(size)];
        calldata.extend(items);
        let batch = Call { to: naive.0, selector: selector!("allocate"), calldata };
        Cost::share(&self.deployer.send(vec![batch]).await.expect("allocating naively"), size)
    }
}
