//! Embeds a new migration when one is added; the compiler sees changes only of files that it has read before.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
