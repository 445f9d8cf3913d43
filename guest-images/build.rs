//! The recipe is compiled in (`src/recipe.rs`): a new file in it must be seen too.

fn main() {
    for part in ["kernel", "modules", "patches", "programs", "versions.toml"] {
        println!("cargo::rerun-if-changed={part}");
    }
}
