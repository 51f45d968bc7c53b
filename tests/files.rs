//! Files that are read and written: nothing hangs, nothing is lost.
#![cfg(unix)]

use mechscope::files::{check_writable, home, open_regular, replace, replace_private};
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn fifo(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_written_over_keeps_its_mode_and_its_link() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("real"), "old").unwrap();
    fs::set_permissions(at("real"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("real", at("link")).unwrap();
    symlink("not yet", at("dangling")).unwrap();
    for name in ["link", "dangling"] {
        check_writable(&at(name)).unwrap();
        replace(&at(name), |to| Ok(to.write_all(b"new")?)).unwrap();
        assert!(fs::symlink_metadata(at(name)).unwrap().is_symlink(), "{name} is a link still");
        assert_eq!(fs::read_to_string(at(name)).unwrap(), "new");
    }
    assert_eq!(mode(&at("real")), 0o640);
    replace_private(&at("secret"), |to| Ok(to.write_all(b"x")?)).unwrap();
    assert_eq!(mode(&at("secret")), 0o600);
    assert_eq!(names(folder.path()), ["dangling", "link", "not yet", "real", "secret"], "no temporary file is left");
}

// Checks I6 of ARCHITECTURE.md.
#[test]
fn a_failed_write_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a");
    fs::write(&file, "old").unwrap();
    let error = replace(&file, |to| {
        to.write_all(b"half")?;
        anyhow::bail!("the model is gone")
    });
    assert!(format!("{:#}", error.unwrap_err()).ends_with("a: the model is gone"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(names(folder.path()), ["a"]);
}

#[test]
fn places_that_take_no_file_are_named_before() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "").unwrap();
    symlink("round", at("round")).unwrap();
    for (place, said) in [
        (at("none/out"), "its folder"),
        (folder.path().to_owned(), "is a folder; accepted: a file to write"),
        (at("file/out"), "cannot write"),
        (at("round"), "go round in a circle"),
    ] {
        let error = format!("{:#}", check_writable(&place).unwrap_err());
        assert!(error.contains(said) && error.contains(&place.display().to_string()), "{error}");
    }
    fifo(&at("pipe"));
    check_writable(&at("pipe")).unwrap();
    check_writable(Path::new("/dev/null")).unwrap();
    check_writable(&at("new")).unwrap();
    assert_eq!(names(folder.path()), ["file", "pipe", "round"], "looking changes nothing");
}

#[test]
fn a_disk_is_never_written_to() {
    let is_disk = |path: &Path| fs::metadata(path).is_ok_and(|there| there.file_type().is_block_device());
    let devices = fs::read_dir("/dev").unwrap().map(|entry| entry.unwrap().path());
    let Some(disk) = devices.into_iter().find(|path| is_disk(path)) else {
        return eprintln!("NOT TESTED: this machine shows no disk");
    };
    let error = format!("{:#}", check_writable(&disk).unwrap_err());
    assert_eq!(error, format!("{} is a disk; accepted: a file to write", disk.display()));
}

/// What is written to a pipe without a reader would be waited with for ever.
#[test]
fn a_pipe_without_a_reader_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    fifo(&pipe);
    let error = format!("{:#}", replace(&pipe, |_| panic!("nothing is written")).unwrap_err());
    assert!(error.starts_with(&format!("cannot write {}", pipe.display())), "{error}");
    assert!(error.contains("nobody reads from this pipe"), "{error}");
    // One that comes late is served, and blocks of more than a pipe holds arrive whole.
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read(pipe).unwrap()
    });
    let bytes = vec![7; 1 << 20];
    replace(&pipe, |file| Ok(file.write_all(&bytes)?)).unwrap();
    assert!(reader.join().unwrap() == bytes);
}

/// A pipe that nobody writes to would be waited for.
#[test]
fn only_files_are_opened_to_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    fifo(&pipe);
    for (place, kind) in [(pipe.as_path(), "pipe"), (Path::new("/dev/zero"), "device"), (folder.path(), "folder")] {
        let error = format!("{:#}", open_regular(place).unwrap_err());
        assert_eq!(error, format!("cannot read {}: it is a {kind}; accepted: a file", place.display()));
    }
}

#[test]
fn a_tilde_is_the_home_folder() {
    let folder = std::env::var("HOME").unwrap();
    assert_eq!(home("~/a/b.json"), Path::new(&folder).join("a/b.json"));
    assert_eq!(home("~"), Path::new(&folder));
    assert_eq!(home("~else/a"), Path::new("~else/a"));
    assert_eq!(home("a/~"), Path::new("a/~"));
}
