//! `sqlx::migrate!` reads a folder, which stable Rust does not watch by itself.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
