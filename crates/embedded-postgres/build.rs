//! Hands the target's name on: the archives of Postgres are called after it.

fn main() {
    let target = std::env::var("TARGET").expect("cargo sets it");
    println!("cargo:rustc-env=TARGET={target}");
    println!("cargo:rerun-if-changed=build.rs");
}
