//! The shim on its own, for tests and measurements; the server has it as a subcommand.

fn main() -> std::process::ExitCode {
    let code = jb_runtime_local::shim_main(std::env::args_os().skip(1));
    std::process::ExitCode::from(u8::try_from(code).unwrap_or(1))
}
