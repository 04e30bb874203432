//! What nobody in good faith does: calls that are another contract's, and calls in the middle of others.

use keeper_types::{Felt, JobId};

use super::{Aim, Generator};
use crate::{
    actors::{Actor, Contract},
    calls::{Call, Trap},
    model::Model,
};

impl Generator {
    /// What only another contract may call.
    pub(super) fn forbidden(&mut self, model: &Model) -> (Actor, Call) {
        let job_id = self.queued_job(model);
        let worker_id = Felt::from(self.worker_id(model));
        let item = self.item(model, job_id);
        let gpu_count = Felt::from(self.dice.below(5));
        let either = Felt::from(self.dice.below(2));
        let someone = self.dice.pick(&Actor::ALL).address();
        let amount = Felt::from(self.dice.next());
        let of_job_mgr = |function, arguments: &[Felt]| Call::OfJobMgr { function, arguments: arguments.to_vec() };
        let call = self.dice.pick(&[
            Call::AllocateBatch(vec![item]),
            Call::AllocateBatch(Vec::new()),
            Call::RuleDispute { job_id, is_right: true },
            Call::DrawEscrow { client: someone, gateway: someone, amount: 1 },
            of_job_mgr("reserve_batch", &[Felt::ZERO]),
            of_job_mgr("release", &[worker_id, gpu_count, someone, either]),
            of_job_mgr("record_failure", &[worker_id, gpu_count, either]),
            of_job_mgr("record_fault", &[worker_id, either, amount, someone, someone]),
            of_job_mgr("record_settlement", &[worker_id, either]),
            of_job_mgr("hold", &[worker_id]),
            of_job_mgr("unhold", &[worker_id]),
        ]);
        (self.dice.pick(&Actor::ALL), call)
    }

    /// Lays out a call to be made in the middle of another: by the token, or by the account.
    pub(super) fn arm(&mut self, model: &Model) -> (Actor, Call) {
        let anyone = self.dice.pick(&Actor::ALL);
        let call = self.intruding(model);
        if !self.is_token_ours || self.dice.chance(30) {
            return (anyone, Call::ArmAccount(Box::new(call)));
        }
        let trap = Trap::CallBack(Box::new(call));
        (anyone, Call::ArmToken(self.dice.weighted(&[(5, trap), (1, Trap::Refuse)])))
    }

    /// A call that anybody may make and that moves money or jobs, mostly.
    fn intruding(&mut self, model: &Model) -> Call {
        let aims = [Aim::Exit, Aim::Withdraw, Aim::Rule, Aim::Accept, Aim::Reveal, Aim::Paying, Aim::Submit];
        let aim = self.dice.pick(&aims);
        let (_, call) = self.call(aim, model);
        let account = self.dice.pick(&Actor::ALL);
        let last = model.job_mgr.jobs.len() as u64;
        let job_id = JobId(self.dice.between(0, last + 1));
        let contract = self.dice.pick(&Contract::OURS).address();
        self.dice.weighted(&[
            (8, call),
            (3, Call::Withdraw(account.address())),
            (1, Call::Withdraw(contract)),
            (2, Call::WithdrawStake),
            (2, Call::WithdrawBalance(1)),
            (1, Call::ExpireJob(job_id)),
        ])
    }
}
