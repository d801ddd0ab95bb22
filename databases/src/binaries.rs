//! Where the programs of a product are, and how they get there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::Error;
use crate::product::Product;

/// The programs of one product.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Binaries {
    product: Product,
    installer: PathBuf,
    daemon: PathBuf,
}

impl Binaries {
    /// Looks in the folder that the product's variable names ([`Product::folder_variable`]), in the search path and where packages put
    /// them.
    ///
    /// # Errors
    /// [`Error::Missing`] names the program that was not found.
    pub fn find(product: Product) -> Result<Self, Error> {
        let folders = folders(product);
        let find = |program: &'static str| {
            let paths = folders.iter().map(|folder| folder.join(program));
            let mut found = paths.filter(|path| path.is_file());
            let missing = Error::Missing { product, program };
            found.next().ok_or(missing)
        };
        Ok(Self {
            product,
            installer: find(product.installer())?,
            daemon: find(product.daemon())?,
        })
    }

    /// Of which product.
    #[must_use]
    pub const fn product(&self) -> Product {
        self.product
    }

    /// The program that makes a data folder.
    pub(crate) fn installer(&self) -> &Path {
        &self.installer
    }

    /// The server.
    pub(crate) fn daemon(&self) -> &Path {
        &self.daemon
    }
}

fn folders(product: Product) -> Vec<PathBuf> {
    let named = std::env::var_os(product.folder_variable()).map(PathBuf::from);
    if let Some(named) = named {
        return vec![named];
    }
    let mut folders = Vec::new();
    if product == Product::Postgres {
        folders.extend(debian_postgres());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&path));
    folders.extend(["/usr/sbin", "/usr/local/sbin", "/usr/bin"].map(PathBuf::from));
    folders
}

/// Debian keeps every major version in a folder of its own; the newest first.
fn debian_postgres() -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir("/usr/lib/postgresql") else {
        return Vec::new();
    };
    let version = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.and_then(|name| name.parse::<u32>().ok()).unwrap_or(0)
    };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort_by_key(version);
    folders.iter().rev().map(|path| path.join("bin")).collect()
}

/// Installs what is missing with apt-get, if this is root on a system that has it. Says for each product whether it is there now.
#[must_use]
pub fn install() -> Vec<(Product, Result<(), Error>)> {
    let missing: Vec<&str> = Product::ALL
        .into_iter()
        .filter(|&product| Binaries::find(product).is_err())
        .map(Product::package)
        .collect();
    if !missing.is_empty() && crate::process::is_root() {
        apt(&["update", "-qq"]);
        let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
        arguments.extend(missing);
        apt(&arguments);
    }
    let found = Product::ALL.into_iter();
    found
        .map(|product| (product, Binaries::find(product).map(drop)))
        .collect()
}

/// Whether it worked is seen by looking for the programs. The package's own server is not wanted.
fn apt(arguments: &[&str]) {
    let mut command = Command::new("apt-get");
    command.args(arguments).stdin(Stdio::null());
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command.env("RUNLEVEL", "1");
    let _not_there_or_failed = command.status();
}
