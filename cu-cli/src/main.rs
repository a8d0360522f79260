//! `cu`, the customer unit of the command line; see the library.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    cu_cli::run(std::env::args_os()).await
}
