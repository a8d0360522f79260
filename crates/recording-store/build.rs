//! Rebuilds when a migration is added: the folder is embedded by a macro that cannot say so.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
