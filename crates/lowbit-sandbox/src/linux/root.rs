//! What a command sees of the file system: system folders and what its interpreter needs, read-only, and a work folder in
//! memory that ends with it. Nothing else is there, neither a home folder nor a socket of a service.

use super::{Step, WORK};
use crate::{File, Limits, Problem};
use rustix::{
    fs::CWD,
    mount::{
        MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_change, mount_remount,
        move_mount, open_tree,
    },
};
use std::{
    ffi::OsString,
    fs,
    io::Write,
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStringExt,
            fs::{DirBuilderExt, OpenOptionsExt, symlink},
        },
    },
    path::{Path, PathBuf},
};

/// Folders and files of the system, where they are there.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/R",
    "/etc/racket",
    "/dev/full",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
];
/// Where the new root is built. What is mounted over it is seen by nobody else.
pub(super) const BASE: &str = "/tmp";

/// A part of the view, taken while its path can still be walked.
struct Part {
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    Link(PathBuf),
    Folder(OwnedFd),
    File(OwnedFd),
}

/// Parts of the file system for a new root.
pub(super) struct Parts(Vec<Part>);

/// Takes those of the system and `readable`.
pub(super) fn take(readable: &[PathBuf]) -> Result<Parts, Problem> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).step("detach mounts")?;
    let mut parts: Vec<Part> = Vec::new();
    let paths = SYSTEM.iter().map(|path| (Path::new(path), true));
    for (path, may_lack) in paths.chain(readable.iter().map(|path| (path.as_path(), false))) {
        if parts.iter().any(|part| !matches!(part.kind, Kind::Link(_)) && path.starts_with(&part.path)) {
            continue;
        }
        let step = || format!("look at {}", path.display());
        let about = match fs::symlink_metadata(path) {
            Err(error) if may_lack && error.kind() == std::io::ErrorKind::NotFound => continue,
            about => about.step(step())?,
        };
        let tree = || {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_RECURSIVE;
            open_tree(CWD, path, flags).step(format!("mount {}", path.display()))
        };
        let kind = if about.is_symlink() {
            Kind::Link(fs::read_link(path).step(step())?)
        } else if about.is_dir() {
            Kind::Folder(tree()?)
        } else {
            Kind::File(tree()?)
        };
        parts.push(Part { path: path.to_owned(), kind });
    }
    Ok(Parts(parts))
}

impl Parts {
    /// Puts them together at [`BASE`], with the work folder and what is in it.
    pub(super) fn assemble(self, files: &[File], limits: &Limits) -> Result<(), Problem> {
        let base = Path::new(BASE);
        memory(base, "mode=755,size=1m,nr_inodes=4096")?;
        for Part { path, kind } in self.0 {
            let place = inside(&path);
            if let Some(parent) = place.parent() {
                fs::create_dir_all(parent).step(format!("make {}", parent.display()))?;
            }
            let step = || format!("place {}", path.display());
            let tree = match kind {
                Kind::Link(target) => {
                    symlink(target, &place).step(step())?;
                    continue;
                }
                Kind::Folder(tree) => {
                    fs::create_dir_all(&place).step(step())?;
                    tree
                }
                Kind::File(tree) => {
                    fs::write(&place, "").step(step())?;
                    tree
                }
            };
            move_mount(tree, "", CWD, &place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).step(step())?;
        }
        fs::create_dir_all(base.join("proc")).step("make /proc")?;
        symlink(WORK, base.join("tmp")).step("make /tmp")?;
        lock()?;
        let work = inside(Path::new(WORK));
        fs::DirBuilder::new().mode(0o700).create(&work).step("make the work folder")?;
        memory(&work, &format!("mode=700,size={},nr_inodes={}", limits.disk_bytes, limits.files + 1))?;
        for File { name, bytes } in files {
            let step = || format!("write {name} in the work folder");
            let open = fs::OpenOptions::new().write(true).create_new(true).mode(0o700).open(work.join(name));
            open.step(step())?.write_all(bytes).step(step())?;
        }
        let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
        mount_remount(base, flags, "").step("lock the root")
    }
}

/// Where a path of the new root is until it is the root.
pub(super) fn inside(path: &Path) -> PathBuf {
    Path::new(BASE).join(path.strip_prefix("/").unwrap_or(path))
}

fn memory(path: &Path, options: &str) -> Result<(), Problem> {
    let options = std::ffi::CString::new(options).unwrap_or_default();
    mount("tmpfs", path, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())
        .step(format!("keep {} in memory", path.display()))
}

/// Makes everything below [`BASE`] read-only: every mount by itself, as each has flags of its own, which the kernel lets nobody
/// take away.
fn lock() -> Result<(), Problem> {
    let mounts = fs::read("/proc/self/mountinfo").step("list the mounts")?;
    for line in mounts.split(|byte| *byte == b'\n') {
        let Some((path, mut flags)) = mount_point(line) else { continue };
        if path != Path::new(BASE) && path.starts_with(BASE) {
            flags |= MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID;
            // Without this, devices could not be opened; there are only harmless ones.
            if !path.starts_with(inside(Path::new("/dev"))) {
                flags |= MountFlags::NODEV;
            }
            mount_remount(&path, flags, "").step(format!("make {} read-only", path.display()))?;
        }
    }
    Ok(())
}

/// Path and flags of a line of `mountinfo`; its fields are numbers, numbers, device, root, path, options.
fn mount_point(line: &[u8]) -> Option<(PathBuf, MountFlags)> {
    let mut fields = line.split(|byte| *byte == b' ').skip(4);
    let (path, options) = (fields.next()?, fields.next()?);
    let mut flags = MountFlags::empty();
    for option in options.split(|byte| *byte == b',') {
        flags |= match option {
            b"nosuid" => MountFlags::NOSUID,
            b"nodev" => MountFlags::NODEV,
            b"noexec" => MountFlags::NOEXEC,
            b"noatime" => MountFlags::NOATIME,
            b"nodiratime" => MountFlags::NODIRATIME,
            b"relatime" => MountFlags::RELATIME,
            _ => MountFlags::empty(),
        };
    }
    Some((PathBuf::from(OsString::from_vec(unescaped(path))), flags))
}

/// Spaces and the like are written as a backslash and three octal digits.
fn unescaped(path: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, after @ ..] = rest {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

/// The work folder, to be kept open while the root changes.
pub(super) fn work_folder() -> Result<OwnedFd, Problem> {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(inside(Path::new(WORK)), flags, Mode::empty()).step("open the work folder")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_with_their_flags_and_spaces() {
        let line =
            br"36 35 98:0 / /tmp/a\040b\134c rw,nosuid,relatime master:1 - ext3 /dev/root rw,errors=continue";
        let (path, flags) = mount_point(line).unwrap();
        assert_eq!(path, Path::new(r"/tmp/a b\c"));
        assert_eq!(flags, MountFlags::NOSUID | MountFlags::RELATIME);
        assert!(mount_point(b"").is_none());
    }
}
