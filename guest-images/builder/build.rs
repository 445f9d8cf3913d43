//! The recipe is compiled in (`src/recipe.rs`): a new file in it must be seen too.

fn main() {
    println!("cargo::rerun-if-changed=../guest");
}
