//! `jetbridge doctor`: what this machine offers for running containers.

use std::process::ExitCode;

use crate::cli::DoctorOptions;

pub(crate) fn run(options: &DoctorOptions) -> anyhow::Result<ExitCode> {
    let report = jb_runtime_local::LocalRuntime::probe();
    if options.json {
        println!("{}", report.to_json());
    } else {
        print!("{report}");
    }
    Ok(if report.usable() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
