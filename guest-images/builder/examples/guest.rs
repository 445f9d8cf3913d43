//! Builds a guest image, the stock one or that of the given name, if it is not cached, and prints
//! where it is.

use stallbox_guest_images::{Progress, STOCK, ensure_named, source_root};

struct Plain;

impl Progress for Plain {
    fn step(&self, name: &str, _total: Option<u64>) {
        eprintln!("{name}");
    }
    fn advance(&self, _done: u64) {}
    fn say(&self, line: &str) {
        eprintln!("{line}");
    }
}

fn main() {
    let name = std::env::args().nth(1);
    let name = name.as_deref().unwrap_or(STOCK);
    match source_root().and_then(|root| ensure_named(&root, name, &Plain)) {
        Ok(image) => println!(
            "{}\n{}\n{}\n{}\n{}",
            image.kernel.display(),
            image.initrd.display(),
            image.vmlinux.display(),
            image.system_map.display(),
            image.kernel_version
        ),
        Err(error) => {
            let mut line = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                line = format!("{line}: {cause}");
                source = cause.source();
            }
            eprintln!("error: {line}");
            std::process::exit(1);
        }
    }
}
