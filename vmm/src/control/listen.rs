//! The socket's file: made for its owner only, and never in the place of anything but a dead socket.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{CWD, Mode, RenameFlags, fchmod, renameat_with};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};

/// Connections that the kernel keeps for us until they are accepted.
const BACKLOG: i32 = 64;

/// Listens at `path`, which nobody but the user may connect to.
pub(super) fn at(path: &Path) -> Result<UnixListener> {
    make_room(path)?;
    match make(path) {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            bail!("another run listens at {} (--control)", path.display())
        }
        Err(error) => {
            Err(error).with_context(|| format!("cannot listen at {} (--control)", path.display()))
        }
    }
}

/// Removes what a run that is gone has left at `path`.
fn make_room(path: &Path) -> Result<()> {
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        there => there.with_context(|| format!("cannot look at {} (--control)", path.display()))?,
    };
    if !there.file_type().is_socket() {
        bail!(
            "{} is there already and is no socket: give --control another path, or remove it",
            path.display()
        );
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => remove(path, &there),
        Ok(_) => bail!("another run listens at {} (--control)", path.display()),
        Err(error) => Err(error).with_context(|| {
            format!(
                "the socket {} is not a dead one, which --control would replace",
                path.display()
            )
        }),
    }
}

/// Removes the dead socket that was seen at `path`, and nothing that has come in its place since: two
/// runs may start at the same time. So it is taken aside first, and looked at there.
fn remove(path: &Path, seen: &Metadata) -> Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".dead-{}", std::process::id()));
    let aside = PathBuf::from(aside);
    let cannot = || {
        format!(
            "cannot remove the dead socket {} (--control)",
            path.display()
        )
    };
    let rename = |from: &Path, to: &Path| {
        renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(io::Error::from)
    };
    match rename(path, &aside) {
        // Another run has removed it.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        renamed => renamed.with_context(cannot)?,
    }
    let taken = fs::symlink_metadata(&aside).with_context(cannot)?;
    if (taken.dev(), taken.ino()) != (seen.dev(), seen.ino()) {
        rename(&aside, path).with_context(|| {
            format!("cannot put {} back to {}", aside.display(), path.display())
        })?;
        bail!("another run listens at {} (--control)", path.display());
    }
    fs::remove_file(&aside).with_context(cannot)
}

/// The mode of the socket is that of its file from the start: the kernel makes the file with it (Linux,
/// `net/unix/af_unix.c`, unix_bind_bsd).
fn make(path: &Path) -> io::Result<UnixListener> {
    let kind = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, kind, None)?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn refusal(path: &Path) -> String {
        format!("{:#}", at(path).unwrap_err())
    }

    #[test]
    fn nothing_but_a_dead_socket_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (file, link, dangling) = (path("file"), path("link"), path("dangling"));
        fs::write(&file, "precious").unwrap();
        symlink(&file, &link).unwrap();
        symlink(path("nothing"), &dangling).unwrap();
        fs::create_dir(path("folder")).unwrap();
        for path in [
            &file,
            &link,
            &dangling,
            &path("folder"),
            Path::new("/dev/null"),
        ] {
            assert!(refusal(path).contains("is no socket"), "{}", refusal(path));
        }
        assert_eq!(fs::read(&file).unwrap(), b"precious");
        assert!(fs::symlink_metadata(&dangling).unwrap().is_symlink());

        // Somebody else's, of another type: it is not dead, and no run's.
        let other = path("other");
        let _other = UnixDatagram::bind(&other).unwrap();
        assert!(
            refusal(&other).contains("not a dead one"),
            "{}",
            refusal(&other)
        );

        let socket = path("socket");
        drop(at(&socket).unwrap());
        let listener = at(&socket).expect("a dead socket is replaced");
        assert!(refusal(&socket).contains("another run"));
        drop(listener);
        // To a link that leads to a dead socket, too.
        let link = path("link to a socket");
        symlink(&socket, &link).unwrap();
        assert!(refusal(&link).contains("is no socket"));
    }

    #[test]
    fn a_socket_that_came_meanwhile_is_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        drop(at(&path).unwrap());
        let seen = fs::symlink_metadata(&path).unwrap();
        // So that the file system does not give its number away again.
        fs::rename(&path, folder.path().join("old")).unwrap();
        let _other = at(&path).unwrap();
        assert!(remove(&path, &seen).is_err());
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn the_socket_is_its_owners() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _listener = at(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
