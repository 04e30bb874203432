//! `keeper worker exec-job` on its own: started by an agent, never by hand.

use std::process::ExitCode;

fn main() -> ExitCode {
    keeper_worker::exec_job::main()
}
