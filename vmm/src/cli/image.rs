//! Options of `stallbox image`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Options of `stallbox image`.
#[derive(Debug, Args)]
pub struct ImageArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: ImageAction,
}

/// What can be done with images.
#[derive(Debug, Subcommand)]
pub enum ImageAction {
    /// Builds an image, as far as it or what it is made of has changed.
    ///
    /// Without options, the one of that NAME: stock, pin, pin-7.3, pri, pri-7.3, svabugs, or one that was
    /// built before with options, which are remembered. With options, NAME is a new image of your own. Your
    /// folders are read and never written to.
    Build(BuildArgs),
    /// Gives the guest a folder of your own: its content is in the guest's /.
    ///
    /// Programs must be for arm64. Of dynamically linked ones, the libraries of the cross compiler
    /// that the folder lacks are put into /lib.
    Add(AddArgs),
    /// Shows all images: whether they are built, their kernel's release, and what they are made of.
    List,
    /// Prints where an image's files are.
    Path {
        /// The image.
        #[arg(value_name = "NAME", default_value = "stock")]
        name: String,
    },
    /// Frees disk space: removes what no image is made of any more.
    Clean {
        /// Removes these images too. Those of your own are forgotten.
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// Removes all images, and what was kept for the next build.
        #[arg(long, conflicts_with = "names")]
        all: bool,
    },
}

/// Options of `stallbox image build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The image; with --kernel-source, the folder's name unless given. Otherwise stock.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Image of the project's own whose kernel to start from: stock, pin, pin-7.3, pri,
    /// pri-7.3 or svabugs.
    #[arg(long, value_name = "NAME", conflicts_with = "kernel_source")]
    pub base: Option<String>,
    /// A Linux source tree instead.
    #[arg(long, value_name = "DIR")]
    pub kernel_source: Option<PathBuf>,
    /// Patch for the kernel, as of git or diff -u, with one leading folder (repeatable, in order).
    #[arg(long, value_name = "FILE")]
    pub patch: Vec<PathBuf>,
    /// Folder with a kernel module, built with make M= and put into /lib/modules (repeatable).
    #[arg(long, value_name = "DIR")]
    pub module: Vec<PathBuf>,
    /// Lines for the kernel's configuration, over the project's own, or a whole .config.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Options of `stallbox image add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// The folder.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Image that gets it, made if there is none of this name; the folder's name unless given.
    #[arg(long, value_name = "NAME")]
    pub image: Option<String>,
    /// Image of the project's own to start from if the image is new.
    #[arg(long, value_name = "NAME")]
    pub base: Option<String>,
}
