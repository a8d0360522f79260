//! The whole centre in one process: CMU, SCU, MTU, and in the demo a camera too.

mod banner;
mod centre;
#[cfg(test)]
mod certificate_tests;
mod demo;
mod operator;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sightline_service_kit::exit::{EXIT_CODES, exit_code};

#[derive(Parser)]
#[command(
    name = "sightline",
    version,
    about = "The whole Sightline centre in one process",
    after_help = format!("Examples:\n  \
        sightline demo                                     the centre with a test-pattern camera\n  \
        sightline demo --camera rtsp://u:p@10.0.0.7/main   with a camera of yours\n  \
        sightline serve --config sightline.toml            for real, on one small server\n\n{EXIT_CODES}")
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Try everything on this machine: centre, camera, portal
    Demo(demo::Args),
    /// Run the centre as one service
    Serve(serve::Args),
    /// Say who works for the operator
    Operator(operator::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => demo::run(args).await,
        Command::Serve(args) => serve::run(args).await,
        Command::Operator(args) => operator::run(args).await,
    };
    exit_code(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_configuration_is_good() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/sightline.sample.toml");
        let config: centre::Config =
            sightline_service_kit::config::load(Some(path.as_ref())).expect("parses");
        config.check().expect("can start");
    }

    /// The bus's subjects carry it: units apart that follow their samples must find each other.
    #[test]
    fn every_unit_has_the_same_domain_by_default_and_in_its_sample() {
        fn read<T: serde::de::DeserializeOwned>(unit: &str) -> T {
            let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            let sample = root.join(unit).join(format!("{unit}.sample.toml"));
            sightline_service_kit::config::load(Some(&sample)).expect("parses")
        }
        let domains = [
            cmu::Config::default().domain,
            scu::Config::default().domain,
            mtu::Config::default().domain,
            centre::Config::default().domain,
            read::<cmu::Config>("cmu").domain,
            read::<scu::Config>("scu").domain,
            read::<mtu::Config>("mtu").domain,
            read::<centre::Config>("sightline").domain,
        ];
        let default = sightline_model::DomainName::default();
        assert_eq!(default.as_str().parse(), Ok(default.clone()), "a valid name");
        assert_eq!(domains, [(); 8].map(|()| default.clone()));
    }
}
