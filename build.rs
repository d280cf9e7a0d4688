//! The page is embedded as `web/dist` has it when the program is compiled.

fn main() {
    println!("cargo:rerun-if-changed=web/dist");
}
