//! `jetbridge doctor`: what this machine offers for running containers.

use std::process::ExitCode;

use anyhow::Context as _;
use jb_runtime_local::Standing;
use serde_json::json;

use crate::cli::DoctorOptions;

pub(crate) fn run(options: &DoctorOptions) -> anyhow::Result<ExitCode> {
    let state = crate::local::state_dir(&options.state)?;
    std::fs::create_dir_all(&state).with_context(|| format!("create {}", state.display()))?;
    let report = jb_runtime_local::LocalRuntime::probe(&state);
    if options.json {
        let checks = report.checks.iter().map(|check| {
            json!({"name": check.name, "standing": word(check.standing), "detail": check.detail})
        });
        let checks: Vec<_> = checks.collect();
        println!("{:#}", json!({"usable": report.usable(), "checks": checks}));
    } else {
        for check in &report.checks {
            println!("{:8} {:12} {}", word(check.standing), check.name, check.detail);
        }
        let verdict =
            if report.usable() { "containers can run here" } else { "containers cannot run here" };
        println!("{verdict}");
    }
    Ok(if report.usable() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Good => "good",
        Standing::Reduced => "reduced",
        Standing::Missing => "missing",
    }
}
